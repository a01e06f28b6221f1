// One export from the click to the download: live percent, cancel, what went wrong and again, the finished video.
import { useSignal } from "@preact/signals";
import type { Export, Output } from "../api/schema";
import { size, span } from "../format";
import { cancelExport, retryExport } from "../state/deeds";
import { active, percent, stateWords } from "../state/exports";
import { client } from "../wiring";
import { Reference } from "./banners";

export function ExportCard(props: { job: Export; title: string }) {
  const { job, title } = props;
  const busy = useSignal(false);
  const during = async (deed: Promise<boolean>): Promise<void> => {
    busy.value = true;
    await deed;
    busy.value = false;
  };
  return (
    <section class={`card export ${job.state}`} aria-label={`Export of ${title}`}>
      <div class="spread">
        <h2>{job.state === "succeeded" ? title : stateWords(job)}</h2>
        {active(job) && (
          <button type="button" disabled={busy.value} onClick={() => void during(cancelExport(job))}>
            {busy.value ? "Cancelling…" : "Cancel"}
          </button>
        )}
        {(job.state === "cancelled" || (job.state === "failed" && job.error?.retryable !== false)) && (
          <button type="button" class="primary" disabled={busy.value} onClick={() => void during(retryExport(job))}>
            {busy.value ? "Starting…" : "Try again"}
          </button>
        )}
      </div>
      {active(job) && <Progress job={job} />}
      {job.state === "failed" && (
        <p class="wrong">
          {job.error?.message ?? "The video could not be made."} <Reference traceId={job.trace_id} />
        </p>
      )}
      {job.state === "succeeded" && <Outputs outputs={job.outputs} />}
    </section>
  );
}

function Progress(props: { job: Export }) {
  const { job } = props;
  return (
    <>
      <progress max={100} value={percent(job)} aria-label="Progress of the export" />
      <p class="hint">
        {job.eta_s !== null && job.eta_s !== undefined && job.state === "running" ? `About ${span(job.eta_s * 1000)} left. ` : ""}
        You can leave this page: it goes on without you.
      </p>
    </>
  );
}

/** The video to watch first, then whatever else was made, as downloads. */
export function Outputs(props: { outputs: readonly Output[] }) {
  const main = props.outputs.find((output) => output.role !== "clip") ?? props.outputs[0];
  if (!main) return <p class="hint">The result is being stored…</p>;
  const notes = props.outputs.filter((output) => output.role === "annotations");
  const others = props.outputs.filter((output) => output !== main && !notes.includes(output));
  return (
    <>
      <ResultVideo output={main} />
      <div class="row">
        <Download output={main} label="Download" primary />
        <span class="hint">
          {span(main.duration_ms)} · {main.width} × {main.height} · {size(main.size_bytes)}
        </span>
      </div>
      {notes.length > 0 && (
        <div class="row">
          {notes.map((output) => (
            <Download key={output.id} output={output} label={output.name.endsWith(".tsv") ? "Notes as a table" : "Notes as JSON"} />
          ))}
        </div>
      )}
      {others.length > 0 && (
        <details>
          <summary>The clips one by one ({others.length})</summary>
          <ul class="plain">
            {others.map((output) => (
              <li key={output.id} class="spread">
                <span class="grow">{output.name}</span>
                <Download output={output} label="Download" />
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

export function ResultVideo(props: { output: Output }) {
  const { output } = props;
  return (
    <div class="stage result">
      <video
        key={output.id}
        controls
        playsInline
        preload="metadata"
        aria-label={output.name}
        width={output.width}
        height={output.height}
        poster={output.poster_url ? client.address(output.poster_url) : undefined}
        src={client.address(output.url)}
      />
    </div>
  );
}

function Download(props: { output: Output; label: string; primary?: boolean }) {
  return (
    <a class={`button ${props.primary ? "primary" : ""}`} href={`${client.address(props.output.url)}?download=1`} aria-label={`${props.label} ${props.output.name}`}>
      {props.label}
    </a>
  );
}
