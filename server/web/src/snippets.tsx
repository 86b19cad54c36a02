// SPDX-License-Identifier: Apache-2.0
// The same conversion without the page.
import { useState } from "preact/hooks";
import { Code } from "./code";
import { queryOf } from "./options";
import { Choice, Section } from "./parts";
import type { Job, Report } from "./report";
import { key } from "./storage";

type Kind = "torch" | "curl" | "python";

const quoteShell = (text: string): string => (/^[\w./,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const quotePython = (text: string): string => JSON.stringify(text);

function loading(job: Job, report: Report | null): string {
  const input = report?.inputs[0];
  const dims = input?.torch_shape.map((d, i) => d ?? (i === 0 ? 1 : 64)).join(", ");
  const whole = /^(u?int|bool)/.test(input?.dtype ?? "");
  if (job.options.weights_only) return 'import torch\n\ntensors = torch.load("model.pt", weights_only=True)';
  return [
    "# model.py and model.pt are in the same folder; only torch is needed",
    "import torch",
    "from model import load",
    "",
    'net = load("model.pt")  # in eval mode',
    ...(input && report!.inputs.length === 1 ? [`x = torch.${whole ? "zeros" : "randn"}(${dims}${whole ? `, dtype=torch.${input.dtype}` : ""})`, "with torch.no_grad():", "    y = net(x)"] : []),
  ].join("\n");
}

function curl(job: Job, file: string): string {
  const query = queryOf(job.options);
  const auth = key() ? '  -H "Authorization: Bearer $H5PT_KEY" \\\n' : "";
  const url = (path: string) => quoteShell(location.origin + path);
  return [
    "# convert: the answer is an archive with everything",
    `curl --fail-with-body \\\n${auth}  -F ${quoteShell("model=@" + file)} \\\n  ${url("/v1/convert?format=zip" + (query && "&" + query))} \\\n  -o all.zip`,
    ...(job.state === "succeeded" ? ["", "# the weights of this conversion", `curl --fail -O \\\n${auth}  ${url(`/v1/conversions/${job.id}/artifacts/model.pt`)}`] : []),
  ].join("\n");
}

function python(job: Job, file: string): string {
  const options = Object.entries(job.options).filter(([, value]) => value !== null && value !== false);
  const params = ["format", ...options.map(([name]) => name)].map((name, i) => `${quotePython(name)}: ${i === 0 ? '"zip"' : quotePython(String(options[i - 1]![1]))}`);
  return [
    ...(key() ? ["import os"] : []),
    "import requests",
    "",
    `with open(${quotePython(file)}, "rb") as file:`,
    "    answer = requests.post(",
    `        ${quotePython(location.origin + "/v1/convert")},`,
    `        params={${params.join(", ")}},`,
    ...(key() ? ['        headers={"Authorization": "Bearer " + os.environ["H5PT_KEY"]},'] : []),
    '        files={"model": file},',
    "    )",
    "if not answer.ok:",
    '    raise SystemExit(answer.json()["detail"])',
    'print(answer.headers["H5PT-Verdict"], answer.headers.get("H5PT-Parity-Max-Abs"))',
    'with open("all.zip", "wb") as file:',
    "    file.write(answer.content)",
  ].join("\n");
}

export function Snippets({ job, report }: { job: Job; report: Report | null }) {
  const succeeded = job.state === "succeeded";
  const [kind, setKind] = useState<Kind>(succeeded ? "torch" : "curl");
  const file = job.model.filename ?? "model.h5";
  const kinds: [Kind, string][] = [
    ["curl", "curl"],
    ["python", "Python"],
  ];
  if (succeeded) kinds.unshift(["torch", "Load it"]);
  const text = { torch: loading, curl: (): string => curl(job, file), python: (): string => python(job, file) }[kind](job, report);
  return (
    <Section id="use" title={succeeded ? "Use it" : "Without the page"} aside={<Choice label="With" values={kinds} value={kind} onChange={setKind} />}>
      <Code text={text} language={kind === "curl" ? "bash" : "python"} label={kind === "curl" ? "the curl commands" : "the Python code"} />
    </Section>
  );
}
