// SPDX-License-Identifier: Apache-2.0
// What the service says: the report (api/report.schema.json), conversions and problems (api/openapi.yaml).

export type Shape = (number | null)[];
export type Verdict = "converted" | "refused" | "parity_failed";

/** How far two tensors are apart; null: not a finite number. */
export interface Difference {
  max_abs: number | null;
  max_rel: number | null;
  ok: boolean;
}

export interface Layer {
  path: string;
  class: string;
  torch: string | null;
  output_shape: Shape | null;
  parameters: number;
  parity: Difference | null;
}

export interface Interface {
  name: string;
  keras_shape: Shape;
  torch_shape: Shape;
  dtype: string;
  to_torch?: number[] | null;
  to_keras?: number[] | null;
}

/** What a conversion says of it; the report has the rest. */
export interface ParitySummary extends Difference {
  tolerance: number;
}

export interface Parity extends ParitySummary {
  cases: (Difference & { name: string; input_shapes: Shape[] })[];
  first_divergence: (Difference & { layer: string; class: string; case: string }) | null;
  reference_vectors: (Difference & { samples: number; tolerance: number; outputs: (Difference & { name: string })[]; ignored: string[] }) | null;
}

export interface Refusal {
  code: string;
  layer: string | null;
  key: string | null;
  message: string;
}

export interface Report {
  h5pt: { version: string };
  source: { sha256: string; bytes: number; format: string; keras_version: string | null; backend: string | null; class: string | null; name: string | null };
  verdict: Verdict;
  model: { layers: number; parameters: number; torch_modules: number } | null;
  inputs: Interface[];
  outputs: Interface[];
  layers: Layer[];
  parity: Parity | null;
  warnings: { code: string; layer: string; message: string }[];
  refusals: Refusal[];
  artifacts: { name: string; bytes: number; how_to_load: string }[];
  timings_ms: Record<string, number>;
  peak_rss_bytes: number;
}

export interface Problem {
  title: string;
  status: number;
  detail: string;
  code: string;
  where?: string;
  layer?: string;
  key?: string;
  refusals?: Refusal[];
  report?: string;
}

export type State = "queued" | "running" | "succeeded" | "failed" | "canceled" | "expired";

export interface Artifact {
  name: string;
  bytes: number;
  sha256: string;
  href: string;
}

export interface Job {
  id: string;
  state: State;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  /** Of a queued one: it is among the next so many. */
  queue_place: number | null;
  stage: string | null;
  progress: number | null;
  model: { filename: string | null; bytes: number; sha256: string };
  options: Record<"formats" | "layout" | "dtype" | "parity" | "backend", string | null> & { weights_only: boolean };
  verdict: Verdict | null;
  parity: ParitySummary | null;
  error: Problem | null;
  artifacts: Artifact[];
}

export interface Capabilities {
  version: string;
  formats: string[];
  layouts: string[];
  dtypes: string[];
  parity: string[];
  backends: string[];
  limits: { upload_bytes: number; retention_seconds: number };
}

export const hasFinished = (job: Job): boolean => job.state !== "queued" && job.state !== "running";
