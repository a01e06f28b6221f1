// What part of the picture a clip shows: a frame to drag over the footage, how close it is, and back to the middle.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Clip, Reel, Video } from "../api/schema";
import { closeness, CLOSEST, shapeOf, shown, still, type Window, windowAt } from "../player/framing";
import { frame } from "../state/deeds";
import { client, library, uploads } from "../wiring";

const NUDGE = 0.02;

export function clipCanBeSeen(video: Video): boolean {
  return video.state === "ready" || uploads.local.value[video.id] !== undefined;
}

export function CropBox(props: { reel: Reel; clip: Clip; video: Video }) {
  const { reel, clip, video } = props;
  const framing = reel.clips.find((other) => other.clip_id === clip.id)?.framing ?? null;
  const sourceShape = (video.width ?? 16) / (video.height ?? 9);
  // A reel that keeps the footage's shape has that of its first clip.
  const firstClip = library.clips.value.find((other) => other.id === reel.clips[0]?.clip_id);
  const first = library.videos.value.get(firstClip?.video_id ?? "") ?? video;
  const shape = shapeOf(reel.aspect, first.width ?? 1920, first.height ?? 1080);
  const middleMs = (clip.start_ms + clip.end_ms) / 2; // the moment that the picture shows
  const moving = useSignal<Window | null>(null);
  const element = useRef<HTMLVideoElement>(null);
  const stage = useRef<HTMLDivElement>(null);
  const saved = shown(framing, shape, sourceShape, middleMs);
  const box = moving.value ?? saved;
  const src = uploads.local.value[video.id] ?? client.address(`/api/videos/${video.id}/file`);
  const near = closeness(box, shape, sourceShape);

  useEffect(() => {
    const timer = moving.value === null ? undefined : setTimeout(() => void save(), 600);
    return () => clearTimeout(timer);
  }, [moving.value]);

  const save = async (): Promise<void> => {
    const window = moving.peek();
    if (!window) return;
    await frame(reel, clip.id, still(framing, window, clip.start_ms));
    if (moving.peek() === window) moving.value = null;
  };
  const move = (centerX: number, centerY: number, close = near): void => {
    moving.value = windowAt(centerX, centerY, close, shape, sourceShape);
  };
  const [centerX, centerY] = [box.x + box.width / 2, box.y + box.height / 2];

  const drag = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    const target = event.currentTarget as HTMLElement;
    const area = stage.current!.getBoundingClientRect();
    const [fromX, fromY] = [event.clientX, event.clientY];
    const off = new AbortController();
    target.setPointerCapture(event.pointerId);
    const follow = (to: PointerEvent): void => move(centerX + (to.clientX - fromX) / area.width, centerY + (to.clientY - fromY) / area.height);
    target.addEventListener("pointermove", follow, { signal: off.signal });
    for (const end of ["pointerup", "pointercancel"]) target.addEventListener(end, () => off.abort(), { signal: off.signal });
  };
  const press = (event: KeyboardEvent): void => {
    const step: Record<string, [number, number]> = { ArrowLeft: [-NUDGE, 0], ArrowRight: [NUDGE, 0], ArrowUp: [0, -NUDGE], ArrowDown: [0, NUDGE] };
    const by = step[event.key];
    if (!by) return;
    event.preventDefault();
    move(centerX + by[0], centerY + by[1]);
  };
  const percent = (part: number): string => `${(100 * part).toFixed(2)}%`;
  return (
    <div class="crop">
      <div class="stage" ref={stage} style={{ aspectRatio: String(sourceShape) }}>
        <video ref={element} src={src} muted playsInline preload="metadata" aria-hidden="true" onLoadedMetadata={() => (element.current!.currentTime = middleMs / 1000)} />
        <div
          class="crop-box"
          role="slider"
          tabIndex={0}
          aria-label="What the reel shows; move it with the arrow keys"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(centerX * 100)}
          aria-valuetext={`${Math.round(centerX * 100)}% from the left, ${Math.round(centerY * 100)}% from the top`}
          style={{ left: percent(box.x), top: percent(box.y), width: percent(box.width), height: percent(box.height) }}
          onPointerDown={drag}
          onKeyDown={press}
        />
      </div>
      <div class="row">
        <label class="closer">
          Closer
          <input type="range" min={1} max={CLOSEST} step={0.05} value={near} onInput={(event) => move(centerX, centerY, event.currentTarget.valueAsNumber)} />
        </label>
        <button type="button" class="quiet" disabled={framing === null} onClick={() => void frame(reel, clip.id, null)}>
          Back to the middle
        </button>
      </div>
      <p class="hint" role="status">
        {moving.value ? "Saving…" : framing ? "Saved." : "Drag the frame over your player. Without it the middle is shown."}
      </p>
    </div>
  );
}
