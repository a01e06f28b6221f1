// Drafts: what was typed survives a conflict and a reload, and only what was typed is sent.
import assert from "node:assert/strict";
import { test } from "node:test";
import { changes, Drafts, rebase } from "../src/state/drafts";

class Memory {
  readonly kept = new Map<string, string>();
  get length(): number {
    return this.kept.size;
  }
  key(index: number): string | null {
    return [...this.kept.keys()][index] ?? null;
  }
  getItem(name: string): string | null {
    return this.kept.get(name) ?? null;
  }
  setItem(name: string, text: string): void {
    this.kept.set(name, text);
  }
  removeItem(name: string): void {
    this.kept.delete(name);
  }
}

let keys = 0;
const newKey = (): string => `key-${++keys}`;

test("rebasing keeps what the user touched and takes the rest from the fresh row", () => {
  const draft = { was: { name: "Goal", rating: 3 }, now: { name: "Goal by 7", rating: 3 }, base: 4, key: "k" };
  const next = rebase(draft, { name: "Goal!", rating: 5 }, 9, "l");
  assert.deepEqual(next, { was: { name: "Goal!", rating: 5 }, now: { name: "Goal by 7", rating: 5 }, base: 9, key: "l" });
  assert.deepEqual(changes(next), { name: "Goal by 7" });
});

test("a draft survives the page", () => {
  const memory = new Memory();
  const before = new Drafts(memory, newKey);
  before.begin("clip:1", { name: "" }, 4);
  before.edit("clip:1", { name: "Goal" });
  memory.setItem("other", "thing");
  const after = new Drafts(memory, newKey).of("clip:1").value;
  assert.deepEqual(new Drafts(memory, newKey).names.value, ["clip:1"]);
  assert.deepEqual([after?.now, after?.base], [{ name: "Goal" }, 4]);
  before.end("clip:1");
  assert.equal(new Drafts(memory, newKey).of("clip:1").value, null);
  assert.deepEqual(before.names.value, []);
});

test("the key changes exactly when the words do", () => {
  const drafts = new Drafts(new Memory(), newKey);
  drafts.begin("clip:1", { name: "" }, 4);
  const first = drafts.of("clip:1").value?.key;
  assert.equal(drafts.of("clip:1").value?.key, first);
  drafts.edit("clip:1", { name: "Goal" });
  assert.notEqual(drafts.of("clip:1").value?.key, first);
});

test("what is typed while a save is on its way is a draft on top of what was saved", () => {
  const drafts = new Drafts(new Memory(), newKey);
  drafts.begin("clip:1", { name: "" }, 4);
  drafts.edit("clip:1", { name: "Goal" });
  const sent = drafts.of<{ name: string }>("clip:1").value!;
  drafts.edit("clip:1", { name: "" });
  drafts.saved("clip:1", sent);
  const draft = drafts.of<{ name: string }>("clip:1").value!;
  assert.deepEqual(changes(draft), { name: "" });
  drafts.saved("clip:1", draft);
  assert.equal(drafts.of("clip:1").value, null);
});

test("a full storage loses nothing while the page lives", () => {
  const full = { length: 0, key: () => null, getItem: () => null, removeItem: () => undefined, setItem: () => assert.fail("full") };
  const drafts = new Drafts(full, newKey);
  drafts.begin("clip:1", { name: "" }, 4);
  drafts.edit("clip:1", { name: "Goal" });
  assert.deepEqual(drafts.of("clip:1").value?.now, { name: "Goal" });
});
