// The form of one clip, new or known: its range, name, rating and notes, over a draft that survives conflicts and reloads.
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { clock, parseClock, span } from "../format";
import type { PlayerControl } from "../player/control";
import type { ClipFields } from "../state/deeds";
import type { Draft } from "../state/drafts";
import { connection, drafts } from "../wiring";
import { Rating } from "./fields";

export interface ClipFormProps {
  title: string;
  name: string;
  draft: Draft<ClipFields>;
  control: PlayerControl;
  /** True when the player shows the clip's video: only then can its times be taken from the player. */
  atHand: boolean;
  save: () => Promise<boolean>;
  saveLabel?: string;
}

export function ClipForm(props: ClipFormProps) {
  const { draft, control, name } = props;
  const id = useId();
  const saving = useSignal(false);
  const fields = draft.now;
  const edit = (changed: Partial<ClipFields>): void => drafts.edit<ClipFields>(name, changed);
  const lengthMs = fields.end_ms - fields.start_ms;
  const possible = lengthMs >= 100;
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.scrollIntoView({ block: "nearest" }), []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!possible || saving.value) return;
    saving.value = true;
    await props.save();
    saving.value = false;
  };
  return (
    <form ref={form} class="card clip-form" aria-label={props.title} onSubmit={(event) => void submit(event)}>
      <h2>{props.title}</h2>
      <div class="times">
        <TimeField label="Start" value={fields.start_ms} onChange={(start_ms) => edit({ start_ms })} take={props.atHand ? () => edit({ start_ms: control.now() }) : null} />
        <TimeField label="End" value={fields.end_ms} onChange={(end_ms) => edit({ end_ms })} take={props.atHand ? () => edit({ end_ms: control.now() }) : null} />
      </div>
      <p class={possible ? "hint" : "wrong"} role="status">
        {possible ? `${span(lengthMs)} long.` : "A clip has to end after it starts."}{" "}
      </p>
      <label for={`${id}-name`}>Name</label>
      <input id={`${id}-name`} type="text" maxLength={200} placeholder="Goal, great save…" value={fields.name} onInput={(event) => edit({ name: event.currentTarget.value })} />
      <Rating name={`${id}-rating`} value={fields.rating} onChange={(rating) => edit({ rating })} />
      <details open={fields.notes !== ""}>
        <summary>Notes</summary>
        <textarea aria-label="Notes" rows={3} maxLength={2000} value={fields.notes} onInput={(event) => edit({ notes: event.currentTarget.value })} />
      </details>
      <div class="row">
        <button type="submit" class="primary" disabled={!possible || saving.value}>
          {saving.value ? (connection.state.value === "reached" ? "Saving…" : "Waiting for the connection…") : (props.saveLabel ?? "Save clip")}
        </button>
        {props.atHand && (
          <button type="button" disabled={!possible} onClick={() => control.playRange(fields.start_ms, fields.end_ms)}>
            Play it
          </button>
        )}
        <button type="button" class="quiet" onClick={() => drafts.end(name)}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function TimeField(props: { label: string; value: number; onChange: (ms: number) => void; take: (() => void) | null }) {
  const id = useId();
  const typed = useSignal<string | null>(null);
  const type = (text: string): void => {
    typed.value = text;
    const ms = parseClock(text);
    if (ms !== null && ms !== props.value) props.onChange(ms);
  };
  return (
    <div>
      <label for={id}>{props.label}</label>
      <div class="row nowrap">
        <input
          id={id}
          type="text"
          class="time"
          inputMode="decimal"
          autoComplete="off"
          value={typed.value ?? clock(props.value)}
          onInput={(event) => type(event.currentTarget.value)}
          onBlur={() => (typed.value = null)}
        />
        {props.take && (
          <button type="button" class="quiet" aria-label={`${props.label} now: the player’s time`} onClick={props.take}>
            Now
          </button>
        )}
      </div>
    </div>
  );
}
