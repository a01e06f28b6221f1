// Types of the gateway's API, written by scripts/types.mjs from its OpenAPI document. Not edited by hand: `npm run types`.

export interface Health { status: string }
export interface Readiness { ready: boolean; services: Record<string, "ready" | "unreachable"> }
export interface Session { user_id: string; kind: "anonymous" | "development"; environment: "local" | "production" | "staging" }
export interface Library { version: number; games: Game[]; clips: Clip[]; reels: Reel[]; exports: Export[] }
export interface Game { id: string; name: string; opponent: string; sport: string; played_on: string | null; created_at: string; videos: Video[] }
export interface Video { id: string; game_id: string; position: number; file_name: string; size_bytes: number; content_type: string; state: "ready" | "rejected" | "uploading"; reject_reason: string; duration_ms: number | null; width: number | null; height: number | null; fps: number | null; has_audio: boolean | null; fingerprint: string }
export interface Clip { id: string; game_id: string; video_id: string; start_ms: number; end_ms: number; name: string; notes: string; tags: string[]; rating: number | null; created_at: string }
export interface Reel { id: string; name: string; aspect: "16:9" | "1:1" | "4:5" | "9:16" | "source"; clips: ReelClip[]; overlay: Overlay; working_video: Output | null; final_video: Output | null; created_at: string }
export interface ReelClip { clip_id: string; framing: Framing | null }
export interface Framing { crop_keys?: CropKey[]; trim?: Trim | null; segments?: Segment[] }
export interface CropKey { time_ms: number; x: number; y: number; width: number; height: number }
export interface Trim { start_ms: number; end_ms: number }
export interface Segment { start_ms: number; end_ms: number; speed: number }
export interface Overlay { regions: Region[] }
export interface Region { start_ms: number; end_ms: number; effects: Effect[]; keys: EllipseKey[]; fade_ms?: number; shape?: "body" | "ground" }
export interface Effect { kind: "brighten_inside" | "dim_outside" | "ring"; strength: number; color?: string | null }
export interface EllipseKey { time_ms: number; center_x: number; center_y: number; radius_x: number; radius_y: number }
export interface Output { id: string; name: string; role: "annotations" | "clip" | "compilation" | "final" | "working"; clip_id: string | null; size_bytes: number; duration_ms: number; width: number; height: number; fps: number; url: string; poster_url: string | null }
export interface Export { id: string; kind: "annotate" | "framing" | "overlay" | "reel"; game_id: string | null; reel_id: string | null; state: "cancelled" | "failed" | "queued" | "running" | "succeeded"; progress: number; eta_s: number | null; phase: string; error: ExportError | null; outputs: Output[]; created_at: string; finished_at: string | null; sequence: number; trace_id: string }
export interface ExportError { code: string; message: string; retryable: boolean }
export interface Games { version: number; games: Game[] }
export interface NewGame { name: string; opponent?: string; sport?: string; played_on?: string | null }
export interface GameChanges { name?: string; opponent?: string; sport?: string; played_on?: string | null }
export interface NewVideo { file_name: string; size_bytes: number; content_type: string; duration_ms?: number | null; width?: number | null; height?: number | null; fps?: number | null; fingerprint?: string }
export interface VideoWithUpload { video: Video; upload: Upload }
export interface Upload { part_size_bytes: number; part_count: number; parts_done: number[]; bytes_done: number }
export interface PartNumbers { part_numbers: number[] }
export interface SignedParts { parts: SignedPart[]; expires_at: string }
export interface SignedPart { number: number; url: string; size_bytes: number; headers: Record<string, string> }
export interface Download { download?: boolean }
export interface NewClip { video_id: string; start_ms: number; end_ms: number; name?: string; notes?: string; tags?: string[]; rating?: number | null }
export interface ClipChanges { start_ms?: number; end_ms?: number; name?: string; notes?: string; tags?: string[]; rating?: number | null }
export interface Reels { version: number; reels: Reel[] }
export interface NewReel { name: string; aspect?: "16:9" | "1:1" | "4:5" | "9:16" | "source"; clip_ids?: string[] }
export interface ReelChanges { name?: string; aspect?: "16:9" | "1:1" | "4:5" | "9:16" | "source" }
export interface ClipOrder { clip_ids: string[] }
export interface ExportFilter { game_id?: string | null; reel_id?: string | null }
export interface Exports { version: number; exports: Export[] }
export interface NewAnnotateExport { kind: "annotate"; game_id: string; clip_ids?: string[] | null; captions?: boolean; mode?: "exact" | "instant" }
export interface NewFramingExport { kind: "framing"; reel_id: string }
export interface NewOverlayExport { kind: "overlay"; reel_id: string }
export interface NewReelExport { kind: "reel"; reel_id: string }
export interface HistoryFilter { before_version?: number; page_size?: number; table?: string | null; key?: string | null }
export interface History { version: number; versions: PastVersion[]; next_before_version: number | null }
export interface PastVersion { version: number; committed_at: string; commits: PastCommit[] }
export interface PastCommit { id: string; author: string; kind: "edit" | "restore" | "schema" | "system" | "undo"; rows: PastRow[]; row_count: number; undoable: boolean; undoes: string | null; restores: number | null }
export interface PastRow { table: string; key: (string | number | number | null)[]; change: "deleted" | "inserted" | "updated" }
export interface UndoRequest { version: number; commit_id: string }
export interface Changed { version: number }
export interface RestoreRequest { version: number }
export interface Problem { type: string; title: string; status: number; detail: string; trace_id: string; local_version?: number | null; remote_version?: number | null; conflicts?: Conflict[] | null }
export interface Conflict { table: string; key: (string | number | number | null)[] }

type None = Record<string, never>;
interface Call<Path, Query, Body, Reply> { path: Path; query: Query; body: Body; reply: Reply }

export interface Routes {
  "GET /healthz": Call<None, None, undefined, Health>;
  "GET /readyz": Call<None, None, undefined, Readiness>;
  "GET /api/session": Call<None, None, undefined, Session>;
  "POST /api/session": Call<None, None, undefined, Session>;
  "DELETE /api/session": Call<None, None, undefined, undefined>;
  "GET /api/library": Call<None, None, undefined, Library>;
  "GET /api/games": Call<None, None, undefined, Games>;
  "POST /api/games": Call<None, None, NewGame, Game>;
  "GET /api/games/{game_id}": Call<{ game_id: string }, None, undefined, Game>;
  "PATCH /api/games/{game_id}": Call<{ game_id: string }, None, GameChanges, Game>;
  "DELETE /api/games/{game_id}": Call<{ game_id: string }, None, undefined, undefined>;
  "POST /api/games/{game_id}/videos": Call<{ game_id: string }, None, NewVideo, VideoWithUpload>;
  "GET /api/videos/{video_id}/upload": Call<{ video_id: string }, None, undefined, Upload>;
  "POST /api/videos/{video_id}/upload/parts": Call<{ video_id: string }, None, PartNumbers, SignedParts>;
  "POST /api/videos/{video_id}/upload/complete": Call<{ video_id: string }, None, undefined, Video>;
  "DELETE /api/videos/{video_id}": Call<{ video_id: string }, None, undefined, undefined>;
  "GET /api/videos/{video_id}/file": Call<{ video_id: string }, { download?: boolean }, undefined, undefined>;
  "POST /api/games/{game_id}/clips": Call<{ game_id: string }, None, NewClip, Clip>;
  "GET /api/clips/{clip_id}": Call<{ clip_id: string }, None, undefined, Clip>;
  "PATCH /api/clips/{clip_id}": Call<{ clip_id: string }, None, ClipChanges, Clip>;
  "DELETE /api/clips/{clip_id}": Call<{ clip_id: string }, None, undefined, undefined>;
  "GET /api/reels": Call<None, None, undefined, Reels>;
  "POST /api/reels": Call<None, None, NewReel, Reel>;
  "GET /api/reels/{reel_id}": Call<{ reel_id: string }, None, undefined, Reel>;
  "PATCH /api/reels/{reel_id}": Call<{ reel_id: string }, None, ReelChanges, Reel>;
  "DELETE /api/reels/{reel_id}": Call<{ reel_id: string }, None, undefined, undefined>;
  "PUT /api/reels/{reel_id}/clips": Call<{ reel_id: string }, None, ClipOrder, Reel>;
  "PUT /api/reels/{reel_id}/clips/{clip_id}/framing": Call<{ reel_id: string; clip_id: string }, None, Framing, Reel>;
  "DELETE /api/reels/{reel_id}/clips/{clip_id}/framing": Call<{ reel_id: string; clip_id: string }, None, undefined, Reel>;
  "PUT /api/reels/{reel_id}/overlay": Call<{ reel_id: string }, None, Overlay, Reel>;
  "GET /api/exports": Call<None, { game_id?: string; reel_id?: string }, undefined, Exports>;
  "POST /api/exports": Call<None, None, NewAnnotateExport | NewFramingExport | NewOverlayExport | NewReelExport, Export>;
  "GET /api/exports/{export_id}": Call<{ export_id: string }, None, undefined, Export>;
  "DELETE /api/exports/{export_id}": Call<{ export_id: string }, None, undefined, undefined>;
  "POST /api/exports/{export_id}/cancel": Call<{ export_id: string }, None, undefined, Export>;
  "POST /api/exports/{export_id}/retry": Call<{ export_id: string }, None, undefined, Export>;
  "GET /api/exports/{export_id}/outputs/{output_id}/file": Call<{ export_id: string; output_id: string }, { download?: boolean }, undefined, undefined>;
  "GET /api/exports/{export_id}/outputs/{output_id}/poster": Call<{ export_id: string; output_id: string }, { download?: boolean }, undefined, undefined>;
  "GET /api/history": Call<None, { before_version?: number; page_size?: number; table?: string; key?: string }, undefined, History>;
  "POST /api/undo": Call<None, None, UndoRequest, Changed>;
  "POST /api/restore": Call<None, None, RestoreRequest, Changed>;
  "GET /api/database.sqlite": Call<None, None, undefined, undefined>;
}
