// What the app has to say outside of any form: things done, problems in plain words, and the one conflict that waits for the user.
import { signal } from "@preact/signals";
import { asProblem, type Problem } from "../api/problem";

export interface Notice {
  id: number;
  words: string;
  traceId: string;
  problem: boolean;
}

export interface Conflict {
  problem: Problem;
  /** What the user was writing, as text to copy; empty when nothing was typed. */
  work: string;
  /** Fits the user's draft to what was read afresh; returns what to tell. */
  settle: () => string;
}


export class Notices {
  readonly list = signal<readonly Notice[]>([]);
  readonly conflict = signal<Conflict | null>(null);
  private next = 1;

  tell(words: string): void {
    this.list.value = this.list.value.filter((notice) => notice.problem); // the newest good news is enough
    const id = this.add({ words, traceId: "", problem: false });
    setTimeout(() => this.dismiss(id), 2_000 + 60 * words.length); // time to read it
  }

  show(error: unknown): void {
    const { message, traceId } = asProblem(error);
    if (!this.list.value.some((notice) => notice.words === message)) this.add({ words: message, traceId, problem: true });
  }

  dismiss(id: number): void {
    this.list.value = this.list.value.filter((notice) => notice.id !== id);
  }

  private add(notice: Omit<Notice, "id">): number {
    const id = this.next++;
    this.list.value = [...this.list.value.slice(-2), { id, ...notice }];
    return id;
  }
}
