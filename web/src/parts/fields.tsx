// The small inputs that several screens share: rating, aspect ratio, a file chooser.
import { useRef } from "preact/hooks";
import type { Reel } from "../api/schema";

export type Aspect = Reel["aspect"];

const STARS = [1, 2, 3, 4, 5];

/** A rating of 1 to 5, or none. Radio buttons to the keyboard and to screen readers. */
export function Rating(props: { name: string; value: number | null; onChange: (value: number | null) => void }) {
  return (
    <fieldset class="rating">
      <legend>Rating</legend>
      {STARS.map((star) => (
        <label key={star} class={props.value !== null && star <= props.value ? "lit" : ""}>
          <input type="radio" name={props.name} checked={props.value === star} aria-label={`${star} of 5`} onChange={() => props.onChange(star)} />
          <span aria-hidden="true">★</span>
        </label>
      ))}
      {props.value !== null && (
        <button type="button" class="quiet" onClick={() => props.onChange(null)}>
          Clear
        </button>
      )}
    </fieldset>
  );
}

export function Stars(props: { value: number | null | undefined }) {
  if (!props.value) return null;
  return (
    <span class="stars" role="img" aria-label={`${props.value} of 5`}>
      {"★".repeat(props.value)}
    </span>
  );
}

export const ASPECTS: readonly { value: Aspect; name: string; use: string }[] = [
  { value: "9:16", name: "Tall", use: "phones, stories" },
  { value: "4:5", name: "Portrait", use: "feeds" },
  { value: "1:1", name: "Square", use: "anywhere" },
  { value: "16:9", name: "Wide", use: "TV, computer" },
  { value: "source", name: "As filmed", use: "nothing cut off" },
];

export function AspectChoice(props: { name: string; value: Aspect; onChange: (value: Aspect) => void; disabled?: boolean }) {
  return (
    <fieldset class="aspects" disabled={props.disabled}>
      <legend>Shape of the picture</legend>
      {ASPECTS.map(({ value, name, use }) => (
        <label key={value} class={value === props.value ? "chosen" : ""}>
          <input type="radio" name={props.name} value={value} checked={value === props.value} onChange={() => props.onChange(value)} />
          <span class={`shape shape-${value.replace(":", "-")}`} aria-hidden="true" />
          <span class="aspect-name">{name}</span>
          <span class="hint">{value === "source" ? use : `${value}, ${use}`}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** A button that opens the device's file chooser; the same file may be chosen twice in a row. */
export function ChooseVideos(props: { label: string; many?: boolean; primary?: boolean; disabled?: boolean; onFiles: (files: File[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class={props.primary ? "primary" : ""} disabled={props.disabled} onClick={() => input.current!.click()}>
        {props.label}
      </button>
      <input
        ref={input}
        type="file"
        class="away"
        tabIndex={-1}
        aria-label={props.label}
        accept="video/*,.mkv,.mts,.ts"
        multiple={props.many ?? false}
        onChange={(event) => {
          const files = Array.from(event.currentTarget.files ?? []);
          event.currentTarget.value = "";
          if (files.length > 0) props.onFiles(files);
        }}
      />
    </>
  );
}

/** A button that asks once more before it does what cannot be taken back. */
export function Twice(props: { label: string; sure: string; asking: boolean; onAsk: (asking: boolean) => void; onYes: () => void }) {
  if (!props.asking) {
    return (
      <button type="button" class="quiet danger" onClick={() => props.onAsk(true)}>
        {props.label}
      </button>
    );
  }
  return (
    <span class="row" role="group" aria-label={props.sure}>
      <span>{props.sure}</span>
      <button type="button" class="danger" autoFocus onClick={props.onYes}>
        Delete
      </button>
      <button type="button" onClick={() => props.onAsk(false)}>
        Keep
      </button>
    </span>
  );
}
