// What the user has typed and not saved: kept with the version it was written against, through conflicts and reloads of the page.
//
// What holds (tests/drafts.test.ts):
//  1. Only a save that was answered, or the user, ends a draft.
//  2. Rebasing onto fresh values changes only fields that the user did not touch.
//  3. The key of a draft's save changes exactly when its content does: the same words saved twice are one deed.
import { signal, type Signal } from "@preact/signals";

export type Fields = Record<string, unknown>;

export interface Draft<T extends Fields> {
  /** The fields as they were when the user began, and as they are now. */
  was: T;
  now: T;
  /** The version at which `was` was read. */
  base: number;
  key: string;
}

/** The fields that the user changed. */
export function changes<T extends Fields>(draft: Draft<T>): Partial<T> {
  return Object.fromEntries(Object.entries(draft.now).filter(([name, value]) => !same(value, draft.was[name]))) as Partial<T>;
}

export function rebase<T extends Fields>(draft: Draft<T>, fresh: T, base: number, key: string): Draft<T> {
  return { was: fresh, now: { ...fresh, ...changes(draft) }, base, key };
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

const PREFIX = "draft:";

export class Drafts {
  /** Of every draft that is open, also of things that are no longer there. */
  readonly names: Signal<readonly string[]>;
  private readonly open = new Map<string, Signal<Draft<Fields> | null>>();

  constructor(
    private readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">,
    private readonly newKey: () => string,
  ) {
    const kept = Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
    this.names = signal(kept.filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length)));
  }

  of<T extends Fields>(name: string): Signal<Draft<T> | null> {
    let draft = this.open.get(name);
    if (!draft) {
      draft = signal(this.read(name));
      this.open.set(name, draft);
    }
    return draft as unknown as Signal<Draft<T> | null>;
  }

  begin<T extends Fields>(name: string, fields: T, base: number): void {
    this.write(name, { was: fields, now: fields, base, key: this.newKey() });
  }

  edit<T extends Fields>(name: string, fields: Partial<T>): void {
    const draft = this.of<T>(name).value;
    if (draft) this.write(name, { ...draft, now: { ...draft.now, ...fields }, key: this.newKey() });
  }

  rebase<T extends Fields>(name: string, fresh: T, base: number): void {
    const draft = this.of<T>(name).value;
    if (draft) this.write(name, rebase(draft, fresh, base, this.newKey()));
  }

  /** The draft as it was sent is saved: what was typed meanwhile is a draft on top of that. */
  saved<T extends Fields>(name: string, sent: Draft<T>): void {
    const draft = this.of<T>(name).value;
    if (draft) this.write(name, draft.key === sent.key ? null : { ...draft, was: sent.now });
  }

  end(name: string): void {
    this.write(name, null);
  }

  private write(name: string, draft: Draft<Fields> | null): void {
    this.of(name).value = draft;
    if (this.names.value.includes(name) !== (draft !== null)) {
      this.names.value = draft ? [...this.names.value, name] : this.names.value.filter((other) => other !== name);
    }
    try {
      if (draft) this.storage.setItem(PREFIX + name, JSON.stringify(draft));
      else this.storage.removeItem(PREFIX + name);
    } catch {
      return; // storage is full or forbidden: the draft lives on in memory, only a reload would lose it
    }
  }

  private read(name: string): Draft<Fields> | null {
    const text = this.storage.getItem(PREFIX + name);
    return text === null ? null : (JSON.parse(text) as Draft<Fields>);
  }
}
