// The clips of one game: play, edit, delete, and tick those that the reel is made of.
import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import type { Clip, Game } from "../api/schema";
import { clock, span } from "../format";
import type { PlayerControl } from "../player/control";
import { type ClipFields, clipDraft, clipFields, deleteClip, saveClip } from "../state/deeds";
import { client, drafts } from "../wiring";
import { ClipForm } from "./clip_form";
import { Stars, Twice } from "./fields";

export interface ClipListProps {
  game: Game;
  clips: readonly Clip[];
  control: PlayerControl;
  shownVideo: string;
  /** Ids of the clips that are left out of the reel. */
  left: ReadonlySignal<ReadonlySet<string>>;
  onPick: (ids: readonly string[], picked: boolean) => void;
  onPlay: (clip: Clip) => void;
}

export function ClipList(props: ClipListProps) {
  const { clips } = props;
  if (clips.length === 0) {
    return (
      <div class="empty">
        <p>
          <strong>No clips yet.</strong>
        </p>
        <p>
          Watch the game. When something good begins press <kbd>I</kbd> or “Clip starts here”; when it is over press <kbd>O</kbd>. Then save it.
        </p>
      </div>
    );
  }
  return (
    <>
      <AllClips {...props} />
      <ul class="plain clips">
        {clips.map((clip) => (
          <ClipRow key={clip.id} {...props} clip={clip} />
        ))}
      </ul>
    </>
  );
}

function AllClips(props: ClipListProps) {
  const ids = props.clips.map((clip) => clip.id);
  const all = ids.every((id) => !props.left.value.has(id));
  return (
    <label class="check">
      <input type="checkbox" checked={all} onChange={() => props.onPick(ids, !all)} />
      All clips
    </label>
  );
}

function ClipRow(props: ClipListProps & { clip: Clip }) {
  const { clip, game } = props;
  const asking = useSignal(false);
  const picked = useComputed(() => !props.left.value.has(clip.id)); // so that a tick redraws one row, not all
  const draftName = clipDraft(clip.id);
  const draft = drafts.of<ClipFields>(draftName).value;
  const title = clip.name || "Clip without a name";
  const half = game.videos.length > 1 ? `Video ${game.videos.findIndex((video) => video.id === clip.video_id) + 1}, ` : "";
  if (draft) {
    return (
      <li>
        <ClipForm title={`Edit “${title}”`} name={draftName} draft={draft} control={props.control} atHand={clip.video_id === props.shownVideo} save={() => saveClip(clip.id)} />
      </li>
    );
  }
  return (
    <li class="clip">
      <label class="check">
        <input type="checkbox" checked={picked.value} aria-label={`Use “${title}” in the reel`} onChange={(event) => props.onPick([clip.id], event.currentTarget.checked)} />
      </label>
      <button type="button" class="quiet grow clip-play" onClick={() => props.onPlay(clip)}>
        <span class="clip-name">
          <span class="away">Play </span>
          {title}
        </span>
        <span class="hint">
          {half}
          {clock(clip.start_ms, false)}, {span(clip.end_ms - clip.start_ms)} <Stars value={clip.rating} />
        </span>
      </button>
      <span class="row">
        {!asking.value && (
          <button type="button" class="quiet" aria-label={`Edit “${title}”`} onClick={() => drafts.begin(draftName, clipFields(clip), client.base)}>
            Edit
          </button>
        )}
        <Twice label="Delete" sure="Delete this clip?" asking={asking.value} onAsk={(is) => (asking.value = is)} onYes={() => void deleteClip(clip)} />
      </span>
    </li>
  );
}
