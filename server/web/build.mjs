// SPDX-License-Identifier: Apache-2.0
// Bundles the web page:  node build.mjs PACKAGES OUT
// PACKAGES is the folder with package.json and node_modules, and `src`, a link to the sources. OUT gets the files, and assets.c,
// which puts them into the program (web.h).
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { gzipSync } from "node:zlib";

const [packages, out] = process.argv.slice(2).map((folder) => path.resolve(folder));
const esbuild = createRequire(path.join(packages, "package.json"))("esbuild");
const sources = path.join(packages, "src");

const mediaTypes = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};

const hash = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const files = []; // {path, bytes, namedByContent}

function addAsset(name, bytes) {
  const { name: stem, ext } = path.parse(name);
  const file = { path: `/assets/${stem}-${hash(bytes)}${ext}`, bytes: Buffer.from(bytes), namedByContent: true };
  files.push(file);
  return file.path;
}

// {"app.js": "/assets/app-….js", …}
async function bundle() {
  const result = await esbuild.build({
    absWorkingDir: packages,
    entryPoints: { app: "src/main.tsx", docs: "src/docs.ts" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    preserveSymlinks: true,
    legalComments: "none", // in LICENSES.txt
    metafile: true,
    write: false,
    outdir: "out",
    logLevel: "warning",
  });
  const names = Object.fromEntries(result.outputFiles.map((f) => [path.basename(f.path), addAsset(path.basename(f.path), f.contents)]));
  return { names, inputs: Object.keys(result.metafile.inputs) };
}

const packageOf = (input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];

// The licences of the packages that are in the bundles.
function licences(inputs) {
  const names = [...new Set(inputs.map(packageOf).filter(Boolean))].sort();
  const sections = names.map((name) => {
    const folder = path.join(packages, "node_modules", name);
    const about = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
    // swagger-ui-dist is a bundle itself; beside each of its files are the notices of what is in it.
    const notices = readdirSync(folder).filter(
      (file) => /^(licen[cs]e|notice|copying)/i.test(file) || inputs.includes(`node_modules/${name}/${file.replace(/\.LICENSE\.txt$/, "")}`) && file.endsWith(".LICENSE.txt"),
    );
    if (!notices.length) throw new Error(`${name} has no licence text`);
    const texts = notices.sort().map((file) => readFileSync(path.join(folder, file), "utf8").trim());
    return [`${about.name} ${about.version} (${about.license})`, ...texts].join("\n\n");
  });
  return ["The web page of h5pt (Apache-2.0) has parts of these packages in it.", ...sections].join(`\n\n${"-".repeat(80)}\n\n`) + "\n";
}

function addPage(pagePath, template, names) {
  const html = readFileSync(path.join(sources, template), "utf8").replace(/%([^%\s]+)%/g, (_, name) => {
    if (!names[name]) throw new Error(`${template} names ${name}, which is not there`);
    return names[name];
  });
  files.push({ path: pagePath, bytes: Buffer.from(html), mediaType: mediaTypes[".html"] });
}

// A C string or symbol for each file; .incbin takes its bytes.
function writeProgramPart() {
  const rows = [];
  const lines = [];
  const include = (symbol, bytes) => {
    const file = path.join(out, symbol);
    writeFileSync(file, bytes);
    lines.push(`        "${symbol}: .incbin \\"${file}\\"\\n"`);
    return `{${symbol}, ${bytes.length}}`;
  };
  files.forEach((file, i) => {
    const gzip = gzipSync(file.bytes, { level: 9 });
    const small = gzip.length < 0.9 * file.bytes.length ? include(`web_${i}_gzip`, gzip) : "{NULL, 0}";
    const identity = include(`web_${i}`, file.bytes);
    const type = file.mediaType ?? mediaTypes[path.extname(file.path)];
    rows.push(`    {"${file.path}", "${type}", "\\"${hash(file.bytes)}\\"", ${Boolean(file.namedByContent)}, ${identity}, ${small}},`);
    console.log(`${file.path.padEnd(40)} ${String(file.bytes.length).padStart(8)} ${String(gzip.length).padStart(8)} gzip`);
  });
  const symbols = lines.map((line) => /web_\w+/.exec(line)[0] + "[]");
  const text = [
    "/* Made by server/web/build.mjs. */",
    '#include "web/web.h"',
    '__asm__(".section .rodata\\n"',
    ...lines,
    '        ".previous\\n");',
    `extern const char ${symbols.join(", ")};`,
    "const struct web_file web_files[] = {",
    ...rows,
    "};",
    "const size_t web_file_count = sizeof web_files / sizeof *web_files;",
    "",
  ].join("\n");
  writeFileSync(path.join(out, "assets.c"), text);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const { names, inputs } = await bundle();
names["favicon.svg"] = addAsset("favicon.svg", readFileSync(path.join(sources, "favicon.svg")));
files.push({ path: "/assets/LICENSES.txt", bytes: Buffer.from(licences(inputs)) });
addPage("/", "index.html", names);
addPage("/docs", "docs.html", names);
writeProgramPart();
