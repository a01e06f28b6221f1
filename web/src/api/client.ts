// The one way to the gateway.
//
// What holds (tests/client.test.ts):
//  1. A call is repeated only with the same idempotency key, so a lost answer never makes a thing twice.
//  2. No answer is not a failure: the call waits for the connection and goes on; only answers and aborts end it.
//  3. `base` moves only by what this page has read, or by what the gateway says of its own writes: never by a glimpse.
//  4. Every problem comes out as a Problem with words for a person and the trace id.
import { type Random, random, trace, uuid7 } from "./ids";
import { Problem, problemOf, tooSlow, unreachable } from "./problem";
import type { Routes } from "./schema";

export type Route = keyof Routes;
export type Reply<R extends Route> = Routes[R]["reply"];
export type Body<R extends Route> = Routes[R]["body"];

interface Common {
  /** The version that the user's input was written against; default: the newest this page has read. */
  base?: number | undefined;
  /** Given by callers that may ask again for the same deed (a form saved twice); default: one per call. */
  key?: string | undefined;
  /** Read at least this version, which costs no round trip to the store; default: the newest heard of. 0: the very newest there is. */
  minVersion?: number;
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
}
type NoKeys<T> = keyof T extends never ? true : T extends Record<string, never> ? true : false;
type PathOf<R extends Route> = NoKeys<Routes[R]["path"]> extends true ? { path?: undefined } : { path: Routes[R]["path"] };
type BodyOf<R extends Route> = undefined extends Body<R> ? { body?: Body<R> } : { body: Body<R> };
export type Options<R extends Route> = Common & PathOf<R> & BodyOf<R> & { query?: Partial<Routes[R]["query"]> };

export interface Reach {
  lost(): void;
  found(): void;
  /** Resolves when the gateway answers again; rejects when the signal aborts. */
  restored(signal?: AbortSignal): Promise<void>;
}

export interface Deps {
  origin: string;
  fetch: typeof fetch;
  reach: Reach;
  now: () => number;
  random: Random;
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export const browserDeps = (origin: string, reach: Reach): Deps => ({ origin, reach, random, sleep, fetch: (...args) => fetch(...args), now: () => Date.now() });

interface Prepared {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string | undefined;
  traceId: string;
  timeoutMs: number;
}

const TIMEOUT_MS = 20_000;
const MAX_SILENT = 5; // answers lost in a row although the gateway can be reached
const MAX_BUSY = 4; // 429 and 503 in a row
const MAX_WAIT_MS = 15_000;

export class Client {
  /** The author of this page's commits: new for every live page, never stored. */
  readonly id: string;
  base = 0;
  /** The newest version that this page's own writes made. */
  written = 0;
  /** The newest version heard of. */
  head = 0;

  constructor(private readonly deps: Deps) {
    this.id = uuid7(deps.now(), deps.random);
  }

  /** The address of something that a <video> or a link opens by itself. */
  address(path: string): string {
    return new URL(path, this.deps.origin).href;
  }

  get socketAddress(): string {
    return this.deps.origin.replace(/^http/, "ws") + "/ws";
  }

  newKey(): string {
    return uuid7(this.deps.now(), this.deps.random);
  }

  /** This page has read everything up to `version`. */
  hasRead(version: number): void {
    this.base = Math.max(this.base, version);
    this.head = Math.max(this.head, version);
  }

  async call<R extends Route>(route: R, options: Options<R>): Promise<Reply<R>> {
    const request = this.prepare(route, options);
    let silent = 0;
    let slow = 0;
    let busy = 0;
    let signedIn = false;
    for (;;) {
      const answer = await this.attempt(request, options.signal);
      if (answer === "lost" || answer === "slow" || gone(answer)) {
        if (++silent > MAX_SILENT) throw unreachable(request.traceId);
        if (answer === "slow" && ++slow > 2) throw tooSlow(request.traceId);
        this.deps.reach.lost();
        await this.deps.reach.restored(options.signal);
        continue;
      }
      this.deps.reach.found();
      if (answer.ok) return this.accept(request, answer) as Promise<Reply<R>>;
      const problem = await readProblem(answer, request.traceId);
      if ((answer.status === 503 || answer.status === 429) && ++busy < MAX_BUSY) {
        await this.deps.sleep(waitMs(answer, busy), options.signal);
      } else if (answer.status === 401 && problem.reason === "no_session" && !signedIn && this.head === 0) {
        // A first visit. Later it would be another user: what is on the screen is not theirs, so the problem is said instead.
        signedIn = true;
        await this.call("POST /api/session", { signal: options.signal } as Options<"POST /api/session">);
      } else {
        throw problem;
      }
    }
  }

  private prepare<R extends Route>(route: R, options: Options<R>): Prepared {
    const [method = "GET", template = ""] = route.split(" ");
    const values = (options.path ?? {}) as Record<string, string>;
    const path = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ""));
    const query = new URLSearchParams(Object.entries(options.query ?? {}).map(([name, value]) => [name, String(value)] as [string, string])).toString();
    const { id: traceId, header } = trace(this.deps.random);
    const headers: Record<string, string> = { Accept: "application/json", "X-Client-Id": this.id, traceparent: header };
    if (method !== "GET") headers["Idempotency-Key"] = options.key ?? this.newKey();
    // With a base the gateway can say how far this page has read; before the first read there is none to give.
    const base = options.base ?? this.base;
    if (method !== "GET" && (method !== "POST" || base > 0)) headers["If-Match"] = `"${base}"`;
    const minVersion = options.minVersion ?? this.head;
    if (minVersion > 0) headers["X-Min-Version"] = String(minVersion);
    // An unsafe method says JSON even without a body: that is what tells it from a foreign form.
    if (method !== "GET") headers["Content-Type"] = "application/json";
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const url = this.address(path) + (query && `?${query}`);
    return { method, url, headers, body, traceId, timeoutMs: options.timeoutMs ?? TIMEOUT_MS };
  }

  private async attempt(request: Prepared, signal: AbortSignal | undefined): Promise<Response | "lost" | "slow"> {
    signal?.throwIfAborted();
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), request.timeoutMs);
    const abort = (): void => limit.abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const { method, headers, body = null } = request;
      const answer = await this.deps.fetch(request.url, { method, headers, body, credentials: "include", cache: "no-store", signal: limit.signal });
      // The body belongs to the answer: if it breaks off, the answer was lost.
      const bytes = answer.status === 204 ? null : await answer.arrayBuffer();
      return new Response(bytes, { status: answer.status, headers: answer.headers });
    } catch {
      signal?.throwIfAborted();
      return limit.signal.aborted ? "slow" : "lost";
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  private async accept(request: Prepared, answer: Response): Promise<unknown> {
    const version = Number(answer.headers.get("X-Database-Version") ?? 0);
    this.head = Math.max(this.head, version);
    if (request.method !== "GET") {
      const base = Number((answer.headers.get("ETag") ?? "").replace(/^W\//, "").replaceAll('"', ""));
      if (Number.isFinite(base) && "If-Match" in request.headers) this.base = Math.max(this.base, base);
      this.written = Math.max(this.written, version);
    }
    const text = await answer.text();
    return text === "" ? undefined : JSON.parse(text);
  }
}

/** An edge in front of the gateway speaks for it while it is away: as good as no answer. */
function gone(answer: Response): boolean {
  const ours = (answer.headers.get("Content-Type") ?? "").includes("json");
  return (answer.status === 502 || answer.status === 504) && !ours;
}

async function readProblem(answer: Response, traceId: string): Promise<Problem> {
  return problemOf(answer.status, answer.headers.get("Content-Type") ?? "", await answer.text(), traceId);
}

function waitMs(answer: Response, attempt: number): number {
  const asked = Number(answer.headers.get("Retry-After"));
  return Math.min(MAX_WAIT_MS, asked > 0 ? asked * 1000 : 400 * 2 ** attempt);
}

export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
