// The player: native <video>, a timeline with the clips on it, buttons, and the keys.
import type { ReadonlySignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Clip } from "../api/schema";
import { clock } from "../format";
import type { PlayerControl } from "../player/control";
import { actionOf, type Action } from "../player/keys";

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];
const JUMP_MS = 5_000;

export interface PlayerProps {
  control: PlayerControl;
  src: string;
  fps: number;
  title: string;
  clips: readonly Clip[];
  /** The range of the clip in hand. */
  marked: ReadonlySignal<{ start_ms: number; end_ms: number } | null>;
  onMark: (edge: "start" | "end") => void;
}

export function Player(props: PlayerProps) {
  const { control, src, fps } = props;
  const element = useRef<HTMLVideoElement>(null);
  // Before the next paint, so that a range asked for together with another video finds that video.
  useLayoutEffect(() => {
    control.reset();
    return control.attach(element.current!);
  }, [control, src]);
  useEffect(() => {
    const acts: Record<Action, () => void> = {
      toggle: () => control.toggle(),
      back: () => control.nudge(-JUMP_MS),
      forward: () => control.nudge(JUMP_MS),
      "second-back": () => control.nudge(-1000),
      "second-forward": () => control.nudge(1000),
      "frame-back": () => control.step(-1, fps),
      "frame-forward": () => control.step(1, fps),
      "mark-start": () => props.onMark("start"),
      "mark-end": () => props.onMark("end"),
    };
    const press = (event: KeyboardEvent): void => {
      if (event.defaultPrevented) return;
      const action = actionOf(event.key, event.metaKey || event.ctrlKey || event.altKey, event.target instanceof HTMLElement ? event.target : null);
      if (!action) return;
      event.preventDefault();
      acts[action]();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [control, fps, props.onMark]);
  return (
    <div class="player">
      <div class="stage">
        <video ref={element} key={src} src={src} playsInline preload="metadata" aria-label={props.title} onClick={() => control.toggle()} />
        {control.failed.value && (
          <p class="cover" role="alert">
            This browser cannot play this file. It can be uploaded all the same: most formats play here once they are exported.
          </p>
        )}
      </div>
      <Timeline control={control} clips={props.clips} marked={props.marked} />
      <Transport control={control} fps={fps} onMark={props.onMark} />
    </div>
  );
}

function Timeline(props: Pick<PlayerProps, "control" | "clips" | "marked">) {
  return (
    <div class="timeline">
      <Marks {...props} />
      <Position control={props.control} />
    </div>
  );
}

// Apart from the position, which changes with every frame.
function Marks(props: Pick<PlayerProps, "control" | "clips" | "marked">) {
  const length = props.control.durationMs.value;
  const marked = props.marked.value;
  const place = (range: { start_ms: number; end_ms: number }) => ({ left: `${(100 * range.start_ms) / length}%`, width: `${(100 * (range.end_ms - range.start_ms)) / length}%` });
  if (length === 0) return null;
  return (
    <div class="marks" aria-hidden="true">
      {props.clips.map((clip) => (
        <i key={clip.id} style={place(clip)} />
      ))}
      {marked && <i class="marked" style={place(marked)} />}
    </div>
  );
}

function Position(props: { control: PlayerControl }) {
  const { control } = props;
  const length = control.durationMs.value || 1;
  return (
    <input
      type="range"
      min={0}
      max={length}
      step={100}
      value={control.timeMs.value}
      aria-label="Position"
      aria-valuetext={`${clock(control.timeMs.value, false)} of ${clock(length, false)}`}
      onInput={(event) => control.seek(event.currentTarget.valueAsNumber)}
    />
  );
}

function Clock(props: { control: PlayerControl }) {
  const { control } = props;
  return (
    <output class="clock" aria-label="Time">
      {clock(control.timeMs.value)} <span class="hint">/ {clock(control.durationMs.value, false)}</span>
    </output>
  );
}

function Transport(props: Pick<PlayerProps, "control" | "fps" | "onMark">) {
  const { control, fps, onMark } = props;
  return (
    <div class="transport">
      <div class="row">
        <IconButton label="Back 5 s" keys="J" act={() => control.nudge(-JUMP_MS)} text="« 5 s" />
        <button type="button" class="play" aria-label={control.playing.value ? "Pause" : "Play"} aria-keyshortcuts="K Space" title="K or space" onClick={() => control.toggle()}>
          <svg viewBox="0 0 24 24" aria-hidden="true">
            <path d={control.playing.value ? "M7 5h4v14H7zM13 5h4v14h-4z" : "M8 5v14l11-7z"} />
          </svg>
        </button>
        <IconButton label="Forward 5 s" keys="L" act={() => control.nudge(JUMP_MS)} text="5 s »" />
      </div>
      <Clock control={control} />
      <div class="row fine">
        <IconButton label="One frame back" keys="," act={() => control.step(-1, fps)} text="‹ frame" />
        <IconButton label="One frame on" keys="." act={() => control.step(1, fps)} text="frame ›" />
        <label class="speed">
          <span class="away">Speed</span>
          <select value={control.speed.value} onChange={(event) => control.setSpeed(Number(event.currentTarget.value))}>
            {SPEEDS.map((speed) => (
              <option key={speed} value={speed}>
                {speed}×
              </option>
            ))}
          </select>
        </label>
      </div>
      <div class="row marking">
        <button type="button" class="primary" aria-keyshortcuts="I" onClick={() => onMark("start")}>
          Clip starts here <kbd>I</kbd>
        </button>
        <button type="button" class="primary" aria-keyshortcuts="O" onClick={() => onMark("end")}>
          Clip ends here <kbd>O</kbd>
        </button>
      </div>
    </div>
  );
}

function IconButton(props: { label: string; keys: string; text: string; act: () => void }) {
  return (
    <button type="button" aria-label={props.label} aria-keyshortcuts={props.keys} title={`${props.label} (${props.keys})`} onClick={props.act}>
      {props.text}
    </button>
  );
}
