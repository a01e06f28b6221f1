// What the user owns, as this page knows it: one consistent read, kept fresh by its own writes and by hints.
import { batch, computed, signal } from "@preact/signals";
import type { Client } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Clip, Export, Game, Library, Reel, Video } from "../api/schema";
import { merge, mergeAll } from "./exports";

interface Row {
  id: string;
}
type Table = "games" | "clips" | "reels";

export class LibraryStore {
  readonly loaded = signal(false);
  readonly problem = signal<Problem | null>(null);
  readonly games = signal<readonly Game[]>([]);
  readonly clips = signal<readonly Clip[]>([]);
  readonly reels = signal<readonly Reel[]>([]);
  readonly exports = signal<readonly Export[]>([]);
  readonly videos = computed<ReadonlyMap<string, Video>>(() => new Map(this.games.value.flatMap((game) => game.videos.map((video) => [video.id, video] as const))));
  private reading: Promise<void> | null = null;
  private again: number | null = null; // the version to read at least, once more

  constructor(private readonly client: Client) {}

  /** Read everything afresh; reads asked for meanwhile are one read more. Problems are shown, not thrown. */
  refresh(minVersion = 0): Promise<void> {
    this.again = Math.max(this.again ?? 0, minVersion);
    this.reading ??= this.readAll().finally(() => (this.reading = null));
    return this.reading;
  }

  private async readAll(): Promise<void> {
    while (this.again !== null) {
      const minVersion = this.again === 0 ? 0 : Math.max(this.again, this.client.written);
      this.again = null;
      try {
        const library = await this.client.call("GET /api/library", { minVersion });
        // A write of ours that ended meanwhile is not in it: showing it would take back what the user just did.
        if (library.version < this.client.written) this.again = this.client.written;
        else this.adopt(library);
      } catch (error) {
        this.problem.value = asProblem(error);
      }
    }
  }

  private adopt(library: Library): void {
    this.client.hasRead(library.version);
    batch(() => {
      this.games.value = library.games;
      this.clips.value = library.clips;
      this.reels.value = library.reels;
      this.exports.value = mergeAll(this.exports.value, library.exports);
      this.problem.value = null;
      this.loaded.value = true;
    });
  }

  /** A row as a write answered it. */
  put(table: "games", row: Game): void;
  put(table: "clips", row: Clip): void;
  put(table: "reels", row: Reel): void;
  put(table: Table, row: Row): void {
    const rows = this[table].value as readonly Row[];
    const known = rows.some((other) => other.id === row.id);
    (this[table] as { value: readonly Row[] }).value = known ? rows.map((other) => (other.id === row.id ? row : other)) : [...rows, row];
    this.catchUp();
  }

  putVideo(video: Video): void {
    this.games.value = this.games.value.map((game) => {
      if (game.id !== video.game_id) return game;
      const known = game.videos.some((other) => other.id === video.id);
      return { ...game, videos: known ? game.videos.map((other) => (other.id === video.id ? video : other)) : [...game.videos, video] };
    });
    this.catchUp();
  }

  dropVideo(video: Video): void {
    this.games.value = this.games.value.map((game) => (game.id === video.game_id ? { ...game, videos: game.videos.filter((other) => other.id !== video.id) } : game));
    this.clips.value = this.clips.value.filter((clip) => clip.video_id !== video.id);
    this.catchUp();
  }

  drop(table: Table, id: string): void {
    (this[table] as { value: readonly Row[] }).value = (this[table].value as readonly Row[]).filter((row) => row.id !== id);
    if (table === "games") this.clips.value = this.clips.value.filter((clip) => clip.game_id !== id);
    this.catchUp();
  }

  dropExport(id: string): void {
    this.exports.value = this.exports.value.filter((other) => other.id !== id);
  }

  /** An export as a read, an event or a write told it; older news than what is known changes nothing. */
  hear(told: Export): void {
    const known = this.exports.value.find((other) => other.id === told.id);
    const merged = known ? merge(known, told) : told;
    if (merged === known) return;
    this.exports.value = known ? this.exports.value.map((other) => (other.id === told.id ? merged : other)) : [...this.exports.value, told];
    // Its results hang on games and reels too: read them.
    if (merged.finished_at && !known?.finished_at) void this.refresh();
  }

  /** Our own write was answered, and somebody else had written before it: read what that was. */
  private catchUp(): void {
    if (this.client.head > this.client.base) void this.refresh(this.client.head);
  }
}
