// What a spotlight does to a colour, against the vectors that hold the gateway and the renderer too.
import assert from "node:assert/strict";
import { test } from "node:test";
import vectors from "../../tests/vectors/spotlight.json";
import type { CropKey, Region } from "../src/api/schema";
import { shown } from "../src/player/framing";
import { ellipseAt, inPixels, type Light, lightAt, lit, type Rgb, seenThrough } from "../src/player/spotlight";

interface Case {
  name: string;
  frame: [number, number];
  color: [number, number, number];
  reel_ms: number;
  region: Region;
  seen?: { source: [number, number]; crop_keys: CropKey[] };
  moments: { time_ms: number; luma: [number, number, number][]; chroma: [number, number, number, number][] }[];
}

const [LUMA_PX, CHROMA_PX] = [1, 2];

for (const one of vectors.cases as unknown as Case[]) {
  test(one.name, () => {
    const color = rgb(one.color);
    for (const { time_ms, luma, chroma } of one.moments) {
      const light = lightOf(one, time_ms);
      for (const [x, y, ...expected] of luma) near(yuv(lit(light, x, y, color, LUMA_PX)).slice(0, 1), expected, `${time_ms} ms, ${x}, ${y}`);
      for (const [x, y, ...expected] of chroma) near(yuv(lit(light, x, y, color, CHROMA_PX)).slice(1), expected, `${time_ms} ms, ${x}, ${y}`);
    }
  });
}

function lightOf({ frame, reel_ms, region, seen }: Case, timeMs: number): Light {
  const light = lightAt(region, timeMs, reel_ms, ...frame);
  if (!seen) return light;
  const window = shown({ crop_keys: seen.crop_keys }, frame[0] / frame[1], seen.source[0] / seen.source[1], timeMs);
  return { ...light, ellipse: inPixels(seenThrough(ellipseAt(region.keys, timeMs), window), ...frame) };
}

/** Limited-range BT.709 as full-range red, green and blue. */
function rgb([y, u, v]: readonly [number, number, number]): Rgb {
  const luma = (y - 16) / 219;
  const [blue, red] = [luma + ((u - 128) / 224) * 1.8556, luma + ((v - 128) / 224) * 1.5748];
  return [255 * red, (255 * (luma - 0.2126 * red - 0.0722 * blue)) / 0.7152, 255 * blue];
}

function yuv(color: Rgb): number[] {
  const [red, green, blue] = [color[0] / 255, color[1] / 255, color[2] / 255];
  const luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return [16 + 219 * luma, 128 + (224 * (blue - luma)) / 1.8556, 128 + (224 * (red - luma)) / 1.5748];
}

function near(found: readonly number[], expected: readonly number[], at: string): void {
  assert.ok(expected.every((value, index) => Math.abs(found[index]! - value) < 1e-5), `${at}: ${found.join(", ")}, not ${expected.join(", ")}`);
}
