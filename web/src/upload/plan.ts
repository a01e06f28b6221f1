// Which bytes go into which part, what is left to send, and how far it is: the server's part list is the truth. Pure.
import type { Upload } from "../api/schema";

/** First byte and the byte after the last of part `number`, which counts from 1; every part but the last has the same size. */
export function partRange(number: number, upload: Pick<Upload, "part_size_bytes" | "part_count">, sizeBytes: number): [number, number] {
  if (!Number.isInteger(number) || number < 1 || number > upload.part_count) throw new RangeError(`part ${number} of ${upload.part_count}`);
  const start = (number - 1) * upload.part_size_bytes;
  return [start, Math.min(sizeBytes, start + upload.part_size_bytes)];
}

export function partsLeft(upload: Pick<Upload, "part_count" | "parts_done">): number[] {
  const done = new Set(upload.parts_done);
  return Array.from({ length: upload.part_count }, (_, index) => index + 1).filter((number) => !done.has(number));
}

/** Samples at the start, the middle and the end, as [first byte, byte after the last]. */
export function sampleRanges(sizeBytes: number, sampleBytes = 65_536): [number, number][] {
  const starts = [0, Math.floor((sizeBytes - sampleBytes) / 2), sizeBytes - sampleBytes];
  return starts.map((start) => [Math.max(0, start), Math.min(sizeBytes, Math.max(0, start) + sampleBytes)]);
}

export interface Pace {
  at: number;
  bytes: number;
}

/** Bytes per second over the last samples; 0 until there are two of them, a second apart. */
export function rate(samples: readonly Pace[]): number {
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || last.at - first.at < 1000) return 0;
  return Math.max(0, ((last.bytes - first.bytes) * 1000) / (last.at - first.at));
}
