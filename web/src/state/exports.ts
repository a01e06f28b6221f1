// Rules of an export's life as the page sees it: news in any order, a percent that never goes back, words for every state. Pure.
import type { Export } from "../api/schema";

export function active(job: Export): boolean {
  return job.state === "queued" || job.state === "running";
}

/** The newer of two accounts of one export; the same object when there is nothing new. */
export function merge(known: Export, told: Export): Export {
  if (told.sequence < known.sequence || (!active(known) && active(told))) return known;
  if (told.sequence === known.sequence && told.state === known.state && told.progress <= known.progress) return known;
  return active(told) && told.progress < known.progress ? { ...told, progress: known.progress } : told;
}

export function mergeAll(known: readonly Export[], told: readonly Export[]): Export[] {
  const before = new Map(known.map((job) => [job.id, job]));
  return told.map((job) => {
    const old = before.get(job.id);
    return old ? merge(old, job) : job;
  });
}

/** Whole percent; 100 only when it is really there. */
export function percent(job: Export): number {
  return job.state === "succeeded" ? 100 : Math.min(99, Math.max(0, Math.floor(job.progress * 100)));
}

export function stateWords(job: Export): string {
  switch (job.state) {
    case "queued":
      return "Waiting to start";
    case "running":
      return doing(job);
    case "succeeded":
      return "Ready";
    case "failed":
      return "Did not work";
    case "cancelled":
      return "Cancelled";
  }
}

function doing(job: Export): string {
  if (job.phase === "waiting") return "Waiting: the machines that make videos cannot be reached just now";
  if (job.phase === "queued") return "Waiting to be tried again";
  return `Making it: ${percent(job)}%`;
}

/** Newest first. Ids are UUIDv7: their order is the order in which they were made. */
export function newestFirst(jobs: readonly Export[]): Export[] {
  return [...jobs].sort((a, b) => (a.id < b.id ? 1 : -1));
}
