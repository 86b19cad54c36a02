// SPDX-License-Identifier: Apache-2.0
// What this browser remembers: its conversions (localStorage) and the key (sessionStorage). Both may be forbidden; then the
// page remembers until it is closed.

export interface Remembered {
  id: string;
  name: string;
  bytes: number;
  at: number;
  /** The verdict, or the state in which it ended. */
  outcome: string | null;
}

const MOST = 20;
const RECENT = "h5pt.recent";
const KEY = "h5pt.key";
const memory = new Map<string, string>();

function store(kind: "localStorage" | "sessionStorage"): Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  try {
    return window[kind];
  } catch {
    return {
      getItem: (name) => memory.get(name) ?? null,
      setItem: (name, value) => void memory.set(name, value),
      removeItem: (name) => void memory.delete(name),
    };
  }
}

export function recent(): Remembered[] {
  try {
    const list: unknown = JSON.parse(store("localStorage").getItem(RECENT) ?? "[]");
    return Array.isArray(list) ? list.filter((entry) => typeof entry?.id === "string" && typeof entry.name === "string") : [];
  } catch {
    return [];
  }
}

function save(list: Remembered[]): void {
  try {
    store("localStorage").setItem(RECENT, JSON.stringify(list.slice(0, MOST)));
  } catch {
    // Full: the list is a convenience.
  }
}

/** Puts a conversion first, or brings what is known of it up to date. */
export function remember(entry: Remembered): void {
  const list = recent();
  const i = list.findIndex((other) => other.id === entry.id);
  if (i >= 0) list[i] = entry;
  else list.unshift(entry);
  save(list);
}

export const forget = (id: string): void => save(recent().filter((entry) => entry.id !== id));

export const key = (): string => store("sessionStorage").getItem(KEY) ?? "";

export function setKey(value: string): void {
  if (value) store("sessionStorage").setItem(KEY, value);
  else store("sessionStorage").removeItem(KEY);
}
