// SPDX-License-Identifier: Apache-2.0
// How to convert: the query parameters of the API.
import type { Capabilities, Job } from "./report";

export interface Options {
  formats: string[];
  layout: string;
  dtype: string;
  parity: string;
  backend: string;
  weightsOnly: boolean;
}

export const defaults: Options = { formats: ["pt", "py", "svg"], layout: "torch", dtype: "keep", parity: "full", backend: "", weightsOnly: false };

const formatTexts: Record<string, [string, string]> = {
  pt: ["model.pt", "weights"],
  py: ["model.py", "nn.Module"],
  pt2: ["model.pt2", "torch.export"],
  torchscript: ["model.torchscript.pt", "TorchScript"],
  safetensors: ["model.safetensors", "weights"],
  svg: ["model.svg", "picture"],
};
const texts: Record<string, string> = {
  torch: "as PyTorch has it: channels first",
  keras: "as written in Keras",
  keep: "as in the file",
  full: "full: every layer, several inputs",
  quick: "quick: one input",
  off: "off: no proof",
};

/** "?formats=pt,py&…": what is not the default of the service. */
export function conversionQuery(options: Options): string {
  const query: string[] = [];
  if (options.weightsOnly) query.push("weights_only=true");
  else if (options.formats.length) query.push("formats=" + options.formats.join(","));
  for (const name of ["layout", "dtype", "parity"] as const) if (!options.weightsOnly && options[name] !== defaults[name]) query.push(`${name}=${options[name]}`);
  if (options.backend) query.push("backend=" + options.backend);
  return query.length ? "?" + query.join("&") : "";
}

export const inspectionQuery = (options: Options): string => (options.backend ? "?backend=" + options.backend : "");

/** The query that made a conversion. */
export function queryOf(options: Job["options"]): string {
  const query = Object.entries(options).flatMap(([name, value]) => (value === null || value === false ? [] : [`${name}=${value}`]));
  return query.join("&");
}

function Select({ label, value, values, disabled, onChange }: { label: string; value: string; values: string[]; disabled?: boolean; onChange: (value: string) => void }) {
  return (
    <label>
      {label}
      <select value={value} disabled={disabled} onChange={(event) => onChange(event.currentTarget.value)}>
        {values.map((each) => (
          <option key={each} value={each}>
            {each === "" ? "said by the file" : (texts[each] ?? each)}
          </option>
        ))}
      </select>
    </label>
  );
}

export function OptionsForm({ service, options, disabled, onChange, onFile }: { service: Capabilities | null; options: Options; disabled: boolean; onChange: (options: Options) => void; onFile: (part: "architecture" | "reference", file: File) => void }) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change });
  const toggle = (format: string, on: boolean) => set({ formats: (service?.formats ?? []).filter((f) => (f === format ? on : options.formats.includes(f))) });
  const file = (part: "architecture" | "reference", label: string, accept: string, hint: string) => (
    <label>
      {label}
      <input type="file" accept={accept} disabled={disabled} onChange={(event) => event.currentTarget.files?.[0] && onFile(part, event.currentTarget.files[0])} />
      <span class="hint">{hint}</span>
    </label>
  );
  const none = options.weightsOnly;
  return (
    <details class="options">
      <summary>Options</summary>
      <fieldset disabled={disabled || none}>
        <legend>What to make</legend>
        <div class="formats">
          {(service?.formats ?? defaults.formats).map((format) => (
            <label key={format} class="tick">
              <input type="checkbox" checked={options.formats.includes(format)} onChange={(event) => toggle(format, event.currentTarget.checked)} />
              <span>
                <code>{formatTexts[format]?.[0] ?? format}</code> <span class="dim">{formatTexts[format]?.[1]}</span>
              </span>
            </label>
          ))}
        </div>
      </fieldset>
      <div class="fields">
        <Select label="Inputs and outputs" value={options.layout} values={service?.layouts ?? [options.layout]} disabled={disabled || none} onChange={(layout) => set({ layout })} />
        <Select label="Floating-point type" value={options.dtype} values={service?.dtypes ?? [options.dtype]} disabled={disabled || none} onChange={(dtype) => set({ dtype })} />
        <Select label="Comparison" value={options.parity} values={service?.parity ?? [options.parity]} disabled={disabled || none} onChange={(parity) => set({ parity })} />
        <Select label="Backend of a Keras 1 model" value={options.backend} values={["", ...(service?.backends ?? [])]} disabled={disabled} onChange={(backend) => set({ backend })} />
        {file("architecture", "Architecture, for a file of weights", ".json", "the text of model.to_json()")}
        {file("reference", "Outputs of your own Keras", ".npz", "np.savez(…, in0=x, out0=model.predict(x)); compared, too")}
      </div>
      <label class="tick">
        <input type="checkbox" checked={options.weightsOnly} disabled={disabled} onChange={(event) => set({ weightsOnly: event.currentTarget.checked })} />
        <span>
          Only the tensors, as they are stored <span class="dim">for weights whose architecture is lost</span>
        </span>
      </label>
    </details>
  );
}
