// Prints what a first visit downloads, and fails when it is over the budget (gzip: script 30 kB, style 5 kB, document 2 kB).
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const BUDGET = { js: 30_000, css: 5_000, html: 2_000 };
const files = ["index.html", ...readdirSync("dist/assets").map((name) => `assets/${name}`)];
const sums = { js: 0, css: 0, html: 0 };
for (const name of files) {
  const bytes = readFileSync(`dist/${name}`);
  const gzip = gzipSync(bytes, { level: 9 }).length;
  sums[name.split(".").pop()] += gzip;
  console.log(`${name.padEnd(32)} ${String(bytes.length).padStart(7)} bytes  ${String(gzip).padStart(6)} gzip`);
}
for (const [kind, limit] of Object.entries(BUDGET)) {
  console.log(`${kind.padEnd(5)} ${sums[kind]} of ${limit}`);
  if (sums[kind] > limit) process.exitCode = 1;
}
