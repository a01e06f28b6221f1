// What the user can do, each as one call and its effect on what is shown. Conflicts become the banner, problems a notice; neither loses input.
import { asProblem } from "../api/problem";
import type { Clip, Export, Framing, Game, Reel, Video } from "../api/schema";
import { client, drafts, library, notices, uploads } from "../wiring";
import { changes, type Draft, type Fields } from "./drafts";

export interface ClipFields extends Fields {
  video_id: string;
  start_ms: number;
  end_ms: number;
  name: string;
  notes: string;
  rating: number | null;
}
export interface GameFields extends Fields {
  name: string;
  opponent: string;
  played_on: string;
}

export function clipFields(clip: Clip): ClipFields {
  const { video_id, start_ms, end_ms, name, notes, rating } = clip;
  return { video_id, start_ms, end_ms, name: name ?? "", notes: notes ?? "", rating: rating ?? null };
}

export function gameFields(game: Game): GameFields {
  return { name: game.name, opponent: game.opponent ?? "", played_on: game.played_on ?? "" };
}

/** Runs a deed; true when it is done. A conflict of something that was not typed needs a refresh only. */
async function does(deed: () => Promise<unknown>): Promise<boolean> {
  try {
    await deed();
    return true;
  } catch (error) {
    const problem = asProblem(error);
    if (problem.stale) notices.conflict.value = { problem, work: "", settle: () => "You have the latest now. Please do that once more." };
    else notices.show(problem);
    return false;
  }
}

/** Saves a draft; true when it is saved. A conflict keeps the draft, and its banner rebases it onto the fresh row. */
async function saves<T extends Fields>(name: string, save: (draft: Draft<T>) => Promise<unknown>, fresh: () => T | null): Promise<boolean> {
  const draft = drafts.of<T>(name).value;
  if (!draft) return false;
  try {
    await save(draft);
  } catch (error) {
    const problem = asProblem(error);
    if (!problem.stale) {
      notices.show(problem);
      return false;
    }
    const settle = (): string => {
      const row = fresh();
      if (!row) return "It was deleted elsewhere. What you wrote is still in the form.";
      drafts.rebase(name, row, client.base);
      return "You have the latest now, and what you changed is still in the form. Save it again.";
    };
    notices.conflict.value = { problem, work: inWords(changes(draft)), settle };
    return false;
  }
  drafts.saved(name, draft);
  return true;
}

function inWords(fields: Fields): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${String(value ?? "")}`)
    .join("\n");
}

export const newClipDraft = (gameId: string): string => `clip:new:${gameId}`;
export const clipDraft = (clipId: string): string => `clip:${clipId}`;
export const gameDraft = (gameId: string): string => `game:${gameId}`;

/** Clips of these videos that were being edited here when they were deleted elsewhere: their words wait for the user. */
export function orphans(videoIds: ReadonlySet<string>): string[] {
  const known = new Set(library.clips.value.map((clip) => clipDraft(clip.id)));
  return drafts.names.value.filter((name) => {
    if (!name.startsWith("clip:") || name.startsWith("clip:new:") || known.has(name)) return false;
    return videoIds.has(drafts.of<ClipFields>(name).value?.now.video_id ?? "");
  });
}

export function createClip(gameId: string, draftName: string): Promise<boolean> {
  return saves<ClipFields>(
    draftName,
    async ({ now, base, key }) => library.put("clips", await client.call("POST /api/games/{game_id}/clips", { path: { game_id: gameId }, body: now, base, key })),
    () => null,
  );
}

export function saveClip(id: string): Promise<boolean> {
  const fresh = (): ClipFields | null => {
    const clip = library.clips.value.find((other) => other.id === id);
    return clip ? clipFields(clip) : null;
  };
  return saves<ClipFields>(
    clipDraft(id),
    async (draft) => {
      const { video_id: _, ...body } = changes(draft);
      if (Object.keys(body).length > 0) library.put("clips", await client.call("PATCH /api/clips/{clip_id}", { path: { clip_id: id }, body, base: draft.base, key: draft.key }));
    },
    fresh,
  );
}

export function saveGame(id: string): Promise<boolean> {
  const fresh = (): GameFields | null => {
    const game = library.games.value.find((other) => other.id === id);
    return game ? gameFields(game) : null;
  };
  return saves<GameFields>(
    gameDraft(id),
    async (draft) => {
      const changed = changes(draft);
      const body = "played_on" in changed ? { ...changed, played_on: changed.played_on || null } : changed;
      if (Object.keys(body).length > 0) library.put("games", await client.call("PATCH /api/games/{game_id}", { path: { game_id: id }, body, base: draft.base, key: draft.key }));
    },
    fresh,
  );
}

export function deleteClip(clip: Clip): Promise<boolean> {
  return does(async () => {
    await client.call("DELETE /api/clips/{clip_id}", { path: { clip_id: clip.id } });
    library.drop("clips", clip.id);
    drafts.end(clipDraft(clip.id));
  });
}

export function deleteGame(game: Game): Promise<boolean> {
  return does(async () => {
    for (const video of game.videos) uploads.stop(video.id);
    await client.call("DELETE /api/games/{game_id}", { path: { game_id: game.id } });
    library.drop("games", game.id);
  });
}

export function removeVideo(video: Video): Promise<boolean> {
  return does(async () => {
    uploads.stop(video.id);
    await client.call("DELETE /api/videos/{video_id}", { path: { video_id: video.id } });
    library.dropVideo(video);
  });
}

export function deleteReel(reel: Reel): Promise<boolean> {
  return does(async () => {
    await client.call("DELETE /api/reels/{reel_id}", { path: { reel_id: reel.id } });
    library.drop("reels", reel.id);
  });
}

/** The new reel's id, or null when it was not made. */
export async function makeReel(name: string, aspect: Reel["aspect"], clipIds: string[]): Promise<string | null> {
  let id: string | null = null;
  await does(async () => {
    const reel = await client.call("POST /api/reels", { body: { name, aspect, clip_ids: clipIds } });
    library.put("reels", reel);
    id = reel.id;
  });
  return id;
}

export function changeReel(reel: Reel, body: { name?: string; aspect?: Reel["aspect"] }): Promise<boolean> {
  return does(async () => library.put("reels", await client.call("PATCH /api/reels/{reel_id}", { path: { reel_id: reel.id }, body })));
}

export function arrange(reel: Reel, clipIds: string[]): Promise<boolean> {
  return does(async () => library.put("reels", await client.call("PUT /api/reels/{reel_id}/clips", { path: { reel_id: reel.id }, body: { clip_ids: clipIds } })));
}

export function frame(reel: Reel, clipId: string, framing: Framing | null): Promise<boolean> {
  const path = { reel_id: reel.id, clip_id: clipId };
  return does(async () => {
    const changed = framing
      ? await client.call("PUT /api/reels/{reel_id}/clips/{clip_id}/framing", { path, body: framing })
      : await client.call("DELETE /api/reels/{reel_id}/clips/{clip_id}/framing", { path });
    library.put("reels", changed);
  });
}

export function exportReel(reel: Reel): Promise<boolean> {
  return does(async () => library.hear(await client.call("POST /api/exports", { body: { kind: "reel", reel_id: reel.id } })));
}

export function exportClips(gameId: string, clipIds: string[]): Promise<boolean> {
  return does(async () => library.hear(await client.call("POST /api/exports", { body: { kind: "annotate", game_id: gameId, clip_ids: clipIds } })));
}

export function cancelExport(job: Export): Promise<boolean> {
  return does(async () => library.hear(await client.call("POST /api/exports/{export_id}/cancel", { path: { export_id: job.id } })));
}

export function retryExport(job: Export): Promise<boolean> {
  return does(async () => library.hear(await client.call("POST /api/exports/{export_id}/retry", { path: { export_id: job.id } })));
}
