// The pure rules: news of exports, keys, times as text, where the picture is cut, problems in words, ids.
import assert from "node:assert/strict";
import { test } from "node:test";
import { uuid7 } from "../src/api/ids";
import { problemOf } from "../src/api/problem";
import type { Export } from "../src/api/schema";
import { clock, count, parseClock, size, span } from "../src/format";
import { fitted, largest, shapeOf, shown, still, windowAt } from "../src/player/framing";
import { actionOf } from "../src/player/keys";
import { merge, mergeAll, percent, stateWords } from "../src/state/exports";
import { contentType, gameName, keptName } from "../src/upload/file";

const job = (news: Partial<Export>): Export => ({ id: "e", state: "running", progress: 0, sequence: 1, outputs: [], ...news }) as Export;

test("news of an export: the newer wins, the percent never goes back, an end is an end", () => {
  const known = job({ progress: 0.5, sequence: 4 });
  assert.equal(merge(known, job({ progress: 0.9, sequence: 3 })), known);
  assert.equal(merge(known, job({ progress: 0.5, sequence: 4 })), known);
  assert.equal(merge(known, job({ progress: 0.3, sequence: 5 })).progress, 0.5);
  assert.equal(merge(known, job({ progress: 0.6, sequence: 4 })).progress, 0.6);
  const done = job({ state: "succeeded", progress: 1, sequence: 6 });
  assert.equal(merge(done, job({ sequence: 9 })), done);
  assert.equal(merge(known, done), done);
  assert.deepEqual(mergeAll([known], [job({ progress: 0.1, sequence: 2 })]), [known]);
});

test("100 percent is shown when it is there, not before", () => {
  assert.equal(percent(job({ progress: 0.999 })), 99);
  assert.equal(percent(job({ state: "succeeded", progress: 1 })), 100);
});

test("an export that cannot go on says what it waits for", () => {
  assert.equal(stateWords(job({ phase: "rendering", progress: 0.4 })), "Making it: 40%");
  assert.match(stateWords(job({ phase: "waiting", progress: 0.4 })), /cannot be reached/);
  assert.match(stateWords(job({ phase: "queued", progress: 0.4 })), /tried again/);
});

test("keys: ours in the player, not while typing, not with a modifier, space is the button's on a button", () => {
  const body = { tagName: "BODY" };
  assert.equal(actionOf("I", false, body), "mark-start");
  assert.equal(actionOf("o", false, body), "mark-end");
  assert.equal(actionOf(" ", false, body), "toggle");
  for (const target of [{ tagName: "INPUT", type: "text" }, { tagName: "INPUT" }, { tagName: "TEXTAREA" }, { tagName: "SELECT" }, { tagName: "DIV", isContentEditable: true }]) {
    for (const key of ["i", "o", " ", "j", "k", "l", ".", "ArrowLeft"]) assert.equal(actionOf(key, false, target), null);
  }
  assert.equal(actionOf("l", true, body), null);
  assert.equal(actionOf(" ", false, { tagName: "BUTTON" }), null);
  assert.equal(actionOf("k", false, { tagName: "BUTTON" }), "toggle");
  assert.equal(actionOf("ArrowLeft", false, { tagName: "INPUT", type: "range" }), null);
  assert.equal(actionOf("ArrowLeft", false, { tagName: "DIV", role: "slider" }), null);
  assert.equal(actionOf("x", false, body), null);
});

test("times as people read and write them", () => {
  assert.deepEqual([0, 65_250, 3_665_290, 59_999].map((ms) => clock(ms)), ["0:00.0", "1:05.2", "1:01:05.2", "0:59.9"]);
  assert.equal(clock(65_250, false), "1:05");
  assert.deepEqual(["75", "1:15", "1:15.4", "1:15,4", "1:01:15", " 2 ", "", "1:", "abc", "-3"].map(parseClock), [75_000, 75_000, 75_400, 75_400, 3_675_000, 2_000, null, null, null, null]);
  assert.deepEqual([3_000, 3_240, 59_000, 120_000, 3_900_000].map(span), ["3 s", "3.2 s", "59 s", "2 min", "1 h 5 min"]);
  assert.deepEqual([10, 3_000_000, 45_000_000, 2_400_000_000].map(size), ["1 kB", "3.0 MB", "45 MB", "2.4 GB"]);
  assert.deepEqual([count(1, "clip"), count(2, "clip")], ["1 clip", "2 clips"]);
});

test("the picture is cut as the export cuts it: the shape, inside, about the same centre", () => {
  const wide = 16 / 9;
  assert.deepEqual([shapeOf("source", 1920, 1080), shapeOf("source", 641, 361), shapeOf("1:1", 641, 361)], [wide, 640 / 360, 1]);
  assert.deepEqual(largest(9 / 16, wide), { width: 81 / 256, height: 1 });
  const window = windowAt(0.95, 0.5, 1, 9 / 16, wide);
  assert.ok(Math.abs(window.x + window.width - 1) < 1e-9);
  for (const [x, y, near] of [[0, 0, 1], [1, 1, 3], [0.5, 0.2, 2], [0.3, 0.9, 99]] as const) {
    const box = windowAt(x, y, near, 4 / 5, wide);
    assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= 1 + 1e-9 && box.y + box.height <= 1 + 1e-9);
    assert.ok(Math.abs((box.width * wide) / box.height - 4 / 5) < 1e-9);
  }
  const square = fitted(window, 1, wide);
  assert.ok(Math.abs((square.width * wide) / square.height - 1) < 1e-9 && square.x + square.width <= 1 + 1e-9);
  const framing = still({ trim: { start_ms: 1, end_ms: 2 } }, window, 500);
  assert.deepEqual([framing.trim, framing.crop_keys?.[0]?.time_ms], [{ start_ms: 1, end_ms: 2 }, 500]);
  assert.deepEqual(shown(framing, 9 / 16, wide, 0).x, window.x);
  assert.equal(shown(null, 9 / 16, wide, 0).x, 0.5 - 81 / 512);
});

test("problems in words, whatever the body", () => {
  const said = problemOf(400, "application/problem+json", '{"type":"https://x/problems/invalid_range","detail":"Too short.","trace_id":"abc"}', "t");
  assert.deepEqual([said.reason, said.message, said.traceId], ["invalid_range", "Too short.", "abc"]);
  const silent = problemOf(500, "text/html", "<h1>oops", "t");
  assert.deepEqual([silent.reason, silent.traceId], ["http_500", "t"]);
  assert.match(silent.message, /our side/);
  assert.match(problemOf(404, "application/problem+json", '{"type":', "t").message, /no longer exists/);
});

test("what a file is called and what it is", () => {
  assert.equal(gameName("U12_cup final.MP4"), "U12 cup final");
  assert.equal(gameName(".mp4"), "New game");
  assert.equal(keptName(`${"x".repeat(300)}.mp4`).length, 200);
  assert.equal(contentType(new File([], "a.mkv")), "video/x-matroska");
  assert.equal(contentType(new File([], "a.mp4", { type: "video/mp4; codecs=avc1" })), "video/mp4");
  assert.equal(contentType(new File([], "a.bin")), "application/octet-stream");
});

test("UUIDv7: the time first, the version and variant where they belong", () => {
  const id = uuid7(1_700_000_000_000, (length) => new Uint8Array(length).fill(255));
  assert.equal(id, "018bcfe5-6800-7fff-bfff-ffffffffffff");
});
