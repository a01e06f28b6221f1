// Drives one <video>: signals for what it does, verbs for what it should do. Times are whole ms of the video's own clock.
import { signal } from "@preact/signals";

export class PlayerControl {
  readonly timeMs = signal(0);
  readonly durationMs = signal(0);
  readonly playing = signal(false);
  readonly speed = signal(1);
  readonly failed = signal(false);
  private video: HTMLVideoElement | null = null;
  private stopAtMs: number | null = null;
  private wantedMs: number | null = null;
  private reloads = 0;

  /** Takes over the element; returns what lets it go. */
  attach(video: HTMLVideoElement): () => void {
    this.video = video;
    const off = new AbortController();
    const on = (name: string, act: () => void): void => video.addEventListener(name, act, { signal: off.signal });
    on("loadedmetadata", () => this.opened());
    on("durationchange", () => (this.durationMs.value = Number.isFinite(video.duration) ? Math.round(video.duration * 1000) : 0));
    on("timeupdate", () => this.moved());
    on("seeking", () => (this.timeMs.value = this.now()));
    on("seeked", () => this.moved());
    on("play", () => this.run());
    on("pause", () => (this.playing.value = false));
    on("ended", () => (this.playing.value = false));
    on("error", () => this.broke());
    if (video.readyState > 0) this.opened();
    return () => {
      off.abort();
      this.video = null;
      this.playing.value = false;
    };
  }

  /** Where the video is, or is on its way to. */
  now(): number {
    return this.video && this.video.readyState > 0 ? Math.round(this.video.currentTime * 1000) : this.timeMs.peek();
  }

  /** Another file is about to be shown. */
  reset(): void {
    this.stopAtMs = this.wantedMs = null;
    this.reloads = 0;
    this.failed.value = false;
    this.timeMs.value = this.durationMs.value = 0;
  }

  toggle(): void {
    if (this.video && this.video.paused) this.play();
    else this.pause();
  }

  play(): void {
    // A refused or interrupted play is told by the element's own events; the promise says nothing more.
    this.video?.play().catch(() => (this.playing.value = false));
  }

  pause(): void {
    this.stopAtMs = null;
    this.video?.pause();
  }

  seek(ms: number): void {
    this.stopAtMs = null;
    this.jump(ms);
  }

  nudge(ms: number): void {
    this.seek(this.now() + ms);
  }

  /** One frame on or back: to the middle of its time on screen, so that rounding cannot show its neighbour. */
  step(frames: number, fps: number): void {
    this.pause();
    const now = Math.floor((this.now() * fps) / 1000 + 1e-3);
    this.jump(((Math.max(0, now + frames) + 0.5) * 1000) / fps);
  }

  playRange(startMs: number, endMs: number): void {
    this.jump(startMs);
    this.stopAtMs = endMs;
    this.play();
  }

  setSpeed(speed: number): void {
    this.speed.value = speed;
    if (this.video) this.video.playbackRate = speed;
  }

  private jump(ms: number): void {
    const target = Math.max(0, Math.min(ms, this.durationMs.peek() || ms));
    this.timeMs.value = Math.round(target);
    if (this.video && this.video.readyState > 0) this.video.currentTime = target / 1000;
    else this.wantedMs = target;
  }

  private opened(): void {
    const video = this.video!;
    this.failed.value = false;
    video.playbackRate = this.speed.peek();
    if (this.wantedMs !== null) video.currentTime = this.wantedMs / 1000;
    this.wantedMs = null;
  }

  private run(): void {
    this.playing.value = true;
    const tick = (): void => {
      if (!this.video || this.video.paused) return;
      this.moved();
      requestAnimationFrame(tick);
    };
    tick();
  }

  private moved(): void {
    const video = this.video;
    if (!video || video.seeking) return;
    this.timeMs.value = Math.round(video.currentTime * 1000);
    if (this.stopAtMs !== null && this.timeMs.peek() >= this.stopAtMs) {
      const end = this.stopAtMs;
      this.pause();
      this.jump(end);
    }
  }

  /** The address may have run out while the tab slept: ask for it again where the viewer was, a few times, then say so. */
  private broke(): void {
    const video = this.video!;
    if (video.error?.code === MediaError.MEDIA_ERR_NETWORK && this.reloads++ < 3) {
      this.wantedMs = this.timeMs.peek();
      video.load();
    } else {
      this.failed.value = true;
    }
  }
}
