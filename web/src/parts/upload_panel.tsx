// How a video's upload is doing, and what to do about it: progress, waiting, a failure, or choosing the file again after a reload.
import { useSignal } from "@preact/signals";
import type { Video } from "../api/schema";
import { size, span } from "../format";
import { removeVideo } from "../state/deeds";
import { notices, uploads } from "../wiring";
import { Reference } from "./banners";
import { ChooseVideos, Twice } from "./fields";

export function UploadPanel(props: { video: Video }) {
  const { video } = props;
  const transfer = uploads.transfers.value[video.id];
  const busy = useSignal(false);
  if (video.state === "ready") return null;
  if (video.state === "rejected") {
    return (
      <div class="card upload" role="status">
        <p class="wrong">
          <strong>“{video.file_name}” cannot be used.</strong> {video.reject_reason}
        </p>
        <Remove video={video} />
      </div>
    );
  }
  const resume = async (files: File[]): Promise<void> => {
    busy.value = true;
    await uploads.resume(video, files[0]!).catch((error: unknown) => notices.show(error));
    busy.value = false;
  };
  if (!transfer) {
    return (
      <div class="card upload">
        <p>
          <strong>The upload of “{video.file_name}” was interrupted.</strong> Choose the same file again and it goes on where it stopped.
        </p>
        <div class="row">
          <ChooseVideos label={busy.value ? "Checking the file…" : "Choose the file again"} primary disabled={busy.value} onFiles={(files) => void resume(files)} />
          <Remove video={video} />
        </div>
      </div>
    );
  }
  const { bytes, sizeBytes, bytesPerSecond, state, problem } = transfer;
  const leftMs = bytesPerSecond > 0 ? ((sizeBytes - bytes) / bytesPerSecond) * 1000 : 0;
  return (
    <div class="card upload">
      <div class="spread">
        <strong>{words(state, Math.floor((100 * bytes) / sizeBytes))}</strong>
        {state === "failed" ? (
          <button type="button" class="primary" onClick={() => uploads.retry(video)}>
            Try again
          </button>
        ) : (
          <Remove video={video} />
        )}
      </div>
      {problem ? (
        <p class="wrong">
          {problem.message} <Reference traceId={problem.traceId} />
        </p>
      ) : (
        <>
          <progress max={sizeBytes} value={bytes} aria-label={`Upload of ${video.file_name}`} />
          <p class="hint">
            {size(bytes)} of {size(sizeBytes)}
            {state === "sending" && leftMs > 1000 ? `, about ${span(leftMs)} left` : ""}. You can mark clips already; keep this page open until it is done.
          </p>
        </>
      )}
    </div>
  );
}

function Remove(props: { video: Video }) {
  const asking = useSignal(false);
  return <Twice label="Remove video" sure="Remove it, with its clips?" asking={asking.value} onAsk={(is) => (asking.value = is)} onYes={() => void removeVideo(props.video)} />;
}

function words(state: "sending" | "waiting" | "finishing" | "failed", done: number): string {
  if (state === "sending") return `Uploading: ${done}%`;
  if (state === "waiting") return `Waiting to go on, ${done}% are there`;
  return state === "finishing" ? "Uploaded. Looking at the video…" : "The upload stopped";
}
