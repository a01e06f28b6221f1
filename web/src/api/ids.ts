// Makes the ids that a call carries: UUIDv7 idempotency keys, the page's client id, W3C trace context.

export type Random = (count: number) => Uint8Array;

export const random: Random = (count) => crypto.getRandomValues(new Uint8Array(count));

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A UUIDv7: 48 bits of Unix milliseconds, then randomness, so that keys sort by time and old ones can be refused. */
export function uuid7(nowMs: number, source: Random = random): string {
  const tail = source(10);
  tail[0] = 0x70 | (tail[0]! & 0x0f);
  tail[2] = 0x80 | (tail[2]! & 0x3f);
  const text = Math.floor(nowMs).toString(16).padStart(12, "0") + hex(tail);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

export interface Trace {
  id: string;
  header: string;
}

/** A fresh, sampled W3C trace: the click that it stands for is the root of everything the services do for it. */
export function trace(source: Random = random): Trace {
  const id = hex(source(16));
  return { id, header: `00-${id}-${hex(source(8))}-01` };
}
