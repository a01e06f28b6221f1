// Which key does what in the player, and when a key belongs to something else. Pure but for the element's own properties.

export type Action = "toggle" | "back" | "forward" | "mark-start" | "mark-end" | "frame-back" | "frame-forward" | "second-back" | "second-forward";

const KEYS: Readonly<Record<string, Action>> = {
  " ": "toggle",
  k: "toggle",
  j: "back",
  l: "forward",
  i: "mark-start",
  o: "mark-end",
  ",": "frame-back",
  ".": "frame-forward",
  arrowleft: "second-back",
  arrowright: "second-forward",
};

export interface Target {
  tagName: string;
  type?: string;
  isContentEditable?: boolean;
  role?: string | null;
}

const NOT_TYPED_INTO = new Set(["range", "checkbox", "radio", "button", "submit", "file", "color"]);

export function typing(target: Target | null): boolean {
  if (!target) return false;
  const tag = target.tagName.toLowerCase();
  if (target.isContentEditable || tag === "textarea" || tag === "select") return true;
  return tag === "input" && !NOT_TYPED_INTO.has(target.type ?? "text");
}

/** The action for a key pressed on `target`; null when the key is not ours: typing, shortcuts of the browser, space on a button, arrows on a slider. */
export function actionOf(key: string, modified: boolean, target: Target | null): Action | null {
  if (modified || typing(target)) return null;
  const action = KEYS[key.toLowerCase()] ?? null;
  if (!action || !target) return action;
  const tag = target.tagName.toLowerCase();
  const pressed = tag === "button" || tag === "a" || tag === "summary" || tag === "label" || (tag === "input" && target.type !== "range");
  if (action === "toggle" && key === " " && pressed) return null;
  const moves = tag === "input" || tag === "video" || target.role === "slider";
  return moves && action.startsWith("second") ? null : action;
}
