// Builds the app into dist/: one script, one style sheet, and Cloudflare Pages' files with the real origins in them.
//
// REEL_API_ORIGIN   the gateway, as the browser sees it (default http://localhost:8000)
// REEL_MEDIA_ORIGIN where presigned URLs point (default http://localhost:9000; R2: https://<account>.r2.cloudflarestorage.com)
import { readFileSync, writeFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const LOCAL_API = "http://localhost:8000";
const api = origin("REEL_API_ORIGIN", LOCAL_API);
const media = origin("REEL_MEDIA_ORIGIN", "http://localhost:9000");

function origin(name: string, otherwise: string): string {
  const text = process.env[name] ?? otherwise;
  if (!/^https?:\/\/[a-z0-9.*:[\]-]+$/i.test(text)) {
    throw new Error(`${name} must be an origin such as https://api.example.com, without a path; it is ${JSON.stringify(text)}`);
  }
  return text;
}

function origins(): Plugin {
  let folder = "";
  return {
    name: "reel-origins",
    configResolved: (config) => void (folder = config.build.outDir),
    transformIndexHtml: (html) => html.replaceAll(LOCAL_API, api),
    closeBundle() {
      const template = readFileSync("public/_headers", "utf8");
      const headers = template.replaceAll("{api}", api).replaceAll("{socket}", api.replace(/^http/, "ws")).replaceAll("{media}", media);
      writeFileSync(`${folder}/_headers`, headers);
    },
  };
}

export default defineConfig({
  plugins: [origins()],
  build: {
    target: ["chrome109", "firefox115", "safari16.4"],
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: { input: ["index.html", "404.html"] },
  },
  server: { port: 5173, strictPort: true },
  preview: { port: 5173, strictPort: true },
});
