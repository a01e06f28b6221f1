// Times, sizes and dates as people read them. Pure.

/** 65,250 ms: "1:05.2"; an hour and more: "1:01:05.2". Tenths are cut, not rounded, so that a clock never shows what has not come. */
export function clock(ms: number, tenths = true): string {
  const whole = Math.max(0, Math.floor(ms / 100));
  const seconds = Math.floor(whole / 10);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const text = h > 0 ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
  return tenths ? `${text}.${whole % 10}` : text;
}

/** What the user typed for a time, in ms; null when it is none. Takes "75", "1:15", "1:15.4", "1:01:15". */
export function parseClock(text: string): number | null {
  const match = /^(?:(?:(\d+):)?(\d{1,3}):)?(\d{1,6}(?:[.,]\d{1,3})?)$/.exec(text.trim());
  if (!match) return null;
  const [, hours = "0", minutes = "0", seconds = "0"] = match;
  return Math.round((Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds.replace(",", "."))) * 1000);
}

/** A length in words: "8 s", "2 min", "1 h 5 min". */
export function span(ms: number): string {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** "2026-05-03" as the reader's locale writes a day; anything else as it is. */
export function day(text: string | null | undefined): string {
  if (!text || !/^\d{4}-\d{2}-\d{2}/.test(text)) return text ?? "";
  return new Date(`${text.slice(0, 10)}T12:00:00`).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}
