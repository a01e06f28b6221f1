// Where the picture of a clip is cut: the same rules as the export's, so that what is shown is what comes out. Pure.
import type { CropKey, Framing, Reel } from "../api/schema";
import { curve } from "./keyframes";

export interface Window {
  x: number;
  y: number;
  width: number;
  height: number;
}

export const CLOSEST = 3;

const SHAPES: Readonly<Record<Reel["aspect"], number>> = { source: 0, "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1, "4:5": 4 / 5 };
const SHAPE_TOLERANCE = 0.01;
const SIDE_MIN = 0.02; // of a window
const SIDE_MAX_PX = 3840; // of a reel's picture

/** Width over height of the reel's picture; that of its first clip's footage, in even pixels, when the reel keeps it. */
export function shapeOf(aspect: Reel["aspect"], firstWidthPx: number, firstHeightPx: number): number {
  const shrink = Math.min(1, SIDE_MAX_PX / Math.max(firstWidthPx, firstHeightPx));
  const even = (px: number): number => 2 * Math.floor((px * shrink) / 2);
  return SHAPES[aspect] || even(firstWidthPx) / even(firstHeightPx);
}

/** The largest window of the shape that fits into the source, in fractions of it. */
export function largest(shape: number, sourceShape: number): { width: number; height: number } {
  const wanted = shape / sourceShape;
  return wanted <= 1 ? { width: wanted, height: 1 } : { width: 1, height: 1 / wanted };
}

/** A window of the shape around a centre, `closeness` times smaller than the largest, pushed inside the picture. */
export function windowAt(centerX: number, centerY: number, closeness: number, shape: number, sourceShape: number): Window {
  const full = largest(shape, sourceShape);
  const factor = Math.min(CLOSEST, Math.max(1, closeness));
  const [width, height] = [full.width / factor, full.height / factor];
  return about(centerX, centerY, width, height);
}

/** The window in `key` with the reel's shape: same centre and, where the picture allows it, same height. */
export function fitted(key: Window, shape: number, sourceShape: number): Window {
  const wanted = shape / sourceShape;
  if (Math.abs(key.width / key.height - wanted) <= SHAPE_TOLERANCE * wanted) return key;
  const height = Math.min(Math.max(key.height, SIDE_MIN, SIDE_MIN / wanted), 1, 1 / wanted);
  return about(key.x + key.width / 2, key.y + key.height / 2, height * wanted, height);
}

/** What is shown of a clip at a moment of its footage: its windows with smooth moves between them, or the largest in the middle. */
export function shown(framing: Framing | null | undefined, shape: number, sourceShape: number, timeMs: number): Window {
  const keys = (framing?.crop_keys ?? []).map((key) => ({ timeMs: key.time_ms, ...fitted(key, shape, sourceShape) }));
  if (keys.length === 0) return windowAt(0.5, 0.5, 1, shape, sourceShape);
  // Centres move, not corners: a window that grows in place keeps its subject in the middle.
  const over = (value: (key: Window) => number): number => curve(keys.map((key) => [key.timeMs, value(key)]))(timeMs);
  const [width, height, wanted] = [over((key) => key.width), over((key) => key.height), shape / sourceShape];
  const [x, y] = [over((key) => key.x + key.width / 2), over((key) => key.y + key.height / 2)];
  // A saved window may be off the shape by the tolerance: it shrinks to it, so that nothing is stretched.
  return width / height > wanted ? about(x, y, height * wanted, height) : about(x, y, width, width / wanted);
}

export function closeness(window: Window, shape: number, sourceShape: number): number {
  return largest(shape, sourceShape).height / window.height;
}

/** One window for the whole clip, keeping whatever else the framing says. */
export function still(framing: Framing | null | undefined, window: Window, startMs: number): Framing {
  const key: CropKey = { time_ms: startMs, ...window };
  return { trim: framing?.trim ?? null, segments: framing?.segments ?? [], crop_keys: [key] };
}

function about(centerX: number, centerY: number, width: number, height: number): Window {
  return { x: clamp(centerX - width / 2, 1 - width), y: clamp(centerY - height / 2, 1 - height), width, height };
}

function clamp(value: number, high: number): number {
  return Math.min(Math.max(value, 0), Math.max(high, 0));
}
