// Where the picture of a clip is cut: the same rules as the export's, so that what is shown is what comes out. Pure.
import type { CropKey, Framing, Reel } from "../api/schema";

export interface Window {
  x: number;
  y: number;
  width: number;
  height: number;
}

export const CLOSEST = 3;

const SHAPES: Readonly<Record<Reel["aspect"], number>> = { source: 0, "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1, "4:5": 4 / 5 };
const SHAPE_TOLERANCE = 0.01;

/** Width over height of the reel's picture; that of the source when the reel keeps it. */
export function shapeOf(aspect: Reel["aspect"], sourceShape: number): number {
  return SHAPES[aspect] || sourceShape;
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
  return { x: clamp(centerX - width / 2, 1 - width), y: clamp(centerY - height / 2, 1 - height), width, height };
}

/** The window in `key` with the reel's shape: same centre and, where the picture allows it, same height. */
export function fitted(key: Window, shape: number, sourceShape: number): Window {
  const wanted = shape / sourceShape;
  if (Math.abs(key.width / key.height - wanted) <= SHAPE_TOLERANCE * wanted) return key;
  const height = Math.min(key.height, 1, 1 / wanted);
  const width = height * wanted;
  return { x: clamp(key.x + key.width / 2 - width / 2, 1 - width), y: clamp(key.y + key.height / 2 - height / 2, 1 - height), width, height };
}

/** What is shown of a clip: its first window, or the largest in the middle. */
export function shown(framing: Framing | null | undefined, shape: number, sourceShape: number): Window {
  const key = framing?.crop_keys?.[0];
  return key ? fitted(key, shape, sourceShape) : windowAt(0.5, 0.5, 1, shape, sourceShape);
}

export function closeness(window: Window, shape: number, sourceShape: number): number {
  return largest(shape, sourceShape).height / window.height;
}

/** One window for the whole clip, keeping whatever else the framing says. */
export function still(framing: Framing | null | undefined, window: Window, startMs: number): Framing {
  const key: CropKey = { time_ms: startMs, ...window };
  return { trim: framing?.trim ?? null, segments: framing?.segments ?? [], crop_keys: [key] };
}

function clamp(value: number, high: number): number {
  return Math.min(Math.max(value, 0), Math.max(high, 0));
}
