// One game: watch it, mark clips, pick the good ones and make a reel of them.
import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useCallback, useEffect, useMemo } from "preact/hooks";
import type { Clip, Game, Video } from "../api/schema";
import { type Aspect, AspectChoice, ChooseVideos, Twice } from "../parts/fields";
import { ClipForm } from "../parts/clip_form";
import { ClipList } from "../parts/clip_list";
import { ExportCard } from "../parts/export_card";
import { Player } from "../parts/player";
import { UploadPanel } from "../parts/upload_panel";
import { count, day } from "../format";
import { PlayerControl } from "../player/control";
import { A, go } from "../router";
import { type ClipFields, clipDraft, createClip, deleteGame, exportClips, type GameFields, gameDraft, gameFields, makeReel, newClipDraft, orphans, saveGame } from "../state/deeds";
import { newestFirst } from "../state/exports";
import { client, drafts, library, notices, uploads } from "../wiring";

const CLIP_MS = 8_000; // a good length for a clip of which only one end is known
const FPS = 30; // until the server has looked into the video

export function GameScreen(props: { id: string }) {
  const game = library.games.value.find((other) => other.id === props.id);
  if (!game) return <Missing />;
  return <OpenGame key={game.id} game={game} />;
}

function Missing() {
  return (
    <div class="empty">
      <h1 tabIndex={-1}>This game is not here</h1>
      <p>It may have been deleted, or it belongs to somebody else.</p>
      <A href="/" class="button primary">
        Go to your games
      </A>
    </div>
  );
}

function OpenGame(props: { game: Game }) {
  const { game } = props;
  const control = useMemo(() => new PlayerControl(), []);
  const videos = useMemo(() => [...game.videos].sort((a, b) => a.position - b.position), [game.videos]);
  const shown = useSignal(videos[0]?.id ?? "");
  const left = useSignal<ReadonlySet<string>>(new Set());
  const clips = useComputed(() => inOrder(game.id));
  const video = videos.find((other) => other.id === shown.value) ?? videos[0];
  const shownVideo = video?.id ?? "";
  const mark = useMark(game.id, video, control, clips.value);
  const pick = useCallback((ids: readonly string[], on: boolean): void => {
    const next = new Set(left.peek());
    for (const id of ids) {
      if (on) next.delete(id);
      else next.add(id);
    }
    left.value = next;
  }, []);
  const add = (files: File[]): void => void uploads.add(game.id, files).catch((error: unknown) => notices.show(error));
  const playClip = (clip: Clip): void => {
    shown.value = clip.video_id;
    // The other video's element is there after the next paint.
    requestAnimationFrame(() => control.playRange(clip.start_ms, clip.end_ms));
  };
  return (
    <>
      <GameHead game={game} />
      <div class="columns">
        <div class="main-column">
          {videos.length > 1 && <VideoTabs videos={videos} shown={shownVideo} onShow={(id) => (shown.value = id)} />}
          {video ? (
            <Footage key={video.id} video={video} control={control} clips={clips.value.filter((clip) => clip.video_id === video.id)} onMark={mark} />
          ) : (
            <div class="card empty">
              <p>
                <strong>This game has no video yet.</strong>
              </p>
              <ChooseVideos label="Choose videos" many primary onFiles={add} />
            </div>
          )}
          {videos.map((other) => (
            <UploadPanel key={other.id} video={other} />
          ))}
          {video && (
            <div class="row">
              <ChooseVideos label="Add another video" many onFiles={add} />
              <p class="hint">The second half, or another camera.</p>
            </div>
          )}
        </div>
        <div class="side-column">
          <Unsaved game={game} control={control} shownVideo={shownVideo} />
          <section aria-label="Clips">
            <h2>{clips.value.length > 0 ? count(clips.value.length, "clip") : "Clips"}</h2>
            <ClipList game={game} clips={clips.value} control={control} shownVideo={shownVideo} left={left} onPick={pick} onPlay={playClip} />
          </section>
          {clips.value.length > 0 && <MakeReel game={game} clips={clips} left={left} />}
          <GameExports game={game} />
        </div>
      </div>
    </>
  );
}

/** The new clip, and clips that were deleted elsewhere while they were being edited here. A component of its own: it changes with every letter. */
function Unsaved(props: { game: Game; control: PlayerControl; shownVideo: string }) {
  const { game, control, shownVideo } = props;
  const fresh = newClipDraft(game.id);
  const form = (name: string, title: string, saveLabel: string) => {
    const draft = drafts.of<ClipFields>(name).value;
    if (!draft) return null;
    const atHand = draft.now.video_id === shownVideo;
    return <ClipForm key={name} title={title} name={name} draft={draft} control={control} atHand={atHand} save={() => saveNew(game.id, name)} saveLabel={saveLabel} />;
  };
  return (
    <>
      {form(fresh, "New clip", "Save clip")}
      {orphans(new Set(game.videos.map((video) => video.id))).map((name) => form(name, "This clip was deleted elsewhere", "Save as a new clip"))}
    </>
  );
}

async function saveNew(gameId: string, draftName: string): Promise<boolean> {
  const saved = await createClip(gameId, draftName);
  if (saved) notices.tell("Clip saved.");
  return saved;
}

function inOrder(gameId: string): Clip[] {
  const position = (clip: Clip): number => library.videos.value.get(clip.video_id)?.position ?? 0;
  return library.clips.value.filter((clip) => clip.game_id === gameId).sort((a, b) => position(a) - position(b) || a.start_ms - b.start_ms);
}

/** I and O: set an end of the clip in hand (the one being edited, else the new one), or begin a new one. */
function useMark(gameId: string, video: Video | undefined, control: PlayerControl, clips: readonly Clip[]): (edge: "start" | "end") => void {
  return useCallback(
    (edge) => {
      if (!video) return;
      const now = control.now();
      const length = control.durationMs.peek() || now + CLIP_MS;
      const editing = clips.find((clip) => clip.video_id === video.id && drafts.of(clipDraft(clip.id)).peek());
      const name = editing ? clipDraft(editing.id) : newClipDraft(gameId);
      const draft = drafts.of<ClipFields>(name).peek();
      const known = draft?.now.video_id === video.id ? draft.now : null;
      const range =
        edge === "start"
          ? { start_ms: now, end_ms: known && known.end_ms > now ? known.end_ms : Math.min(length, now + CLIP_MS) }
          : { start_ms: known && known.start_ms < now ? known.start_ms : Math.max(0, now - CLIP_MS), end_ms: now };
      if (draft) drafts.edit<ClipFields>(name, editing ? range : { ...range, video_id: video.id });
      else drafts.begin<ClipFields>(name, { video_id: video.id, name: "", notes: "", rating: null, ...range }, client.base);
    },
    [gameId, video?.id, control, clips],
  );
}

function Footage(props: { video: Video; control: PlayerControl; clips: readonly Clip[]; onMark: (edge: "start" | "end") => void }) {
  const { video } = props;
  const marked = useComputed(() => {
    const range = drafts.of<ClipFields>(newClipDraft(video.game_id)).value?.now;
    return range?.video_id === video.id ? range : null;
  });
  const src = uploads.local.value[video.id] ?? (video.state === "ready" ? client.address(`/api/videos/${video.id}/file`) : "");
  if (src === "") {
    return (
      <div class="stage">
        <p class="cover">The video can be watched here once its upload is done, or at once when you choose the file again below.</p>
      </div>
    );
  }
  return <Player control={props.control} src={src} fps={video.fps ?? FPS} title={video.file_name} clips={props.clips} marked={marked} onMark={props.onMark} />;
}

function VideoTabs(props: { videos: readonly Video[]; shown: string; onShow: (id: string) => void }) {
  return (
    <div class="row tabs" role="group" aria-label="Videos of this game">
      {props.videos.map((video, index) => (
        <button key={video.id} type="button" aria-pressed={video.id === props.shown} title={video.file_name} onClick={() => props.onShow(video.id)}>
          Video {index + 1}
        </button>
      ))}
    </div>
  );
}

function GameHead(props: { game: Game }) {
  const { game } = props;
  const asking = useSignal(false);
  const name = gameDraft(game.id);
  const draft = drafts.of<GameFields>(name).value;
  const edit = (fields: Partial<GameFields>): void => drafts.edit<GameFields>(name, fields);
  useEffect(() => void (document.title = `${game.name} · Reel Ballers`), [game.name]);
  if (draft) {
    const submit = (event: Event): void => {
      event.preventDefault();
      void saveGame(game.id);
    };
    return (
      <form class="card game-form" aria-label="Edit the game" onSubmit={submit}>
        <h1 class="away" tabIndex={-1}>
          {game.name}
        </h1>
        <label>
          Name <input type="text" required maxLength={200} value={draft.now.name} onInput={(event) => edit({ name: event.currentTarget.value })} />
        </label>
        <label>
          Against <input type="text" maxLength={200} value={draft.now.opponent} onInput={(event) => edit({ opponent: event.currentTarget.value })} />
        </label>
        <label>
          Played on <input type="date" value={draft.now.played_on} onInput={(event) => edit({ played_on: event.currentTarget.value })} />
        </label>
        <div class="row">
          <button type="submit" class="primary">
            Save
          </button>
          <button type="button" class="quiet" onClick={() => drafts.end(name)}>
            Cancel
          </button>
        </div>
      </form>
    );
  }
  const remove = async (): Promise<void> => {
    if (await deleteGame(game)) go("/", true);
  };
  return (
    <div class="head">
      <div class="grow">
        <h1 tabIndex={-1}>{game.name}</h1>
        <p class="hint">{[game.opponent && `against ${game.opponent}`, day(game.played_on)].filter(Boolean).join(" · ")}</p>
      </div>
      <div class="row">
        {!asking.value && (
          <button type="button" class="quiet" onClick={() => drafts.begin<GameFields>(name, gameFields(game), client.base)}>
            Edit details
          </button>
        )}
        <Twice label="Delete game" sure="Delete the game and its clips?" asking={asking.value} onAsk={(is) => (asking.value = is)} onYes={() => void remove()} />
      </div>
    </div>
  );
}

function MakeReel(props: { game: Game; clips: ReadonlySignal<readonly Clip[]>; left: ReadonlySignal<ReadonlySet<string>> }) {
  const { game } = props;
  const clips = props.clips.value.filter((clip) => !props.left.value.has(clip.id));
  const aspect = useSignal<Aspect>("9:16");
  const name = useSignal(`${game.name}: highlights`.slice(0, 200));
  const busy = useSignal("");
  const ids = clips.map((clip) => clip.id);
  const sent = clips.every((clip) => library.videos.value.get(clip.video_id)?.state === "ready");
  const make = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = "reel";
    const id = await makeReel(name.value.trim() || "My reel", aspect.value, ids);
    busy.value = "";
    if (id) go(`/reels/${id}`);
  };
  const cut = async (): Promise<void> => {
    busy.value = "cut";
    await exportClips(game.id, ids);
    busy.value = "";
  };
  return (
    <form class="card make" aria-label="Make a reel" onSubmit={(event) => void make(event)}>
      <h2>Make a reel</h2>
      <label>
        Name <input type="text" required maxLength={200} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
      </label>
      <AspectChoice name="new-reel-aspect" value={aspect.value} onChange={(value) => (aspect.value = value)} />
      <div class="row">
        <button type="submit" class="primary" disabled={ids.length === 0 || busy.value !== ""}>
          {busy.value === "reel" ? "Making it…" : ids.length === 0 ? "Tick a clip first" : `Make a reel of ${count(ids.length, "clip")}`}
        </button>
        <button type="button" disabled={ids.length === 0 || busy.value !== "" || !sent} title={sent ? "" : "Once the upload is done"} onClick={() => void cut()}>
          {busy.value === "cut" ? "Starting…" : "Just cut the clips out"}
        </button>
      </div>
    </form>
  );
}

function GameExports(props: { game: Game }) {
  const jobs = newestFirst(library.exports.value.filter((job) => job.kind === "annotate" && job.game_id === props.game.id)).slice(0, 3);
  if (jobs.length === 0) return null;
  return (
    <section aria-label="Clips cut out">
      <h2>Clips cut out</h2>
      {jobs.map((job) => (
        <ExportCard key={job.id} job={job} title={`Clips of ${props.game.name}`} />
      ))}
    </section>
  );
}
