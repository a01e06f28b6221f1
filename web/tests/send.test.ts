// Sending a file's parts: only what is missing, through refusals and stumbles, complete when the server says so.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../src/api/problem";
import type { SignedPart, Video } from "../src/api/schema";
import { partRange, partsLeft, rate, sampleRanges } from "../src/upload/plan";
import { type Put, send, type Server } from "../src/upload/send";

const PART = 10;

class FakeServer implements Server {
  signed: number[] = [];
  completed = 0;
  signature = "a";
  constructor(
    readonly size: number,
    readonly parts = new Map<number, string>(),
  ) {}
  upload() {
    const done = [...this.parts.keys()].sort((a, b) => a - b);
    return Promise.resolve({ part_size_bytes: PART, part_count: Math.ceil(this.size / PART), parts_done: done, bytes_done: [...this.parts.values()].join("").length });
  }
  sign(numbers: number[]): Promise<SignedPart[]> {
    this.signed.push(...numbers);
    return Promise.resolve(numbers.map((number) => ({ number, url: this.signature, size_bytes: PART, headers: {} })));
  }
  complete(): Promise<Video> {
    this.completed++;
    return Promise.resolve({ state: "ready" } as Video);
  }
}

function tools(server: FakeServer, statuses: (part: SignedPart) => number = () => 200) {
  const sent: number[] = [];
  const progress: number[] = [];
  const waiting: boolean[] = [];
  const put: Put = async (part, bytes, report) => {
    sent.push(part.number);
    const status = statuses(part);
    if (status === 200) {
      report(bytes.size);
      server.parts.set(part.number, await bytes.text());
    }
    return status;
  };
  return { sent, progress, waiting, tools: { put, sleep: () => Promise.resolve(), progress: (bytes: number) => progress.push(bytes), waiting: (is: boolean) => waiting.push(is) } };
}

const TEXT = "The quick brown fox jumps over the lazy dog, twice."; // 51 bytes: six parts
const file = new Blob([TEXT]);
const { signal } = new AbortController();

test("parts are equal but the last, and cover the file", () => {
  const upload = { part_size_bytes: PART, part_count: 6 };
  assert.deepEqual(partRange(1, upload, 51), [0, 10]);
  assert.deepEqual(partRange(6, upload, 51), [50, 51]);
  assert.throws(() => partRange(7, upload, 51), RangeError);
  assert.deepEqual(partsLeft({ part_count: 4, parts_done: [1, 3] }), [2, 4]);
});

test("samples stay inside of files of any size", () => {
  for (const size of [0, 1, 70_000, 5_000_000_000]) {
    for (const [start, end] of sampleRanges(size)) assert.ok(start >= 0 && end <= size && start <= end);
  }
});

test("the rate is over the last samples, and nothing is said before there are enough", () => {
  assert.equal(rate([]), 0);
  assert.equal(rate([{ at: 0, bytes: 0 }, { at: 500, bytes: 100 }]), 0);
  assert.equal(rate([{ at: 0, bytes: 0 }, { at: 2000, bytes: 4000 }]), 2000);
});

test("a whole file arrives byte for byte, each part once, then it is completed", async () => {
  const server = new FakeServer(51);
  const { sent, progress, tools: with_ } = tools(server);
  const video = await send(file, server, with_, signal);
  assert.equal(video.state, "ready");
  assert.equal([...server.parts].sort(([a], [b]) => a - b).map(([, text]) => text).join(""), TEXT);
  assert.deepEqual(sent.sort(), [1, 2, 3, 4, 5, 6]);
  assert.equal(progress.at(-1), 51);
  assert.equal(server.completed, 1);
});

test("only what the server lacks is sent", async () => {
  const server = new FakeServer(51, new Map([[1, TEXT.slice(0, 10)], [4, TEXT.slice(30, 40)]]));
  const { sent, progress, tools: with_ } = tools(server);
  await send(file, server, with_, signal);
  assert.deepEqual(sent.sort(), [2, 3, 5, 6]);
  assert.equal(progress[0], 20);
});

test("an address that has run out is signed again, without a wait", async () => {
  const server = new FakeServer(51);
  let refused = 0;
  const { waiting, tools: with_ } = tools(server, (part) => {
    if (part.number !== 2 || refused++ > 0) return 200;
    return 403;
  });
  await send(file, server, with_, signal);
  assert.equal(server.signed.filter((number) => number === 2).length, 2);
  assert.ok(!waiting.includes(true));
});

test("a store that stumbles is waited out", async () => {
  const server = new FakeServer(51);
  let stumbles = 0;
  const { waiting, tools: with_ } = tools(server, () => (stumbles++ < 4 ? (stumbles % 2 ? 500 : 0) : 200));
  await send(file, server, with_, signal);
  assert.equal(server.parts.size, 6);
  assert.ok(waiting.includes(true) && waiting.at(-1) === false);
});

test("a server that stumbles is asked again; one that refuses is believed", async () => {
  const server = new FakeServer(51);
  const { tools: with_ } = tools(server);
  const complete = server.complete.bind(server);
  let stumbles = 2;
  server.complete = () => (stumbles-- > 0 ? Promise.reject(new Problem(500, "internal", "Oh.", "")) : complete());
  assert.equal((await send(file, server, with_, signal)).state, "ready");
  server.complete = () => Promise.reject(new Problem(403, "forbidden", "No.", ""));
  await assert.rejects(send(file, server, with_, signal), /No\./);
});

test("a store that takes nothing ends in words, not in a loop", async () => {
  const server = new FakeServer(51);
  const { tools: with_ } = tools(server, () => 500);
  await assert.rejects(send(file, server, with_, signal), /goes on where it stopped/);
  assert.equal(server.completed, 0);
});
