// The banners above every screen: no connection, a conflict that waits for the user, problems and things done.
import { useSignal } from "@preact/signals";
import { client, connection, library, notices } from "../wiring";
import type { Conflict, Notice } from "../state/notices";

export function Banners() {
  return (
    <div class="banners">
      <ConnectionBanner />
      <StaleBanner />
      {notices.conflict.value && <ConflictBanner conflict={notices.conflict.value} />}
      <div role="alert">
        {notices.list.value
          .filter((notice) => notice.problem)
          .map((notice) => (
            <Told key={notice.id} notice={notice} kind="banner problem" />
          ))}
      </div>
      <div role="status" class="toasts">
        {notices.list.value
          .filter((notice) => !notice.problem)
          .map((notice) => (
            <Told key={notice.id} notice={notice} kind="banner done" />
          ))}
      </div>
    </div>
  );
}

function Told(props: { notice: Notice; kind: string }) {
  const { notice, kind } = props;
  return (
    <div class={kind}>
      <p>
        {notice.words} <Reference traceId={notice.traceId} />
      </p>
      <button type="button" class="quiet" onClick={() => notices.dismiss(notice.id)}>
        Close
      </button>
    </div>
  );
}

/** The trace id, for whoever is asked for help. */
export function Reference(props: { traceId: string }) {
  if (!props.traceId) return null;
  return (
    <small class="reference">
      Reference <code>{props.traceId}</code>
    </small>
  );
}

function ConnectionBanner() {
  const state = connection.state.value;
  return (
    <div role="status">
      {state !== "reached" && (
        <div class="banner waiting">
          <p>
            <strong>Reel Ballers can’t be reached at the moment.</strong> What you do is kept and goes on by itself once the connection is back.
          </p>
          <button type="button" disabled={state === "trying"} onClick={() => void connection.tryNow()}>
            {state === "trying" ? "Trying…" : "Try now"}
          </button>
        </div>
      )}
    </div>
  );
}

/** Reading afresh did not work: what is shown may be old. */
function StaleBanner() {
  const problem = library.problem.value;
  if (!problem || !library.loaded.value) return null;
  return (
    <div class="banner waiting" role="status">
      <p>
        <strong>What you see may not be the latest.</strong> {problem.message} <Reference traceId={problem.traceId} />
      </p>
      <button type="button" onClick={() => void library.refresh()}>
        Try again
      </button>
    </div>
  );
}

function ConflictBanner(props: { conflict: Conflict }) {
  const busy = useSignal(false);
  const copied = useSignal(false);
  const { problem, work, settle } = props.conflict;
  const refresh = async (): Promise<void> => {
    busy.value = true;
    await library.refresh(Math.max(problem.remoteVersion, client.head));
    busy.value = false;
    if (library.problem.value) return notices.show(library.problem.value);
    notices.conflict.value = null;
    notices.tell(settle());
  };
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(work);
    copied.value = true;
  };
  return (
    <div class="banner conflict" role="alert">
      <p>
        <strong>This was changed in another tab or on another device after you opened it.</strong> {work ? "Nothing of yours is lost: it is still in the form." : "Nothing was overwritten."}{" "}
        <Reference traceId={problem.traceId} />
      </p>
      <div class="row">
        <button type="button" class="primary" disabled={busy.value} onClick={() => void refresh()}>
          {busy.value ? "Refreshing…" : "Refresh to get latest"}
        </button>
        {work && (
          <button type="button" onClick={() => void copy().catch((error: unknown) => notices.show(error))}>
            {copied.value ? "Copied" : "Copy my work"}
          </button>
        )}
      </div>
    </div>
  );
}
