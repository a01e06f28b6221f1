// Values between keys, against the vectors that hold the renderer too.
import assert from "node:assert/strict";
import { test } from "node:test";
import vectors from "../../tests/vectors/keyframes.json";
import { curve, type Key } from "../src/player/keyframes";

for (const { name, interpolation, keys, samples } of vectors.cases) {
  test(`${name}, ${interpolation}`, () => {
    const at = curve(keys as unknown as Key[], interpolation === "smooth");
    for (const [timeMs, value] of samples as [number, number][]) assert.ok(Math.abs(at(timeMs) - value) < 1e-9, `${timeMs}: ${at(timeMs)}, not ${value}`);
  });
}
