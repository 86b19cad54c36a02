// SPDX-License-Identifier: Apache-2.0
// One conversion: its way through the service, then its outcome.
import { useEffect, useRef, useState } from "preact/hooks";
import * as api from "./api";
import { ApiError } from "./api";
import { Code } from "./code";
import { ago, bytes, difference, plural, shape, when } from "./format";
import { Announce, CopyButton, Icon, Section, ViewTitle } from "./parts";
import { Picture } from "./picture";
import { ParityPlot } from "./plot";
import { hasFinished, type Artifact, type Job, type Parity, type Report } from "./report";
import { Snippets } from "./snippets";
import { forget, key, recent, remember } from "./storage";
import { ReportDetails, Verdict } from "./verdict";

interface Known {
  job: Job | null;
  report: Report | null;
  /** What keeps the page from knowing more; the conversion goes on. */
  trouble: string | null;
  gone: boolean;
}

function nameOf(job: Job): string {
  return job.model.filename ?? recent().find((entry) => entry.id === job.id)?.name ?? "model";
}

/** Follows a conversion as long as the view is there. */
function useJob(id: string): Known {
  const [known, setKnown] = useState<Known>({ job: null, report: null, trouble: null, gone: false });
  const add = (more: Partial<Known>) => setKnown((before) => ({ ...before, ...more }));
  useEffect(() => {
    const abort = new AbortController();
    const run = async () => {
      let last: Job | null = null;
      await api.follow(id, (job) => add({ job: (last = job) }), (trouble) => add({ trouble }), abort.signal);
      const job = last as Job | null;
      if (job?.artifacts.some((artifact) => artifact.name === "report.json")) add({ report: await api.report(id, abort.signal) });
    };
    run().catch((error: unknown) => {
      if (abort.signal.aborted) return;
      const status = error instanceof ApiError ? error.problem?.status : undefined;
      add({ trouble: (error as Error).message, gone: status === 404 || status === 410 });
    });
    return () => abort.abort();
  }, [id]);

  const { job } = known;
  useEffect(() => {
    if (!job) return;
    const before = recent().find((entry) => entry.id === id);
    const outcome = hasFinished(job) ? (job.state === "succeeded" || job.state === "failed" ? (job.verdict ?? job.state) : job.state) : null;
    remember({ id, name: nameOf(job), bytes: job.model.bytes, at: before?.at ?? Date.parse(job.created_at), outcome });
  }, [job?.state]);

  // A place in the queue changes without an event of this job.
  const queued = job?.state === "queued";
  useEffect(() => {
    if (!queued) return;
    const timer = setInterval(() => {
      api.job(id).then(
        ({ queue_place }) => setKnown((now) => (now.job?.state === "queued" ? { ...now, job: { ...now.job, queue_place } } : now)),
        () => undefined, // whoever follows the job says what is wrong
      );
    }, 2000);
    return () => clearInterval(timer);
  }, [queued]);
  return known;
}

const stages: [string, string][] = [
  ["read", "Read the file"],
  ["graph", "Understand the Keras model"],
  ["lower", "Turn it into PyTorch"],
  ["write", "Write the files"],
  ["parity", "Run both, compare"],
  ["report", "Write the report"],
];

function queueText(job: Job): string {
  if (!job.queue_place) return "Waiting for a free worker";
  if (job.queue_place === 1) return "Next in the queue";
  return `${plural(job.queue_place - 1, "conversion")} before it in the queue`;
}

function Progress({ job, onCancel }: { job: Job; onCancel: () => void }) {
  const now = job.state === "queued" ? -1 : Math.max(0, stages.findIndex(([id]) => id === job.stage));
  const part = job.progress ?? 0;
  const text = now < 0 ? queueText(job) : stages[now]![1];
  return (
    <section class="card progress" aria-labelledby="progress-title">
      <div class="heading">
        <h2 id="progress-title">{now < 0 ? text : "Converting"}</h2>
        <button class="small" onClick={onCancel}>
          Cancel
        </button>
      </div>
      <progress aria-label="Conversion" value={now < 0 ? undefined : (now + part) / stages.length} />
      <ol class="stages">
        {stages.map(([id, name], i) => (
          <li key={id} class={i < now ? "done" : i === now ? "now" : ""} aria-current={i === now ? "step" : undefined}>
            <span class="mark">{i < now && <Icon name="check" />}</span>
            {name}
            {i === now && part > 0 && part < 1 && <span class="dim"> {Math.round(part * 100)} %</span>}
          </li>
        ))}
      </ol>
      <Announce text={text} />
    </section>
  );
}

const about: Record<string, string> = {
  "model.pt": "The weights: a state_dict, loads with weights_only=True",
  "model.py": "The nn.Module they belong to",
  "model.pt2": "For torch.export.load",
  "model.torchscript.pt": "For torch.jit.load",
  "model.safetensors": "The weights as safetensors",
  "model.svg": "The network as a picture",
  "report.json": "Every layer, weight and difference",
};

function DownloadLink({ id, name, children, className }: { id: string; name: string; children: preact.ComponentChildren; className?: string }) {
  const [trouble, setTrouble] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const path = api.artifactPath(id, name);
  // A link cannot send the key: then the file goes through the memory of the page.
  const withKey = (event: Event) => {
    if (!key()) return;
    event.preventDefault();
    setBusy(true);
    api.save(path, name).then(() => setTrouble(null), (error: Error) => setTrouble(error.message)).finally(() => setBusy(false));
  };
  return (
    <a class={className} href={path} download={name} onClick={withKey} aria-busy={busy}>
      {children}
      {trouble && <span class="bad"> {trouble}</span>}
    </a>
  );
}

function Downloads({ job }: { job: Job }) {
  const total = job.artifacts.reduce((sum, artifact) => sum + artifact.bytes, 0);
  const item = (artifact: Artifact) => (
    <li key={artifact.name}>
      <DownloadLink id={job.id} name={artifact.name}>
        <Icon name="download" />
        <span>
          <strong>{artifact.name}</strong> <span class="size">{bytes(artifact.bytes)}</span>
          <span class="dim">{about[artifact.name]}</span>
        </span>
      </DownloadLink>
    </li>
  );
  return (
    <Section
      id="files"
      title="Files"
      aside={
        <DownloadLink id={job.id} name="all.zip" className="button primary">
          <Icon name="download" /> all.zip <span class="size">{bytes(total)}</span>
        </DownloadLink>
      }
    >
      <ul class="downloads">{job.artifacts.map(item)}</ul>
      {job.expires_at && <p class="hint">Kept until {when(job.expires_at)}.</p>}
    </Section>
  );
}

function Comparison({ report, parity, selected, onSelect }: { report: Report; parity: Parity; selected: number | null; onSelect: (layer: number) => void }) {
  return (
    <Section id="parity" title="Comparison">
      <ParityPlot layers={report.layers} tolerance={parity.tolerance} selected={selected} onSelect={onSelect} />
      <table class="cases" role="table" aria-label="Sets of inputs">
        <thead role="rowgroup">
          <tr role="row">
            {["Inputs", "Shapes", "Absolute", "Relative"].map((name, i) => (
              <th key={name} role="columnheader" scope="col" class={i > 1 ? "number" : undefined}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {parity.cases.map((one) => (
            <tr key={one.name} role="row">
              <th role="rowheader" scope="row">
                {one.name}
              </th>
              <td role="cell">
                <code>{one.input_shapes.map(shape).join(" ")}</code>
              </td>
              <td role="cell" class={one.ok ? "number" : "number bad"} data-label="absolute">
                {difference(one.max_abs)}
              </td>
              <td role="cell" class={one.ok ? "number" : "number bad"} data-label="relative">
                {difference(one.max_rel)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="hint">“Relative” is the difference divided by the largest number of the tensor; {difference(parity.tolerance)} is allowed.</p>
    </Section>
  );
}

function Source({ job }: { job: Job }) {
  const [text, setText] = useState<string | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    api
      .request(api.artifactPath(job.id, "model.py"), { signal: abort.signal })
      .then((response) => response.text())
      .then(setText)
      .catch((error: Error) => !abort.signal.aborted && setText("# " + error.message));
    return () => abort.abort();
  }, [job.id]);
  return (
    <Section id="code" title="model.py">
      {text !== null && <Code text={text} language="python" label="model.py" />}
    </Section>
  );
}

function Outcome({ job, report }: { job: Job; report: Report | null }) {
  const [selected, setSelected] = useState<number | null>(null);
  const has = (name: string) => job.state === "succeeded" && job.artifacts.some((artifact) => artifact.name === name);
  const comparison = report?.parity && report.layers.some((layer) => layer.parity) && <Comparison report={report} parity={report.parity} selected={selected} onSelect={setSelected} />;
  return (
    <>
      <Verdict job={job} report={report} />
      {job.state === "succeeded" && <Downloads job={job} />}
      {report && <ReportDetails report={report} between={comparison} selected={selected} onSelect={setSelected} />}
      {has("model.py") && <Source job={job} />}
      {has("model.svg") && (
        <Section id="picture" title="Picture">
          <Picture path={api.artifactPath(job.id, "model.svg")} name={nameOf(job)} />
        </Section>
      )}
      {job.state !== "expired" && job.state !== "canceled" && <Snippets job={job} report={report} />}
      {job.state === "failed" && job.artifacts.length > 0 && (
        <p class="hint">
          <DownloadLink id={job.id} name="report.json">
            report.json
          </DownloadLink>{" "}
          has all of this for programs.
        </p>
      )}
    </>
  );
}

const verdictWords: Record<string, string> = { converted: "✓ ", refused: "✗ ", parity_failed: "✗ ", failed: "✗ " };

export function JobView({ id, section }: { id: string; section: string | null }) {
  const { job, report, trouble, gone } = useJob(id);
  const [refusal, setRefusal] = useState<string | null>(null);
  const shownSection = useRef<string | null>(null);
  const finished = job !== null && hasFinished(job);
  const name = job ? nameOf(job) : "";

  useEffect(() => {
    document.title = job ? `${verdictWords[finished ? (job.verdict ?? job.state) : ""] ?? ""}${name} – h5pt` : "h5pt";
  }, [job?.state, name]);
  // The section that the address names, as soon as it is there.
  useEffect(() => {
    if (!section || shownSection.current === section || !report) return;
    const heading = document.getElementById(`${section}-title`);
    if (!heading) return;
    shownSection.current = section;
    heading.closest("section")!.scrollIntoView();
    heading.focus({ preventScroll: true });
  }, [section, report]);

  const remove = () =>
    api.removeJob(id).then(
      () => {
        if (!finished) return; // canceled: its state says so
        forget(id);
        location.hash = "";
      },
      (error: Error) => setRefusal(error.message),
    );

  if (gone)
    return (
      <div class="conversion">
        <ViewTitle>There is no such conversion</ViewTitle>
        <p>It was removed, or its time is over. Conversions are kept for a while after they have finished.</p>
        <p class="buttons">
          <a class="button primary" href="#" onClick={() => forget(id)}>
            Convert a model
          </a>
        </p>
      </div>
    );
  return (
    <div class="conversion">
      <div class="title">
        <div>
          <ViewTitle className="name">{name || "…"}</ViewTitle>
          {job && (
            <p class="dim">
              {bytes(job.model.bytes)} · {ago(job.created_at)} · SHA-256 <code>{job.model.sha256.slice(0, 12)}</code>
            </p>
          )}
        </div>
        {finished && (
          <p class="buttons">
            <CopyButton text={location.href} what="to this conversion" label="Copy link" />
            <button class="small" onClick={() => void remove()}>
              <Icon name="trash" /> Delete
            </button>
          </p>
        )}
      </div>
      {(refusal ?? trouble) && (
        <p class="note bad" role="alert">
          {refusal ?? trouble}
        </p>
      )}
      {job && !finished && <Progress job={job} onCancel={() => void remove()} />}
      {finished && <SectionLinks id={id} job={job} report={report} />}
      {finished && <Outcome job={job} report={report} />}
      <Announce text={finished ? (document.getElementById("verdict-title")?.textContent ?? (job.state === "succeeded" ? "Converted" : "Not converted")) : ""} />
    </div>
  );
}

function SectionLinks({ id, job, report }: { id: string; job: Job; report: Report | null }) {
  const made = new Set(job.state === "succeeded" ? job.artifacts.map((artifact) => artifact.name) : []);
  const links: [string, string, unknown][] = [
    ["reasons", "Reasons", job.error?.refusals?.length],
    ["files", "Files", made.size],
    ["parity", "Comparison", report?.parity && report.layers.some((layer) => layer.parity)],
    ["layers", "Layers", report?.layers.length],
    ["code", "model.py", made.has("model.py")],
    ["picture", "Picture", made.has("model.svg")],
    ["use", job.state === "succeeded" ? "Use it" : "Without the page", job.state === "succeeded" || job.state === "failed"],
  ];
  const there = links.filter(([, , is]) => is);
  if (there.length < 3) return null;
  const show = (section: string) => {
    const heading = document.getElementById(`${section}-title`);
    heading?.closest("section")!.scrollIntoView();
    heading?.focus({ preventScroll: true });
  };
  return (
    <nav class="sections" aria-label="Sections">
      {there.map(([section, text]) => (
        <a key={section} href={`#${id}/${section}`} onClick={() => show(section)}>
          {text}
        </a>
      ))}
    </nav>
  );
}
