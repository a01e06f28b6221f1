// The client's promises: one deed one key, no answer is not a failure, a base that only moves by what was read.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, type Reach } from "../src/api/client";
import { Problem } from "../src/api/problem";

interface Sent {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string | undefined;
}
type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | "lost";

class FakeReach implements Reach {
  losses = 0;
  finds = 0;
  lost(): void {
    this.losses++;
  }
  found(): void {
    this.finds++;
  }
  restored(): Promise<void> {
    return Promise.resolve();
  }
}

function setUp(answers: Answer[]) {
  const sent: Sent[] = [];
  const slept: number[] = [];
  const reach = new FakeReach();
  let tick = 0;
  const client = new Client({
    origin: "http://api.test",
    reach,
    now: () => 1_700_000_000_000 + tick++,
    random: (count) => Uint8Array.from({ length: count }, () => (tick++ * 37) % 256),
    sleep: (ms) => {
      slept.push(ms);
      return Promise.resolve();
    },
    fetch: ((url: string, init: RequestInit) => {
      sent.push({ method: init.method!, url, headers: init.headers as Record<string, string>, body: (init.body ?? undefined) as string | undefined });
      const answer = answers.shift();
      if (answer === undefined || answer === "lost") return Promise.reject(new TypeError("Failed to fetch"));
      const headers = { "Content-Type": (answer.status ?? 200) >= 400 ? "application/problem+json" : "application/json", ...answer.headers };
      return Promise.resolve(new Response(answer.body === undefined ? null : JSON.stringify(answer.body), { status: answer.status ?? 200, headers }));
    }) as typeof fetch,
  });
  return { client, sent, slept, reach };
}

const versions = (base: number, version = base) => ({ ETag: `"${base}"`, "X-Database-Version": String(version) });

test("a lost answer is asked for again with the same key, and is no failure", async () => {
  const { client, sent, reach } = setUp(["lost", { status: 201, body: { id: "g" }, headers: versions(3) }]);
  const game = await client.call("POST /api/games", { body: { name: "Cup final" } });
  assert.equal(game.id, "g");
  assert.equal(sent.length, 2);
  assert.match(sent[0]!.headers["Idempotency-Key"]!, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(sent[0], sent[1]);
  assert.deepEqual([reach.losses, reach.finds], [1, 1]);
});

test("a gateway that never answers ends as unreachable, not as anything else", async () => {
  const { client, sent } = setUp([]);
  await assert.rejects(client.call("GET /api/library", {}), (error: Problem) => error.reason === "unreachable" && error.traceId.length === 32);
  assert.equal(sent.length, 6);
});

test("an edge that answers for an absent gateway counts as no answer", async () => {
  const { client, reach } = setUp([{ status: 502, headers: { "Content-Type": "text/html" } }, { body: { version: 1 } }]);
  await client.call("GET /api/library", {});
  assert.equal(reach.losses, 1);
});

test("503 waits as long as it asks, a few times", async () => {
  const busy: Answer = { status: 503, body: { type: "x/unavailable", detail: "Busy.", trace_id: "t" }, headers: { "Retry-After": "2" } };
  const { client, slept } = setUp([busy, busy, busy, busy]);
  await assert.rejects(client.call("GET /api/session", {}), (error: Problem) => error.status === 503 && error.message === "Busy." && error.traceId === "t");
  assert.deepEqual(slept, [2000, 2000, 2000]);
});

test("no session: one is begun, and the call goes on", async () => {
  const { client, sent } = setUp([
    { status: 401, body: { type: "https://reelballers.com/problems/no_session" } },
    { status: 201, body: {} },
    { body: { version: 4 } },
  ]);
  await client.call("GET /api/library", {});
  assert.deepEqual(
    sent.map(({ method, url }) => `${method} ${new URL(url).pathname}`),
    ["GET /api/library", "POST /api/session", "GET /api/library"],
  );
});

test("a session that ends while somebody works is said, not replaced by another user's", async () => {
  const { client, sent } = setUp([{ status: 401, body: { type: "https://reelballers.com/problems/no_session", detail: "Your session has ended." } }]);
  client.hasRead(7);
  await assert.rejects(client.call("GET /api/library", {}), /session has ended/);
  assert.equal(sent.length, 1);
});

test("the base moves by what was read and by what the gateway says of own writes, never by a glimpse", async () => {
  const { client, sent } = setUp([
    { body: { id: "e" }, headers: versions(9) },
    { body: { id: "c" }, headers: versions(7, 8) },
    { body: { id: "c" }, headers: versions(10) },
  ]);
  client.hasRead(7);
  await client.call("GET /api/exports/{export_id}", { path: { export_id: "e" } });
  assert.deepEqual([client.base, client.head], [7, 9]);
  await client.call("PATCH /api/clips/{clip_id}", { path: { clip_id: "c" }, body: { name: "Goal" } });
  assert.equal(sent[1]!.headers["If-Match"], '"7"');
  assert.deepEqual([client.base, client.written], [7, 8]);
  await client.call("PATCH /api/clips/{clip_id}", { path: { clip_id: "c" }, body: { name: "Goal!" }, base: 6 });
  assert.equal(sent[2]!.headers["If-Match"], '"6"');
  assert.equal(client.base, 10);
});

test("a write before anything was read carries no base, and its answer gives none", async () => {
  const { client, sent } = setUp([{ status: 201, body: { id: "g" }, headers: versions(5) }]);
  await client.call("POST /api/games", { body: { name: "Cup final" } });
  assert.ok(!("If-Match" in sent[0]!.headers));
  assert.deepEqual([client.base, client.written], [0, 5]);
});

test("every call has its own trace, and all have one author", async () => {
  const { client, sent } = setUp([{ body: {} }, { body: {} }]);
  await client.call("GET /api/library", {});
  await client.call("GET /api/library", {});
  assert.match(sent[0]!.headers.traceparent!, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assert.notEqual(sent[0]!.headers.traceparent, sent[1]!.headers.traceparent);
  assert.equal(sent[0]!.headers["X-Client-Id"], sent[1]!.headers["X-Client-Id"]);
});

test("a path is filled in and escaped; a body that is not asked for is not sent", async () => {
  const { client, sent } = setUp([{ status: 204 }]);
  const nothing = await client.call("DELETE /api/clips/{clip_id}", { path: { clip_id: "a/b" } });
  assert.equal(nothing, undefined);
  assert.deepEqual([sent[0]!.url, sent[0]!.body], ["http://api.test/api/clips/a%2Fb", undefined]);
});

test("a conflict is a Problem that says with what", async () => {
  const body = { type: "https://reelballers.com/problems/stale_session", detail: "Changed.", remote_version: 12, conflicts: [{ table: "clips", key: "c" }], trace_id: "t" };
  const { client } = setUp([{ status: 409, body }]);
  await assert.rejects(client.call("PATCH /api/clips/{clip_id}", { path: { clip_id: "c" }, body: {} }), (error: Problem) => {
    return error.stale && error.remoteVersion === 12 && error.conflicts[0]?.table === "clips";
  });
});

test("an abort ends a call at once", async () => {
  const { client } = setUp([{ body: {} }]);
  const abort = new AbortController();
  abort.abort(new Error("gone"));
  await assert.rejects(client.call("GET /api/library", { signal: abort.signal }), /gone/);
});
