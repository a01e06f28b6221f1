// What can go wrong with a call, in words for a person: the gateway's problem+json, or no answer at all.

export interface Row {
  table: string;
  key: unknown;
}

export class Problem extends Error {
  override readonly name = "Problem";
  /** 0 when there was no answer. */
  readonly status: number;
  /** Stable snake_case name: the last part of the problem's `type`. */
  readonly reason: string;
  /** 32 hex digits that find this call in the services' logs; empty when unknown. */
  readonly traceId: string;
  readonly body: Readonly<Record<string, unknown>>;

  constructor(status: number, reason: string, words: string, traceId: string, body: Record<string, unknown> = {}) {
    super(words);
    this.status = status;
    this.reason = reason;
    this.traceId = traceId;
    this.body = body;
  }

  /** Somebody else changed what this call wanted to change: the user decides, nothing is overwritten. */
  get stale(): boolean {
    return this.status === 409 && this.reason === "stale_session";
  }

  get remoteVersion(): number {
    return typeof this.body.remote_version === "number" ? this.body.remote_version : 0;
  }

  get conflicts(): Row[] {
    return Array.isArray(this.body.conflicts) ? (this.body.conflicts as Row[]) : [];
  }
}

const WORDS: Readonly<Record<number, string>> = {
  401: "You are signed out. Reload the page to go on.",
  403: "This is not yours to change.",
  404: "This no longer exists. It may have been deleted in another tab.",
  413: "That is too large to send.",
  429: "That was a lot at once. Wait a moment and try again.",
};

/** The Problem that an HTTP answer stands for, whatever its body turns out to be. */
export function problemOf(status: number, contentType: string, text: string, traceId: string): Problem {
  let body: Record<string, unknown> = {};
  if (contentType.includes("json")) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed === "object" && parsed !== null) body = parsed as Record<string, unknown>;
    } catch {
      body = {}; // a cut-off body: the status alone has to say it
    }
  }
  const reason = typeof body.type === "string" ? body.type.split("/").pop()! : `http_${status}`;
  const said = [body.detail, body.title].find((value) => typeof value === "string" && value !== "") as string | undefined;
  const words = said ?? WORDS[status] ?? (status >= 500 ? "Something went wrong on our side. Try again in a moment." : "That did not work.");
  return new Problem(status, reason, words, typeof body.trace_id === "string" ? body.trace_id : traceId, body);
}

export function unreachable(traceId: string): Problem {
  return new Problem(0, "unreachable", "Reel Ballers cannot be reached right now. Your work is kept here; try again when you are back online.", traceId);
}

export function tooSlow(traceId: string): Problem {
  return new Problem(0, "timeout", "The answer took too long. It may have gone through: try again, it will not be done twice.", traceId);
}

/** Anything thrown, as a Problem: a bug of ours must be seen, too. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(0, "app_error", error instanceof Error ? error.message : String(error), "");
}
