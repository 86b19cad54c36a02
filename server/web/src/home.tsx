// SPDX-License-Identifier: Apache-2.0
// The first view: choose a model, how to convert it, and what was converted before.
import { useEffect, useRef, useState } from "preact/hooks";
import * as api from "./api";
import { ApiError, type Parts } from "./api";
import { bytes, plural } from "./format";
import { conversionQuery, defaults, inspectionQuery, OptionsForm, type Options } from "./options";
import { Announce, Icon } from "./parts";
import { Recent } from "./recent";
import type { Capabilities, Job, Report } from "./report";
import { ReportDetails, Reasons, RefusedVerdict } from "./verdict";
import { remember } from "./storage";

type PartName = keyof Parts;
const partNames: Record<PartName, string> = { model: "Model", architecture: "Architecture", reference: "Reference outputs" };

/** What a file is, by its name. */
function partOf(file: File): PartName {
  if (/\.json$/i.test(file.name)) return "architecture";
  return /\.npz$/i.test(file.name) ? "reference" : "model";
}

interface Sending {
  what: "convert" | "inspect";
  sent: number;
}

export function Home({ service }: { service: Capabilities | null }) {
  const [files, setFiles] = useState<Partial<Parts>>({});
  const [options, setOptions] = useState<Options>(defaults);
  const [sending, setSending] = useState<Sending | null>(null);
  const [trouble, setTrouble] = useState<ApiError | null>(null);
  const [inspection, setInspection] = useState<Report | null>(null);
  const abort = useRef<AbortController | null>(null);
  useEffect(() => {
    document.title = "h5pt: Keras in, PyTorch out";
    return () => abort.current?.abort();
  }, []);

  const limit = service?.limits.upload_bytes;
  const total = Object.values(files).reduce((sum, file) => sum + (file?.size ?? 0), 0);
  const tooLarge = limit !== undefined && total > limit;

  const take = (list: Iterable<File>, part?: PartName) => {
    const taken: Partial<Parts> = {};
    for (const file of list) taken[part ?? partOf(file)] = file;
    setFiles((before) => ({ ...before, ...taken }));
    setTrouble(null);
    setInspection(null);
  };

  const run = async (what: Sending["what"]) => {
    const model = files.model!;
    setTrouble(null);
    setInspection(null);
    setSending({ what, sent: 0 });
    abort.current = new AbortController();
    const send = <T,>(path: string) => api.send<T>(path, { ...files, model }, (sent) => setSending({ what, sent }), abort.current!.signal);
    try {
      if (what === "inspect") {
        setInspection(await send<Report>("/v1/inspect" + inspectionQuery(options)));
      } else {
        const job = await send<Job>("/v1/conversions" + conversionQuery(options));
        remember({ id: job.id, name: model.name, bytes: model.size, at: Date.now(), outcome: null });
        location.hash = job.id;
      }
    } catch (error) {
      if (error instanceof ApiError) setTrouble(error);
      else if ((error as Error).name !== "AbortError") throw error;
    }
    setSending(null);
  };

  return (
    <div class="home">
      <div class="lead">
        <h1>
          Keras in, PyTorch out, <em>proven equal</em>
        </h1>
        <p>Both models are run side by side, layer by layer. You get PyTorch when they agree, and every reason when they do not.</p>
      </div>
      <div class="card start">
        <DropZone files={files} busy={sending !== null} limit={limit} onFiles={take} onRemove={(part) => setFiles((before) => ({ ...before, [part]: undefined }))} />
        {tooLarge && (
          <p class="note bad" role="alert">
            That is {bytes(total)}; this service takes {bytes(limit)} at most.
          </p>
        )}
        {trouble && <Trouble error={trouble} />}
        {sending ? (
          <Upload sending={sending} total={total} onCancel={() => abort.current?.abort()} />
        ) : (
          files.model && (
            <p class="buttons">
              <button class="primary" disabled={tooLarge} onClick={() => void run("convert")}>
                Convert
              </button>
              <button disabled={tooLarge} onClick={() => void run("inspect")}>
                Would it convert?
              </button>
            </p>
          )
        )}
        <OptionsForm service={service} options={options} disabled={sending !== null} onChange={setOptions} onFile={(part, file) => take([file], part)} />
      </div>
      {inspection && <Inspection report={inspection} name={files.model?.name ?? ""} />}
      {!inspection && <Recent />}
    </div>
  );
}

function DropZone({ files, busy, limit, onFiles, onRemove }: { files: Partial<Parts>; busy: boolean; limit?: number; onFiles: (files: Iterable<File>) => void; onRemove: (part: PartName) => void }) {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const chosen = (Object.keys(partNames) as PartName[]).filter((part) => files[part]);
  // A file that is dropped beside the zone must not replace the page.
  useEffect(() => {
    const keep = (event: DragEvent) => event.preventDefault();
    addEventListener("dragover", keep);
    addEventListener("drop", keep);
    return () => (removeEventListener("dragover", keep), removeEventListener("drop", keep));
  }, []);
  return (
    <div
      class={`drop${over ? " over" : ""}${chosen.length ? " chosen" : ""}`}
      onDragOver={() => setOver(!busy)}
      onDragLeave={(event) => !event.currentTarget.contains(event.relatedTarget as Node) && setOver(false)}
      onDrop={(event) => {
        setOver(false);
        if (!busy && event.dataTransfer?.files.length) onFiles(event.dataTransfer.files);
      }}
    >
      {chosen.length ? (
        <ul class="files" aria-label="Chosen files">
          {chosen.map((part) => (
            <li key={part}>
              <Icon name="file" />
              <span class="name">
                <span class="sr-only">{partNames[part]}: </span>
                {files[part]!.name}
              </span>
              <span class="dim">
                {part !== "model" && `${partNames[part].toLowerCase()}, `}
                {bytes(files[part]!.size)}
              </span>
              <button class="bare" disabled={busy} aria-label={`Remove ${files[part]!.name}`} onClick={() => onRemove(part)}>
                <Icon name="cross" />
              </button>
            </li>
          ))}
        </ul>
      ) : (
        <Icon name="upload" />
      )}
      <p>
        <label class="pick">
          <input
            ref={input}
            class="sr-only"
            type="file"
            multiple
            accept=".h5,.hdf5,.keras,.json,.npz"
            disabled={busy}
            onChange={() => {
              onFiles([...input.current!.files!]);
              input.current!.value = "";
            }}
          />
          <span>{files.model ? "Choose another file" : "Choose a model"}</span>
        </label>{" "}
        {!files.model && <span class="dim">or drop it here</span>}
      </p>
      {!chosen.length && (
        <p class="hint">
          <code>.h5</code>, <code>.keras</code>, or <code>.weights.h5</code> with the <code>.json</code> of its architecture
          {limit ? `, up to ${bytes(limit)}` : ""}. All Keras versions; nothing in the file is executed.
        </p>
      )}
    </div>
  );
}

function Upload({ sending, total, onCancel }: { sending: Sending; total: number; onCancel: () => void }) {
  const { sent, what } = sending;
  const done = sent >= 1;
  const text = done ? (what === "inspect" ? "Looking into the file…" : "Waiting for the service…") : `Uploading: ${bytes(sent * total)} of ${bytes(total)}`;
  return (
    <div class="upload">
      <progress aria-label="Upload" value={done ? undefined : sent} />
      <p>
        <span>{text}</span>
        <button class="small" onClick={onCancel}>
          Cancel
        </button>
      </p>
      <Announce text={done ? text : "Uploading"} />
    </div>
  );
}

function Trouble({ error }: { error: ApiError }) {
  return (
    <div class="note bad" role="alert">
      <strong>{error.problem?.title ?? "That did not work"}</strong>
      <p>{error.message}</p>
      {error.retryAfter && <p>Try again in {plural(error.retryAfter, "second")}.</p>}
      {error.problem && <code class="code">{error.problem.code}</code>}
    </div>
  );
}

function Inspection({ report, name }: { report: Report; name: string }) {
  const heading = useRef<HTMLDivElement>(null);
  useEffect(() => {
    heading.current?.scrollIntoView({ block: "nearest" });
    heading.current?.focus({ preventScroll: true });
  }, [report]);
  const fine = report.verdict === "converted";
  return (
    <div class="inspection" ref={heading} tabIndex={-1} aria-label="What the file is">
      {fine ? (
        <section class="verdict good">
          <Icon name="check" />
          <div>
            <h2>It would convert</h2>
            <p>Every layer and setting of {name} has a counterpart in PyTorch. Nothing was kept; the comparison is part of the conversion.</p>
          </div>
        </section>
      ) : (
        <>
          <RefusedVerdict title="It would not convert" count={report.refusals.length} />
          <Reasons reasons={report.refusals} />
        </>
      )}
      <ReportDetails report={report} />
    </div>
  );
}
