// One reel: its clips in order, the shape and part of the picture, and the export up to the download.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Clip, Export, Reel } from "../api/schema";
import { clock, count, span } from "../format";
import { clipCanBeSeen, CropBox } from "../parts/crop_box";
import { ExportCard, Outputs } from "../parts/export_card";
import { AspectChoice, Twice } from "../parts/fields";
import { A, go } from "../router";
import { arrange, changeReel, deleteReel, exportReel } from "../state/deeds";
import { active, newestFirst, percent } from "../state/exports";
import { library } from "../wiring";

export function ReelScreen(props: { id: string }) {
  const reel = library.reels.value.find((other) => other.id === props.id);
  if (!reel) {
    return (
      <div class="empty">
        <h1 tabIndex={-1}>This reel is not here</h1>
        <p>It may have been deleted, or it belongs to somebody else.</p>
        <A href="/" class="button primary">
          Go to your reels
        </A>
      </div>
    );
  }
  return <OpenReel key={reel.id} reel={reel} />;
}

function OpenReel(props: { reel: Reel }) {
  const { reel } = props;
  const chosen = useSignal("");
  const byId = new Map(library.clips.value.map((clip) => [clip.id, clip]));
  const clips = reel.clips.map((entry) => byId.get(entry.clip_id)).filter((clip): clip is Clip => clip !== undefined);
  const jobs = newestFirst(library.exports.value.filter((job) => job.reel_id === reel.id));
  const framed = clips.find((clip) => clip.id === chosen.value) ?? clips[0];
  const choose = (clip: Clip): void => {
    chosen.value = clip.id;
    document.getElementById("framing")?.scrollIntoView({ block: "nearest" });
  };
  return (
    <>
      <ReelHead reel={reel} clips={clips} />
      <div class="columns">
        <div class="main-column">
          <Result reel={reel} clips={clips} job={jobs[0]} />
          {framed && <Frame reel={reel} clip={framed} />}
        </div>
        <div class="side-column">
          <div class="card">
            <AspectChoice name="aspect" value={reel.aspect} onChange={(aspect) => void changeReel(reel, { aspect })} />
          </div>
          <section aria-label="Clips of this reel">
            <h2>{count(clips.length, "clip")}</h2>
            <ol class="plain clips">
              {clips.map((clip, index) => (
                <ReelClip key={clip.id} reel={reel} clips={clips} clip={clip} index={index} chosen={clip.id === framed?.id} onChoose={choose} />
              ))}
            </ol>
            <AddClips reel={reel} clips={clips} />
          </section>
        </div>
      </div>
    </>
  );
}

function Frame(props: { reel: Reel; clip: Clip }) {
  const { reel, clip } = props;
  const video = library.videos.value.get(clip.video_id);
  if (!video) return null;
  return (
    <section id="framing" class="card" aria-label={`What is shown of “${titleOf(clip)}”`}>
      <h2>What is shown of “{titleOf(clip)}”</h2>
      {clipCanBeSeen(video) ? <CropBox key={`${clip.id} ${reel.aspect}`} reel={reel} clip={clip} video={video} /> : <p class="hint">This can be set once the video is uploaded.</p>}
    </section>
  );
}

function titleOf(clip: Clip): string {
  return clip.name || "Clip without a name";
}

function ReelHead(props: { reel: Reel; clips: readonly Clip[] }) {
  const { reel, clips } = props;
  const asking = useSignal(false);
  const running = library.exports.value.find((job) => job.reel_id === reel.id && active(job));
  const title = running ? `${percent(running)}% · ${reel.name}` : reel.name;
  useEffect(() => void (document.title = `${title} · Reel Ballers`), [title]);
  const remove = async (): Promise<void> => {
    if (await deleteReel(reel)) go("/", true);
  };
  return (
    <div class="head">
      <div class="grow">
        <h1 tabIndex={-1}>{reel.name}</h1>
        <p class="hint">{span(clips.reduce((sum, clip) => sum + clip.end_ms - clip.start_ms, 0))} of highlights</p>
      </div>
      <Twice label="Delete reel" sure="Delete this reel?" asking={asking.value} onAsk={(is) => (asking.value = is)} onYes={() => void remove()} />
    </div>
  );
}

function Result(props: { reel: Reel; clips: readonly Clip[]; job: Export | undefined }) {
  const { reel, clips, job } = props;
  const starting = useSignal(false);
  const unsent = clips.map((clip) => library.videos.value.get(clip.video_id)).find((video) => video?.state !== "ready");
  const start = async (): Promise<void> => {
    starting.value = true;
    await exportReel(reel);
    starting.value = false;
  };
  const before = job?.state !== "succeeded" ? reel.final_video : null;
  const retried = job !== undefined && (active(job) || job.state === "cancelled" || (job.state === "failed" && job.error?.retryable !== false));
  const button = (
    <div class="row">
      <button type="button" class={job?.state === "succeeded" ? "" : "primary"} disabled={starting.value || clips.length === 0 || unsent !== undefined} onClick={() => void start()}>
        {starting.value ? "Starting…" : job || before ? "Export again" : "Export"}
      </button>
      {unsent && <p class="hint">“{unsent.file_name}” has to be uploaded first.</p>}
      {clips.length === 0 && <p class="hint">Add a clip first.</p>}
    </div>
  );
  return (
    <section aria-label="Export">
      {job ? (
        <ExportCard key={job.id} job={job} title={reel.name} />
      ) : (
        !before && (
          <div class="card">
            <h2>Your reel is ready to be made</h2>
            <p>Choose its shape, drag the frame over your player, put the clips in order. Or leave all that: the middle of the picture is a good start.</p>
            {button}
          </div>
        )
      )}
      {(job || before) && !retried && button}
      {before && (
        <section class="card" aria-label="The version before">
          <h2>The version before</h2>
          <Outputs outputs={[before]} />
        </section>
      )}
    </section>
  );
}

function ReelClip(props: { reel: Reel; clips: readonly Clip[]; clip: Clip; index: number; chosen: boolean; onChoose: (clip: Clip) => void }) {
  const { reel, clips, clip, index, chosen } = props;
  const busy = useSignal(false);
  const title = titleOf(clip);
  const place = async (to: number | null): Promise<void> => {
    const ids = clips.map((other) => other.id).filter((id) => id !== clip.id);
    if (to !== null) ids.splice(to, 0, clip.id);
    busy.value = true;
    await arrange(reel, ids);
    busy.value = false;
  };
  return (
    <li class={chosen ? "clip chosen" : "clip"}>
      <button type="button" class="quiet clip-play" aria-pressed={chosen} onClick={() => props.onChoose(clip)}>
        <span class="clip-name">
          <span class="away">Frame </span>
          {title}
        </span>
        <span class="hint">
          {clock(clip.start_ms, false)}, {span(clip.end_ms - clip.start_ms)}
        </span>
      </button>
      <span class="row nowrap">
        <button type="button" class="quiet" aria-label={`Move “${title}” up`} disabled={busy.value || index === 0} onClick={() => void place(index - 1)}>
          ↑
        </button>
        <button type="button" class="quiet" aria-label={`Move “${title}” down`} disabled={busy.value || index === clips.length - 1} onClick={() => void place(index + 1)}>
          ↓
        </button>
        <button type="button" class="quiet danger" aria-label={`Take out “${title}”`} disabled={busy.value} onClick={() => void place(null)}>
          Take out
        </button>
      </span>
    </li>
  );
}

function AddClips(props: { reel: Reel; clips: readonly Clip[] }) {
  const { reel, clips } = props;
  const inside = new Set(clips.map((clip) => clip.id));
  const others = library.clips.value.filter((clip) => !inside.has(clip.id));
  if (others.length === 0) return null;
  const games = new Map(library.games.value.map((game) => [game.id, game.name]));
  const add = (clip: Clip): void => void arrange(reel, [...clips.map((other) => other.id), clip.id]);
  return (
    <details class="add">
      <summary>Add clips ({others.length} more)</summary>
      <ul class="plain clips">
        {others.map((clip) => (
          <li key={clip.id} class="clip">
            <span class="grow">
              <span class="clip-name">{titleOf(clip)}</span>
              <span class="hint">
                {games.get(clip.game_id)}, {clock(clip.start_ms, false)}
              </span>
            </span>
            <button type="button" aria-label={`Add “${titleOf(clip)}”`} onClick={() => add(clip)}>
              Add
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}
