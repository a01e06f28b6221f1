// Values between keys: the renderer's own definition, held to it by tests/vectors/keyframes.json. Pure.

export type Key = readonly [time: number, value: number];

/**
 * The value over time through keys of strictly rising times, at least one; before the first and after the last it is theirs.
 * Smooth is the monotone cubic with Brodlie's slopes: it never overshoots, and begins, ends and turns at rest.
 */
export function curve(keys: readonly Key[], smooth = true): (time: number) => number {
  const slopes = smooth ? slopesOf(keys) : null;
  const [first, last] = [keys[0]!, keys[keys.length - 1]!];
  return (time) => {
    if (time <= first[0]) return first[1];
    if (time >= last[0]) return last[1];
    const right = keys.findIndex((key) => key[0] > time);
    const [[from, low], [to, high]] = [keys[right - 1]!, keys[right]!];
    const [width, rise] = [to - from, high - low];
    const u = (time - from) / width;
    if (!slopes) return low + rise * u;
    const [a, b] = [slopes[right - 1]! * width, slopes[right]! * width];
    return low + u * (a + u * (3 * rise - 2 * a - b + u * (a + b - 2 * rise)));
  };
}

function slopesOf(keys: readonly Key[]): number[] {
  return keys.map((key, index) => {
    const [before, after] = [keys[index - 1], keys[index + 1]];
    if (!before || !after) return 0;
    const [h0, h1] = [key[0] - before[0], after[0] - key[0]];
    const [d0, d1] = [(key[1] - before[1]) / h0, (after[1] - key[1]) / h1];
    if (d0 * d1 <= 0) return 0;
    const [w0, w1] = [2 * h1 + h0, h1 + 2 * h0];
    return (w0 + w1) / (w0 / d0 + w1 / d1);
  });
}
