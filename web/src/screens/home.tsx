// The first screen: your games and your reels, and the one button that begins everything.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Game, Reel } from "../api/schema";
import { count, day } from "../format";
import { ChooseVideos } from "../parts/fields";
import { A, go } from "../router";
import { active, newestFirst, percent } from "../state/exports";
import { library, notices, uploads } from "../wiring";

export function HomeScreen() {
  const busy = useSignal(false);
  useEffect(() => void (document.title = "Reel Ballers"), []);
  const add = async (files: File[]): Promise<void> => {
    busy.value = true;
    try {
      go(`/games/${await uploads.newGame(files)}`);
    } catch (error) {
      notices.show(error);
    } finally {
      busy.value = false;
    }
  };
  const games = [...library.games.value].reverse();
  const reels = [...library.reels.value].reverse();
  return (
    <>
      <div class="head">
        <div class="grow">
          <h1 tabIndex={-1}>Your games</h1>
          <p class="hint">From hours of footage to a short reel of your player.</p>
        </div>
        <ChooseVideos label={busy.value ? "Opening…" : "Add a game"} many primary disabled={busy.value} onFiles={(files) => void add(files)} />
      </div>
      {games.length > 0 && (
        <ul class="plain cards">
          {games.map((game) => (
            <GameCard key={game.id} game={game} />
          ))}
        </ul>
      )}
      {games.length <= 1 && reels.length === 0 && <FirstSteps none={games.length === 0} />}
      <h2>Your reels</h2>
      {reels.length === 0 ? (
        <p class="hint">None yet. Open a game, mark a few clips, and make a reel of them.</p>
      ) : (
        <ul class="plain cards">
          {reels.map((reel) => (
            <ReelCard key={reel.id} reel={reel} />
          ))}
        </ul>
      )}
    </>
  );
}

function FirstSteps(props: { none: boolean }) {
  return (
    <div class="card empty">
      <p>
        <strong>{props.none ? "Begin with the video of a game." : "How it works"}</strong>
      </p>
      <ol>
        <li>Add a game: choose its video, or both halves at once.</li>
        <li>Watch it, and mark where something good begins and ends. You need not wait for the upload.</li>
        <li>Pick the clips and a shape, export, and share the reel.</li>
      </ol>
    </div>
  );
}

function GameCard(props: { game: Game }) {
  const { game } = props;
  const clips = library.clips.value.filter((clip) => clip.game_id === game.id).length;
  const transfer = game.videos.map((video) => uploads.transfers.value[video.id]).find((other) => other !== undefined);
  const waiting = game.videos.some((video) => video.state === "uploading");
  const rejected = game.videos.some((video) => video.state === "rejected");
  return (
    <li>
      <A href={`/games/${game.id}`} class="card link">
        <strong>{game.name}</strong>
        <span class="hint">{[game.opponent && `against ${game.opponent}`, day(game.played_on)].filter(Boolean).join(" · ")}</span>
        <span class="hint">{game.videos.length === 0 ? "No video yet" : count(clips, "clip")}</span>
        {transfer ? (
          <progress max={transfer.sizeBytes} value={transfer.bytes} aria-label={`Upload of ${game.name}`} />
        ) : (
          (waiting || rejected) && <span class="tag">{waiting ? "Upload interrupted: open to go on" : "A video cannot be used"}</span>
        )}
      </A>
    </li>
  );
}

function ReelCard(props: { reel: Reel }) {
  const { reel } = props;
  const job = newestFirst(library.exports.value.filter((other) => other.reel_id === reel.id))[0];
  const state = job && active(job) ? `Being made: ${percent(job)}%` : job?.state === "failed" ? "The export did not work: open to try again" : reel.final_video ? "Ready to watch" : "Not exported yet";
  return (
    <li>
      <A href={`/reels/${reel.id}`} class="card link">
        <strong>{reel.name}</strong>
        <span class="hint">
          {count(reel.clips.length, "clip")} · {reel.aspect === "source" ? "as filmed" : reel.aspect}
        </span>
        <span class={reel.final_video ? "tag good" : "tag"}>{state}</span>
      </A>
    </li>
  );
}
