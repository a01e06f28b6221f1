// What a spotlight does to a point of the picture, by the definition that the preview and the renderer share: both are held to tests/vectors/spotlight.json. Pure.
import type { Effect, EllipseKey, Region } from "../api/schema";
import type { Window } from "./framing";
import { curve } from "./keyframes";

/** Centre and radii: in fractions of the picture's width and height, or in its pixels. */
export interface Ellipse {
  x: number;
  y: number;
  radiusX: number;
  radiusY: number;
}

/** A spotlight at a moment: its ellipse in pixels, how much of it shows (0 to 1), and the height of the picture. */
export interface Light {
  shape: "body" | "ground";
  effects: readonly Effect[];
  ellipse: Ellipse;
  shown: number;
  height: number;
}

export type Rgb = readonly [red: number, green: number, blue: number]; // 0 to 255

const EDGES = { body: 0.12, ground: 0.3 }; // half the soft edge, in radii
const DIM_MAX = 0.8; // how much of the light a full dimming takes
const BRIGHTEN_MAX = 0.35; // how far towards white a full brightening goes
const RING_WIDTH = 0.006; // of the picture's height
const RING_COLOR = "#ffd400"; // when none was chosen
const [RADIUS_MIN, RING_RADIUS_MIN] = [1, 0.5]; // pixels; the second of the two ellipses that bound a ring
const [BLACK, WHITE]: [Rgb, Rgb] = [
  [0, 0, 0],
  [255, 255, 255],
];

/** A region of a reel of this length at a moment, on a picture of width by height pixels. */
export function lightAt(region: Region, timeMs: number, reelMs: number, width: number, height: number): Light {
  const ellipse = inPixels(ellipseAt(region.keys, timeMs), width, height);
  return { shape: region.shape ?? "body", effects: region.effects, ellipse, shown: shownAt(region, timeMs, reelMs), height };
}

/** The ellipse in fractions of the picture that its keys belong to. */
export function ellipseAt(keys: readonly EllipseKey[], timeMs: number): Ellipse {
  const over = (value: (key: EllipseKey) => number): number => curve(keys.map((key) => [key.time_ms, value(key)]))(timeMs);
  return { x: over((key) => key.center_x), y: over((key) => key.center_y), radiusX: over((key) => key.radius_x), radiusY: over((key) => key.radius_y) };
}

/** An ellipse of the source as it stands in a crop window; both in fractions, of the source and of the window. */
export function seenThrough(ellipse: Ellipse, window: Window): Ellipse {
  const [x, y] = [(ellipse.x - window.x) / window.width, (ellipse.y - window.y) / window.height];
  return { x, y, radiusX: ellipse.radiusX / window.width, radiusY: ellipse.radiusY / window.height };
}

/** An ellipse of fractions on a picture of width by height pixels; no radius is below a pixel. */
export function inPixels(ellipse: Ellipse, width: number, height: number): Ellipse {
  const [radiusX, radiusY] = [Math.max(RADIUS_MIN, ellipse.radiusX * width), Math.max(RADIUS_MIN, ellipse.radiusY * height)];
  return { x: ellipse.x * width, y: ellipse.y * height, radiusX, radiusY };
}

/** How much of a region shows: straight up and down over its fade, which is at most half of what the reel leaves of it; its end is no longer in it. */
export function shownAt(region: Region, timeMs: number, reelMs: number): number {
  const [begin, end] = [region.start_ms, Math.min(region.end_ms, reelMs)];
  if (timeMs < begin || timeMs >= end) return 0;
  const fade = Math.min(region.fade_ms ?? 0, (end - begin) / 2);
  return fade > 0 ? Math.min(1, (timeMs - begin) / fade, (end - timeMs) / fade) : 1;
}

/** What a colour at a point (in pixels) becomes; `samplePx` is how wide the drawn samples are, which softens a ring. */
export function lit(light: Light, x: number, y: number, color: Rgb, samplePx = 1): Rgb {
  return light.effects.reduce<Rgb>((before, effect) => {
    const weight = effect.strength * light.shown * weightOf(effect, light, x, y, samplePx);
    const [red, green, blue] = before;
    const target = targetOf(effect);
    return [red + (target[0] - red) * weight, green + (target[1] - green) * weight, blue + (target[2] - blue) * weight];
  }, color);
}

/** How far an effect of full strength goes towards its colour. */
function weightOf(effect: Effect, light: Light, x: number, y: number, samplePx: number): number {
  const { ellipse, shape, height } = light;
  if (effect.kind === "dim_outside") return DIM_MAX * (1 - inside(ellipse, x, y, EDGES[shape]));
  if (effect.kind === "brighten_inside") return BRIGHTEN_MAX * inside(ellipse, x, y, EDGES[shape]);
  // Between two ellipses, so that the ring is as wide at its ends as at its sides; their edges are soft over one sample.
  const [outer, inner] = [grown(ellipse, (RING_WIDTH * height) / 2), grown(ellipse, (-RING_WIDTH * height) / 2)];
  const soft = (one: Ellipse): number => samplePx / 2 / Math.min(one.radiusX, one.radiusY);
  return Math.max(0, inside(outer, x, y, soft(outer)) - inside(inner, x, y, soft(inner)));
}

function grown(ellipse: Ellipse, by: number): Ellipse {
  return { ...ellipse, radiusX: Math.max(RING_RADIUS_MIN, ellipse.radiusX + by), radiusY: Math.max(RING_RADIUS_MIN, ellipse.radiusY + by) };
}

/** 1 inside of an ellipse and 0 outside, soft within `edge` (in radii) on both sides of its line. */
function inside(ellipse: Ellipse, x: number, y: number, edge: number): number {
  const distance = Math.hypot((x - ellipse.x) / ellipse.radiusX, (y - ellipse.y) / ellipse.radiusY);
  const u = Math.min(Math.max((distance - 1 + edge) / (2 * edge), 0), 1);
  return 1 - u * u * (3 - 2 * u);
}

function targetOf(effect: Effect): Rgb {
  if (effect.kind === "dim_outside") return BLACK;
  if (effect.kind === "brighten_inside") return WHITE;
  const value = Number.parseInt((effect.color ?? RING_COLOR).slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
