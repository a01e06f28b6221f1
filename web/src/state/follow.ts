// Follows exports: events over the WebSocket as they come, and reading each running export again, often when there is no socket.
import { effect, signal, type Signal } from "@preact/signals";
import type { Client } from "../api/client";
import { trace } from "../api/ids";
import { asProblem } from "../api/problem";
import type { Export } from "../api/schema";
import type { Connection } from "./connection";
import { active } from "./exports";
import type { LibraryStore } from "./library";

type Message = { type: "version"; version: number; author?: string } | { type: "export"; export: Export } | { type: "ping" };

const POLL_MS = 1_500;
const POLL_WITH_SOCKET_MS = 10_000;
const SILENCE_MS = 90_000; // a socket that says nothing for so long is dead, whatever TCP thinks
const HIDDEN_MS = 60_000;

export class Follower {
  readonly live: Signal<boolean> = signal(false);
  private readonly turn = signal(0);
  private asking = false;
  private socket: WebSocket | null = null;
  private retryMs = 1_000;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private hidden: ReturnType<typeof setTimeout> | undefined;
  private poll: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: Client,
    private readonly library: LibraryStore,
    private readonly connection: Connection,
  ) {}

  start(): void {
    effect(() => {
      if (this.library.loaded.value && this.connection.state.value === "reached") this.connect();
    });
    effect(() => {
      void this.turn.value; // after each round of questions, the next
      const running = this.library.exports.value.some(active) && this.connection.state.value === "reached";
      clearTimeout(this.poll);
      if (running) this.poll = setTimeout(() => void this.ask(), this.live.value ? POLL_WITH_SOCKET_MS : POLL_MS);
    });
    // An open socket keeps a machine up: a tab nobody looks at gives it back, unless an export runs.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.hidden);
      if (document.hidden) this.hidden = setTimeout(() => this.rest(), HIDDEN_MS);
      else this.connect();
    });
  }

  private rest(): void {
    if (!this.library.exports.value.some(active)) this.socket?.close();
    else this.hidden = setTimeout(() => this.rest(), HIDDEN_MS);
  }

  private connect(): void {
    clearTimeout(this.retry);
    if (this.socket || document.hidden || !this.library.loaded.peek() || this.connection.state.peek() !== "reached") return;
    const socket = new WebSocket(this.client.socketAddress);
    this.socket = socket;
    socket.onopen = () => {
      this.retryMs = 1_000;
      this.live.value = true;
      this.heard();
      const exports = Object.fromEntries(this.library.exports.peek().filter(active).map((job) => [job.id, job.sequence]));
      socket.send(JSON.stringify({ type: "hello", client_id: this.client.id, traceparent: trace().header, version: this.client.base, exports }));
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      this.heard();
      this.take(JSON.parse(event.data) as Message);
    };
    socket.onclose = () => {
      this.socket = null;
      this.live.value = false;
      clearTimeout(this.silence);
      this.retry = setTimeout(() => void this.again(), this.retryMs);
      this.retryMs = Math.min(30_000, this.retryMs * 2);
    };
  }

  /** Without a socket, asking is the only way to know: whether the gateway is there, and whether there is something new. */
  private async again(): Promise<void> {
    if (document.hidden) return;
    await this.library.refresh();
    this.connect();
  }

  private heard(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket?.close(), SILENCE_MS);
  }

  private take(message: Message): void {
    if (message.type === "export") this.library.hear(message.export);
    // What this page wrote itself, it knows; the rest it reads. Forms keep their own base and their own words.
    if (message.type === "version" && message.version > this.client.base && message.author !== this.client.id) void this.library.refresh(message.version);
  }

  private async ask(): Promise<void> {
    if (this.asking) return;
    this.asking = true;
    for (const job of this.library.exports.peek().filter(active)) {
      try {
        this.library.hear(await this.client.call("GET /api/exports/{export_id}", { path: { export_id: job.id } }));
      } catch (error) {
        if (asProblem(error).status === 404) this.library.dropExport(job.id); // deleted elsewhere; anything else: the next turn asks again
      }
    }
    this.asking = false;
    this.turn.value += 1;
  }
}
