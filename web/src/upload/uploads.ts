// The uploads of this page: makes the game and its videos from chosen files, sends them, and goes on with those that were begun earlier.
import { signal } from "@preact/signals";
import { type Client, sleep } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import type { Video } from "../api/schema";
import type { LibraryStore } from "../state/library";
import { contentType, fingerprint, gameName, inspect, keptName } from "./file";
import { type Pace, rate } from "./plan";
import { putByXhr, send, type Server } from "./send";

export interface Transfer {
  state: "sending" | "waiting" | "finishing" | "failed";
  bytes: number;
  sizeBytes: number;
  bytesPerSecond: number;
  problem: Problem | null;
}

const COMPLETE_TIMEOUT_MS = 120_000; // the server looks into the whole file before it answers

export class Uploads {
  /** By video id; a video without an entry is not being sent by this page. */
  readonly transfers = signal<Readonly<Record<string, Transfer>>>({});
  /** Addresses of files on this device, by video id: what is not sent yet can be played all the same. */
  readonly local = signal<Readonly<Record<string, string>>>({});
  private readonly files = new Map<string, File>();
  private readonly running = new Map<string, AbortController>();

  constructor(
    private readonly client: Client,
    private readonly library: LibraryStore,
  ) {
    addEventListener("beforeunload", (event) => {
      if (this.running.size > 0) event.preventDefault();
    });
  }

  /** Makes a game of the chosen files, in their order, and begins to send them. Returns the game's id. */
  async newGame(files: readonly File[]): Promise<string> {
    const [first] = files;
    if (!first) throw new Problem(0, "no_file", "Choose at least one video.", "");
    const day = new Date(first.lastModified);
    const playedOn = [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
    const game = await this.client.call("POST /api/games", { body: { name: gameName(first.name), played_on: playedOn } });
    this.library.put("games", game);
    await this.add(game.id, files);
    return game.id;
  }

  async add(gameId: string, files: readonly File[]): Promise<void> {
    for (const file of files) {
      const address = URL.createObjectURL(file);
      const [footage, print] = await Promise.all([inspect(address), fingerprint(file)]);
      const body = { file_name: keptName(file.name), size_bytes: file.size, content_type: contentType(file), fingerprint: print, ...footage };
      const { video } = await this.client.call("POST /api/games/{game_id}/videos", { path: { game_id: gameId }, body });
      this.local.value = { ...this.local.value, [video.id]: address };
      this.library.putVideo(video);
      void this.run(video, file);
    }
  }

  /** Goes on with an upload that was begun before this page was loaded. Throws a Problem in words when it is another file. */
  async resume(video: Video, file: File): Promise<void> {
    const same = file.size === video.size_bytes && (!video.fingerprint || (await fingerprint(file)) === video.fingerprint);
    if (!same) throw new Problem(0, "wrong_file", `This is another file. Choose “${video.file_name}”, the one whose upload was begun.`, "");
    this.local.value = { ...this.local.value, [video.id]: URL.createObjectURL(file) };
    void this.run(video, file);
  }

  /** Sends on after a failure; false when the file must be chosen again. */
  retry(video: Video): boolean {
    const file = this.files.get(video.id);
    if (file) void this.run(video, file);
    return file !== undefined;
  }

  stop(videoId: string): void {
    this.running.get(videoId)?.abort(new Problem(0, "stopped", "Stopped.", ""));
    this.show(videoId, null);
  }

  private async run(video: Video, file: File): Promise<void> {
    if (this.running.has(video.id)) return;
    const abort = new AbortController();
    const pace: Pace[] = [];
    this.files.set(video.id, file);
    this.running.set(video.id, abort);
    this.show(video.id, { state: "sending", bytes: 0, sizeBytes: file.size, bytesPerSecond: 0, problem: null });
    const progress = (bytes: number): void => {
      pace.push({ at: Date.now(), bytes });
      while (pace.length > 2 && pace[0]!.at < Date.now() - 8_000) pace.shift();
      this.change(video.id, { bytes: Math.min(bytes, file.size), bytesPerSecond: rate(pace) });
    };
    const waiting = (is: boolean): void => this.change(video.id, { state: is ? "waiting" : "sending" });
    try {
      const done = await send(file, this.server(video.id), { put: putByXhr, sleep, progress, waiting }, abort.signal);
      this.library.putVideo(done);
      this.show(video.id, null);
    } catch (error) {
      if (!abort.signal.aborted) this.change(video.id, { state: "failed", problem: asProblem(error) });
    } finally {
      this.running.delete(video.id);
    }
  }

  private server(id: string): Server {
    const path = { video_id: id };
    const key = this.client.newKey(); // completing is one deed, however often its answer is lost
    return {
      upload: (signal) => this.client.call("GET /api/videos/{video_id}/upload", { path, signal }),
      sign: async (part_numbers, signal) => (await this.client.call("POST /api/videos/{video_id}/upload/parts", { path, body: { part_numbers }, signal })).parts,
      complete: (signal) => {
        this.change(id, { state: "finishing" });
        return this.client.call("POST /api/videos/{video_id}/upload/complete", { path, key, signal, timeoutMs: COMPLETE_TIMEOUT_MS });
      },
    };
  }

  private show(videoId: string, transfer: Transfer | null): void {
    const { [videoId]: _, ...others } = this.transfers.value;
    this.transfers.value = transfer ? { ...others, [videoId]: transfer } : others;
  }

  private change(videoId: string, news: Partial<Transfer>): void {
    const known = this.transfers.value[videoId];
    if (known) this.show(videoId, { ...known, ...news });
  }
}
