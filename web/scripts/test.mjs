// Runs tests/*.test.ts with Node's own test runner: bundled by the builder that the app uses, so that they run what it ships.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const web = resolve(fileURLToPath(import.meta.url), "../..");
const folder = mkdtempSync(join(tmpdir(), "reel-web-tests-"));
const entries = readdirSync(join(web, "tests")).filter((name) => name.endsWith(".test.ts"));
try {
  await build({
    root: web,
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    ssr: { noExternal: true },
    build: { ssr: true, outDir: folder, emptyOutDir: true, minify: false, rolldownOptions: { input: entries.map((name) => join(web, "tests", name)) } },
  });
  const tests = readdirSync(folder).filter((name) => name.includes(".test")).map((name) => join(folder, name));
  const { status } = spawnSync(process.execPath, ["--test", "--test-reporter=spec", ...process.argv.slice(2), ...tests], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
