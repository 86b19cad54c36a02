// SPDX-License-Identifier: Apache-2.0
// The verdict of a conversion, and what the report says beside it.
import type { ComponentChildren } from "preact";
import { bytes, count, difference, duration, plural, rounded, shape } from "./format";
import { LayerTable } from "./layers";
import { Icon, Section } from "./parts";
import type { Interface, Job, Parity, ParitySummary, Refusal, Report } from "./report";

type Tone = "good" | "bad" | "warn" | "plain";

function Banner({ tone, title, children }: { tone: Tone; title: string; children?: ComponentChildren }) {
  return (
    <section class={`verdict ${tone}`} aria-label="Verdict">
      <Icon name={tone === "good" ? "check" : tone === "bad" ? "cross" : tone === "warn" ? "warn" : "dash"} />
      <div>
        <h2 id="verdict-title">{title}</h2>
        {children}
      </div>
    </section>
  );
}

export const RefusedVerdict = ({ title, count: n }: { title: string; count: number }) => (
  <Banner tone="bad" title={title}>
    <p>
      {n === 1 ? "There is one reason" : `There are ${n} reasons`}. Rather than a model that computes something else, you get what stands in the way.
    </p>
  </Banner>
);

/** Layer and key first: that is what one looks for in the own code. */
export function Reasons({ reasons }: { reasons: Refusal[] }) {
  return (
    <Section id="reasons" title={plural(reasons.length, "reason")}>
      <ol class="reasons">
        {reasons.map((reason, i) => (
          <li key={i}>
            <p class="message">{reason.message}</p>
            <p class="where">
              {reason.layer && (
                <span>
                  layer <code>{reason.layer}</code>
                </span>
              )}
              {reason.key && (
                <span>
                  setting <code>{reason.key}</code>
                </span>
              )}
              <code class="code">{reason.code}</code>
            </p>
          </li>
        ))}
      </ol>
    </Section>
  );
}

function ConvertedVerdict({ job, report }: { job: Job; report: Report | null }) {
  const parity: ParitySummary | null = job.parity;
  const details = report?.parity;
  if (job.options.weights_only)
    return (
      <Banner tone="plain" title="The tensors are out">
        <p>They are as the file stores them, under their Keras names. Without an architecture there is no model to compare.</p>
      </Banner>
    );
  if (!parity)
    return (
      <Banner tone="warn" title="Converted, not compared">
        <p>The comparison was switched off. Nothing proves that both models compute the same.</p>
      </Banner>
    );
  return (
    <Banner tone="good" title="Converted. Both compute the same.">
      <p>
        The outputs differ by <strong>{difference(parity.max_abs)}</strong> at most; relative to their size by <strong>{difference(parity.max_rel)}</strong>, where {difference(parity.tolerance)} is allowed.
      </p>
      {details && <p class="dim">Both were run on {plural(details.cases.length, "set of inputs", "sets of inputs")} and compared after every layer.</p>}
      {details?.reference_vectors && (
        <p>
          They match the outputs of your own Keras, too: {plural(details.reference_vectors.samples, "sample")}, {difference(details.reference_vectors.max_abs)} at most.
        </p>
      )}
    </Banner>
  );
}

function DifferingVerdict({ parity }: { parity: Parity | null | undefined }) {
  const first = parity?.first_divergence;
  const vectors = parity?.reference_vectors;
  return (
    <Banner tone="bad" title="The results differ">
      {first && (
        <p>
          They part at layer <code>{first.layer}</code> ({first.class}), with the inputs “{first.case}”, by <strong>{difference(first.max_abs)}</strong>.
        </p>
      )}
      {vectors && !vectors.ok && (
        <p>
          The outputs differ from those of your own Keras by <strong>{difference(vectors.max_abs)}</strong>; relative to their size by {difference(vectors.max_rel)}, where {difference(vectors.tolerance)} is allowed.
          {!first && " What h5pt itself computes of the Keras model agrees with PyTorch: were those outputs made with this model, and these inputs?"}
        </p>
      )}
      <p class="dim">No model is given back, since it would compute something else.</p>
    </Banner>
  );
}

/** The verdict of a finished job; the report may still be on its way. */
export function Verdict({ job, report }: { job: Job; report: Report | null }) {
  if (job.state === "canceled") return <Banner tone="plain" title="Canceled" />;
  if (job.state === "expired")
    return (
      <Banner tone="plain" title="Expired">
        <p>The results were removed after their time. Convert the model again to get them.</p>
      </Banner>
    );
  if (job.state === "succeeded") return <ConvertedVerdict job={job} report={report} />;
  if (job.verdict === "parity_failed") return <DifferingVerdict parity={report?.parity} />;
  const refusals = job.error?.refusals;
  if (refusals?.length)
    return (
      <>
        <RefusedVerdict title="Not convertible" count={refusals.length} />
        <Reasons reasons={refusals} />
      </>
    );
  return (
    <Banner tone="bad" title={job.error?.title ?? "Failed"}>
      <p>{job.error?.detail}</p>
      <p class="where">
        {job.error?.where && <code>{job.error.where}</code>}
        <code class="code">{job.error?.code}</code>
      </p>
    </Banner>
  );
}

/** What the file is. */
export function Facts({ report }: { report: Report }) {
  const { source, model } = report;
  const facts: [string, string | null][] = [
    ["Parameters", model && rounded(model.parameters)],
    ["Layers", model && count(model.layers)],
    ["torch modules", model && model.torch_modules ? count(model.torch_modules) : null],
    ["Keras", source.keras_version ?? (model ? "1" : null)],
    ["Time", duration(report.timings_ms.total ?? 0)],
    ["Memory", bytes(report.peak_rss_bytes)],
  ];
  return (
    <dl class="facts">
      {facts.map(
        ([name, value]) =>
          value && (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

function Interfaces({ report }: { report: Report }) {
  const rows: [string, Interface][] = [...report.inputs.map((one): [string, Interface] => ["input", one]), ...report.outputs.map((one): [string, Interface] => ["output", one])];
  const axes = (one: Interface) => one.to_torch ?? one.to_keras;
  if (!rows.length) return null;
  return (
    <Section id="interface" title="Inputs and outputs">
      <table class="interfaces" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {["", "Name", "Keras", "PyTorch", "Type", "Axes"].map((name) => (
              <th key={name} role="columnheader" scope="col">
                {name || <span class="sr-only">Kind</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map(([kind, one]) => (
            <tr role="row" key={kind + one.name}>
              <td role="cell" class="dim">
                {kind}
              </td>
              <td role="cell" class="name">
                {one.name}
              </td>
              <td role="cell" data-label="Keras">
                <code>{shape(one.keras_shape)}</code>
              </td>
              <td role="cell" data-label="PyTorch">
                <code>{shape(one.torch_shape)}</code>
              </td>
              <td role="cell" data-label="Type">
                <code>{one.dtype}</code>
              </td>
              <td role="cell" data-label="Axes">
                {axes(one) ? (
                  <code>
                    {kind === "input" ? "x" : "y"}.transpose({axes(one)!.join(", ")})
                  </code>
                ) : (
                  <span class="dim">as in Keras</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}

function Warnings({ report }: { report: Report }) {
  if (!report.warnings.length) return null;
  return (
    <Section id="warnings" title={plural(report.warnings.length, "warning")}>
      <ul class="reasons">
        {report.warnings.map((warning, i) => (
          <li key={i}>
            <p class="message">{warning.message}</p>
            <p class="where">
              {warning.layer && (
                <span>
                  layer <code>{warning.layer}</code>
                </span>
              )}
              <code class="code">{warning.code}</code>
            </p>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** The parts of a report that do not need the conversion's artifacts. `between` stands before the layers. */
export function ReportDetails({ report, between, selected, onSelect }: { report: Report; between?: ComponentChildren; selected?: number | null; onSelect?: (layer: number) => void }) {
  return (
    <>
      <Facts report={report} />
      <Warnings report={report} />
      <Interfaces report={report} />
      {between}
      {report.layers.length > 0 && <LayerTable layers={report.layers} refused={new Set(report.refusals.map((refusal) => refusal.layer))} selected={selected ?? null} onSelect={onSelect} />}
    </>
  );
}
