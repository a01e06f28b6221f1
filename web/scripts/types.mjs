// Writes src/api/schema.ts from the gateway's OpenAPI document; with --check, fails when it is not fresh.
//
//   node scripts/types.mjs [--check] [openapi.json]
//
// Without a file, the document is what `python -m gateway.http.openapi` prints: PYTHON names the interpreter (default ../.venv/bin/python).
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
const TARGET = resolve(ROOT, "web/src/api/schema.ts");
const METHODS = ["get", "post", "put", "patch", "delete"];

function document(file) {
  if (file) return JSON.parse(readFileSync(file, "utf8"));
  const beside = resolve(ROOT, ".venv/bin/python");
  const python = process.env.PYTHON ?? (existsSync(beside) ? beside : "python3");
  const roots = ["services", "protos/gen"].map((folder) => resolve(ROOT, folder));
  const env = { ...process.env, PYTHONPATH: roots.join(delimiter) };
  return JSON.parse(execFileSync(python, ["-m", "gateway.http.openapi"], { cwd: ROOT, env, encoding: "utf8", maxBuffer: 64 << 20 }));
}

/** A JSON Schema as a TypeScript type. What is not understood is an error: a guess would hide a change. */
function type(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const many = schema.anyOf ?? schema.oneOf;
  if (many) return many.map(type).join(" | ");
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      return schema.items.anyOf || schema.items.enum ? `(${type(schema.items)})[]` : `${type(schema.items)}[]`;
    case "object":
      return objectType(schema);
    default:
      if (Object.keys(schema).every((key) => key === "title" || key === "description" || key === "default")) return "unknown";
      throw new Error(`no TypeScript for ${JSON.stringify(schema)}`);
  }
}

function objectType(schema) {
  if (!schema.properties) return `Record<string, ${typeof schema.additionalProperties === "object" ? type(schema.additionalProperties) : "unknown"}>`;
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).map(([name, field]) => `${name}${required.has(name) ? "" : "?"}: ${type(field)}`);
  return `{ ${fields.join("; ")} }`;
}

function parameters(operation, shared, where) {
  const found = [...shared, ...(operation.parameters ?? [])].filter((one) => one.in === where);
  if (found.length === 0) return "None";
  return `{ ${found.map((one) => `${one.name}${one.required ? "" : "?"}: ${type(one.schema)}`).join("; ")} }`;
}

function reply(operation) {
  const kinds = Object.entries(operation.responses)
    .filter(([status]) => status.startsWith("2"))
    .map(([, answer]) => answer.content?.["application/json"]?.schema)
    .map((schema) => (schema ? type(schema) : "undefined"));
  return [...new Set(kinds)].join(" | ") || "undefined";
}

function typescript(api) {
  const lines = ["// Types of the gateway's API, written by scripts/types.mjs from its OpenAPI document. Not edited by hand: `npm run types`.", ""];
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const text = type(schema);
    lines.push(text.startsWith("{") ? `export interface ${name} ${text}` : `export type ${name} = ${text};`);
  }
  lines.push("", "type None = Record<string, never>;", "interface Call<Path, Query, Body, Reply> { path: Path; query: Query; body: Body; reply: Reply }", "", "export interface Routes {");
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => methods[one])) {
      const operation = methods[method];
      const shared = methods.parameters ?? [];
      const schema = operation.requestBody?.content?.["application/json"]?.schema;
      const body = schema ? type(schema) : "undefined";
      const types = [parameters(operation, shared, "path"), parameters(operation, shared, "query"), body, reply(operation)];
      lines.push(`  "${method.toUpperCase()} ${path}": Call<${types.join(", ")}>;`);
    }
  }
  return [...lines, "}", ""].join("\n");
}

const check = process.argv.includes("--check");
const text = typescript(document(process.argv.slice(2).find((argument) => !argument.startsWith("--"))));
if (!check) writeFileSync(TARGET, text);
else if (!existsSync(TARGET) || readFileSync(TARGET, "utf8") !== text) {
  console.error("src/api/schema.ts is not what the gateway says now: run `npm run types`.");
  process.exitCode = 1;
}
