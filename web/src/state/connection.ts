// Whether the gateway can be reached, and the quiet work of finding it again: everything that waits, waits here.
import { signal } from "@preact/signals";
import type { Reach } from "../api/client";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;
const PROBE_TIMEOUT_MS = 5_000;

export class Connection implements Reach {
  readonly state = signal<"reached" | "lost" | "trying">("reached");
  private waiting: (() => void)[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waitMs = FIRST_WAIT_MS;

  /** `probe` resolves to true when the gateway answers; it must not throw. */
  constructor(private readonly probe: (signal: AbortSignal) => Promise<boolean>) {}

  lost(): void {
    if (this.state.value !== "reached") return;
    this.state.value = "lost";
    this.waitMs = FIRST_WAIT_MS;
    this.schedule();
  }

  found(): void {
    if (this.state.value === "reached") return;
    clearTimeout(this.timer);
    this.state.value = "reached";
    for (const go of this.waiting.splice(0)) go();
  }

  restored(signal?: AbortSignal): Promise<void> {
    if (this.state.value === "reached") return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.waiting = this.waiting.filter((other) => other !== go);
        reject(signal?.reason as Error);
      };
      const go = (): void => {
        signal?.removeEventListener("abort", stop);
        resolve();
      };
      if (signal?.aborted) return stop();
      signal?.addEventListener("abort", stop, { once: true });
      this.waiting.push(go);
    });
  }

  /** Ask now instead of at the next turn. */
  async tryNow(): Promise<void> {
    if (this.state.value !== "lost") return;
    clearTimeout(this.timer);
    this.state.value = "trying";
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), PROBE_TIMEOUT_MS);
    const found = await this.probe(limit.signal);
    clearTimeout(timer);
    if ((this.state.value as string) === "reached") return; // a call of somebody's came through meanwhile
    if (found) return this.found();
    this.state.value = "lost";
    this.waitMs = Math.min(LONGEST_WAIT_MS, this.waitMs * 2);
    this.schedule();
  }

  private schedule(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.tryNow(), this.waitMs);
  }
}

export function healthProbe(origin: string): (signal: AbortSignal) => Promise<boolean> {
  return async (signal) => {
    try {
      return (await fetch(`${origin}/healthz`, { signal, cache: "no-store" })).ok;
    } catch {
      return false; // that is the answer
    }
  };
}
