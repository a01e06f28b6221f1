// What can be learnt from a file on the user's device without sending it: its fingerprint, its length and its picture size.
import { hex } from "../api/ids";
import { sampleRanges } from "./plan";

/** SHA-256 over the size and three samples: tells whether a file chosen again is the one whose upload was begun. 64 hex digits. */
export async function fingerprint(file: Blob): Promise<string> {
  const samples = await Promise.all(sampleRanges(file.size).map(([start, end]) => file.slice(start, end).arrayBuffer()));
  const text = new TextEncoder().encode(`${file.size}\n`);
  const whole = new Blob([text, ...samples]);
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", await whole.arrayBuffer())));
}

export interface Footage {
  duration_ms?: number;
  width?: number;
  height?: number;
}

/** What this browser can tell of a video; nothing when it cannot play it: the server probes it anyway. */
export function inspect(address: string, limitMs = 6_000): Promise<Footage> {
  return new Promise((resolve) => {
    const video = document.createElement("video");
    const end = (footage: Footage): void => {
      clearTimeout(timer);
      video.onloadedmetadata = video.onerror = null;
      video.removeAttribute("src");
      video.load();
      resolve(footage);
    };
    const timer = setTimeout(() => end({}), limitMs);
    video.preload = "metadata";
    video.muted = true;
    video.onerror = () => end({});
    video.onloadedmetadata = () => {
      const length = Number.isFinite(video.duration) && video.duration > 0 ? { duration_ms: Math.round(video.duration * 1000) } : {};
      end(video.videoWidth > 0 ? { ...length, width: video.videoWidth, height: video.videoHeight } : length);
    };
    video.src = address;
  });
}

/** The end of a file's name that the server keeps: at most 200 characters, none of them invisible. */
export function keptName(fileName: string): string {
  return fileName.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, "").slice(-200) || "video";
}

/** A name for the game out of a file's: no extension, no underscores. */
export function gameName(fileName: string): string {
  const name = keptName(fileName)
    .replace(/\.[a-z0-9]{2,5}$/i, "")
    .replace(/[_]+/g, " ")
    .trim();
  return name.slice(0, 120) || "New game";
}

const TYPES: Readonly<Record<string, string>> = { mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime", mkv: "video/x-matroska", webm: "video/webm", avi: "video/x-msvideo", ts: "video/mp2t", mts: "video/mp2t" };

export function contentType(file: File): string {
  const said = file.type.toLowerCase();
  return /^video\/[a-z0-9][a-z0-9.+-]*$/.test(said) ? said : TYPES[file.name.split(".").pop()?.toLowerCase() ?? ""] || "application/octet-stream";
}
