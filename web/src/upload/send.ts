// Sends one file's parts straight to the store by presigned PUTs, until the server has them all.
//
// What holds (tests/send.test.ts):
//  1. Only parts that the server does not list are sent, so a resumed upload repeats nothing that arrived.
//  2. A refused address (403) is signed again; a store or server that stumbles (5xx, 429) or a lost line is waited out: none ends the upload.
//  3. The upload is complete only when the server says so.
import type { SignedPart, Upload, Video } from "../api/schema";
import { Problem } from "../api/problem";
import { partRange, partsLeft } from "./plan";

export interface Server {
  upload(signal: AbortSignal): Promise<Upload>;
  sign(numbers: number[], signal: AbortSignal): Promise<SignedPart[]>;
  complete(signal: AbortSignal): Promise<Video>;
}

export type Put = (part: SignedPart, bytes: Blob, sent: (bytes: number) => void, signal: AbortSignal) => Promise<number>;

export interface Tools {
  put: Put;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Bytes that the store has or that are on their way. */
  progress: (bytes: number) => void;
  /** True while the store does not take what is sent. */
  waiting: (is: boolean) => void;
}

const AT_ONCE = 3;
const SIGNED_AHEAD = 12;
const MAX_ROUNDS = 8; // in a row without one part more at the server
const MAX_TRIES = 6;

/** Sends what is missing and completes the upload. Throws a Problem when the server refuses, the signal's reason when aborted. */
export async function send(file: Blob, server: Server, tools: Tools, signal: AbortSignal): Promise<Video> {
  let best = -1;
  let idle = 0;
  const pause = (): Promise<void> => {
    tools.waiting(true);
    return tools.sleep(Math.min(30_000, 500 * 2 ** idle), signal);
  };
  while (idle < MAX_ROUNDS) {
    try {
      const upload = await server.upload(signal);
      const left = partsLeft(upload);
      if (left.length === 0) return await server.complete(signal);
      idle = upload.parts_done.length > best ? 0 : idle + 1;
      best = Math.max(best, upload.parts_done.length);
      if (idle > 0) await pause();
      await sendRound(file, upload, left, server, tools, signal);
    } catch (error) {
      // A server that stumbles is asked again; what it refuses, it would refuse again.
      const stumbled = error instanceof Problem && (error.status >= 500 || error.reason === "timeout");
      if (!stumbled || ++idle >= MAX_ROUNDS) throw error;
      await pause();
    }
  }
  throw new Problem(0, "upload_stuck", "The video does not get through to the store. Check the connection, then try again: it goes on where it stopped.", "");
}

async function sendRound(file: Blob, upload: Upload, left: number[], server: Server, tools: Tools, signal: AbortSignal): Promise<void> {
  const queue = [...left];
  const signed = new Map<number, SignedPart>();
  const moving = new Map<number, number>();
  let arrived = upload.bytes_done;
  let signing: Promise<void> | null = null;
  const report = (): void => tools.progress(arrived + [...moving.values()].reduce((sum, bytes) => sum + bytes, 0));
  report();

  const addressOf = async (number: number): Promise<SignedPart | undefined> => {
    while (!signed.has(number) && signing) await signing;
    if (!signed.has(number)) {
      signing = server.sign([number, ...queue.filter((other) => !signed.has(other))].slice(0, SIGNED_AHEAD), signal).then((parts) => {
        for (const part of parts) signed.set(part.number, part);
      });
      await signing.finally(() => (signing = null));
    }
    return signed.get(number);
  };

  const sendPart = async (number: number): Promise<void> => {
    const [start, end] = partRange(number, upload, file.size);
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const part = await addressOf(number);
      if (!part) return; // the server did not want it any more: the next round asks why
      const status = await tools.put(part, file.slice(start, end), (bytes) => (moving.set(number, bytes), report()), signal);
      moving.delete(number);
      if (status >= 200 && status < 300) {
        arrived += end - start;
        tools.waiting(false);
        return report();
      }
      report();
      if (status === 404) return; // the upload itself is gone: the next round asks
      if (status === 400 || status === 401 || status === 403) signed.clear();
      if (status !== 403 || attempt > 1) {
        tools.waiting(true);
        await tools.sleep(Math.min(10_000, 300 * 2 ** attempt), signal);
      }
    }
  };

  const worker = async (): Promise<void> => {
    for (let number = queue.shift(); number !== undefined; number = queue.shift()) await sendPart(number);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const FORBIDDEN_HEADERS = new Set(["content-length", "host", "connection"]); // the browser sets these itself

/** One PUT with progress (which fetch cannot tell). Resolves to the status, 0 when the line broke. */
export const putByXhr: Put = (part, bytes, sent, signal) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = (): void => {
      request.abort();
      reject(signal.reason as Error);
    };
    if (signal.aborted) return reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
    const end = (): void => {
      signal.removeEventListener("abort", stop);
      resolve(request.status); // 0 when the line broke or the time ran out
    };
    request.open("PUT", part.url);
    for (const [name, value] of Object.entries(part.headers)) if (!FORBIDDEN_HEADERS.has(name.toLowerCase())) request.setRequestHeader(name, value);
    request.timeout = 5 * 60_000;
    request.upload.onprogress = (event) => sent(event.loaded);
    request.onload = request.onerror = request.ontimeout = end;
    request.send(bytes);
  });
