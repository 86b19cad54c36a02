// SPDX-License-Identifier: Apache-2.0
// Requests to the service. Where it wants a key, `askForKey` is called and the request made again.
import type { Capabilities, Job, Problem, Report } from "./report";
import { hasFinished } from "./report";
import { key, setKey } from "./storage";

/** A request that was refused; without a problem, one that did not come through. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly problem: Problem | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

let asking: Promise<boolean> | null = null;
let ask: (wrong: boolean) => Promise<string | null> = () => Promise.resolve(null);

/** Who asks the person for a key; null: they would rather not. */
export function onKeyNeeded(asker: typeof ask): void {
  ask = asker;
}

/** Whether there is a new key. Requests that need one at the same time ask once. */
function askForKey(): Promise<boolean> {
  asking ??= ask(key() !== "")
    .then((given) => {
      if (given) setKey(given);
      return Boolean(given);
    })
    .finally(() => (asking = null));
  return asking;
}

function authorization(): Record<string, string> {
  return key() ? { Authorization: "Bearer " + key() } : {};
}

async function refused(response: Response): Promise<ApiError> {
  const problem = (await response.json().catch(() => null)) as Problem | null;
  const wait = Number(response.headers.get("Retry-After")) || null;
  return new ApiError(problem?.detail ?? `The service answered with status ${response.status}`, problem, wait);
}

export async function request(path: string, init: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { ...init, headers: { ...init.headers, ...authorization() } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError("The service cannot be reached");
    }
    if (response.ok) return response;
    if (response.status === 401 && (await askForKey())) continue;
    throw await refused(response);
  }
}

const getJson = async <T>(path: string, signal?: AbortSignal): Promise<T> => (await request(path, { signal })).json() as Promise<T>;

export const capabilities = (): Promise<Capabilities> => getJson("/v1/capabilities");
export const job = (id: string, signal?: AbortSignal): Promise<Job> => getJson(`/v1/conversions/${id}`, signal);
export const removeJob = (id: string): Promise<Response> => request(`/v1/conversions/${id}`, { method: "DELETE" });
export const artifactPath = (id: string, name: string): string => `/v1/conversions/${id}/artifacts/${name}`;
export const report = (id: string, signal?: AbortSignal): Promise<Report> => getJson(artifactPath(id, "report.json"), signal);

/** Saves an artifact under its name; for requests that need the key, which a link cannot send. */
export async function save(path: string, name: string): Promise<void> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await request(path)).blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export interface Parts {
  model: File;
  architecture?: File;
  reference?: File;
}

let admitted = false;

/** A service that wants a key refuses an upload before it has read it, which a browser may take for a broken connection: so the
 * key is asked for with a small request. */
async function beAdmitted(signal: AbortSignal): Promise<void> {
  if (admitted) return;
  await request("/v1/conversions?limit=1", { signal }).catch((error: unknown) => {
    if (!(error instanceof ApiError) || !error.problem || error.problem.status === 401) throw error;
  });
  admitted = true;
}

/** Sends files as a form, with the progress of the upload (0 to 1), which fetch does not tell. */
export async function send<T>(path: string, parts: Parts, onProgress: (sent: number) => void, signal: AbortSignal): Promise<T> {
  await beAdmitted(signal);
  for (;;) {
    const answer = await sendOnce(path, parts, onProgress, signal);
    if (answer.status === 401 && (await askForKey())) continue;
    if (!answer.ok) throw await refused(answer);
    return answer.json() as Promise<T>;
  }
}

function sendOnce(path: string, parts: Parts, onProgress: (sent: number) => void, signal: AbortSignal): Promise<Response> {
  const form = new FormData();
  for (const [name, file] of Object.entries(parts)) if (file) form.append(name, file as File, (file as File).name);
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", path);
    for (const [name, value] of Object.entries(authorization())) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    xhr.upload.onload = () => onProgress(1);
    xhr.onload = () =>
      resolve(new Response(xhr.status === 204 ? null : xhr.responseText, { status: xhr.status, headers: { "Retry-After": xhr.getResponseHeader("Retry-After") ?? "" } }));
    xhr.onerror = () => reject(new ApiError("The upload broke off: the service cannot be reached, or it closed the connection"));
    xhr.onabort = () => reject(new DOMException("canceled", "AbortError"));
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** Longer than a stream that works is silent: it has a comment every 15 seconds. */
const SILENCE_MS = 20000;
/** The first event comes at once, unless something on the way holds it back. */
const FIRST_EVENT_MS = 3000;

interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/** The events of a stream. Ends when it does, or when nothing comes any more. */
async function* events(response: Response): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let patience = FIRST_EVENT_MS;
  try {
    for (;;) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error("silent")), patience)));
      const { done, value } = await Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
      if (done) return;
      text += value;
      patience = SILENCE_MS;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop()!;
      for (const block of blocks) {
        const event: ServerEvent = { id: "", event: "message", data: "" };
        for (const line of block.split(/\r?\n/)) {
          const [, field, content] = /^(\w+): ?(.*)$/.exec(line) ?? [];
          if (field === "id" || field === "event") event[field] = content!;
          else if (field === "data") event.data += content;
        }
        if (event.data) yield event;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/** Follows a job by its events until it has finished. False: they are not to be had, or stopped coming. */
async function followEvents(id: string, onJob: (job: Job) => void, signal: AbortSignal): Promise<boolean> {
  let last = "";
  let known = null as Job | null;
  for (let connections = 0; connections < 100; connections++) {
    const headers: Record<string, string> = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    let response;
    try {
      response = await request(`/v1/conversions/${id}/events`, { headers, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
    if (response.status === 204 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) return false;
    try {
      for await (const event of events(response)) {
        last = event.id || last;
        const data = JSON.parse(event.data) as Job | Pick<Job, "stage" | "progress">;
        if (event.event === "state") known = data as Job;
        else if (event.event === "progress" && known) known = Object.assign({}, known, data);
        if (!known) continue;
        onJob(known);
        if (hasFinished(known)) return true;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
    await pause(500, signal); // The connection was lost; the next one goes on where this one ended.
  }
  return false;
}

async function poll(id: string, onJob: (job: Job) => void, onTrouble: (trouble: string | null) => void, signal: AbortSignal): Promise<void> {
  for (let wait = 200; ; wait = Math.min(wait * 1.3, 2000)) {
    try {
      const now = await job(id, signal);
      onTrouble(null);
      onJob(now);
      if (hasFinished(now)) return;
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError) || (error.problem && error.problem.status < 500)) throw error;
      onTrouble(error.message + "; trying again");
    }
    await pause(wait, signal);
  }
}

/** Tells the states of a job until it has finished: by its events where they come through, else by asking again and again. */
export async function follow(id: string, onJob: (job: Job) => void, onTrouble: (trouble: string | null) => void, signal: AbortSignal): Promise<void> {
  const first = await job(id, signal);
  onJob(first);
  if (hasFinished(first) || (await followEvents(id, onJob, signal))) return;
  await poll(id, onJob, onTrouble, signal);
}
