// What is shown of a clip, against the vectors that hold the gateway and the renderer too.
import assert from "node:assert/strict";
import { test } from "node:test";
import vectors from "../../tests/vectors/windows.json";
import type { CropKey, Reel } from "../src/api/schema";
import { shapeOf, shown } from "../src/player/framing";

interface Case {
  name: string;
  aspect: Reel["aspect"];
  source: [number, number];
  first?: [number, number];
  output: [number, number];
  crop_keys: CropKey[];
  samples: [timeMs: number, x: number, y: number, width: number, height: number][];
}

for (const { name, aspect, source, first, output, crop_keys, samples } of vectors.cases as unknown as Case[]) {
  test(name, () => {
    const shape = shapeOf(aspect, ...(first ?? source));
    near([shape], [output[0] / output[1]], "shape");
    for (const [timeMs, ...expected] of samples) {
      const { x, y, width, height } = shown({ crop_keys }, shape, source[0] / source[1], timeMs);
      near([x, y, width, height], expected, `${timeMs} ms`);
    }
  });
}

function near(found: readonly number[], expected: readonly number[], at: string): void {
  assert.ok(expected.every((value, index) => Math.abs(found[index]! - value) < 1e-9), `${at}: ${found.join(", ")}, not ${expected.join(", ")}`);
}
