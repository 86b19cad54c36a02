// SPDX-License-Identifier: Apache-2.0
// Numbers, shapes and times as people read them.
import type { Shape } from "./report";

export function bytes(count: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1024;
    unit++;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : Number(count.toPrecision(3))} ${units[unit]}`;
}

export const count = (n: number): string => n.toLocaleString("en");

export const plural = (n: number, noun: string, nouns = noun + "s"): string => `${count(n)} ${n === 1 ? noun : nouns}`;

/** 25,636,712 → 25.6 M */
export function rounded(n: number): string {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]] as const)
    if (n >= size) return `${Number((n / (letter === "k" ? 1e3 : size)).toPrecision(3))} ${letter}`;
  return count(n);
}

/** A difference: 2.4e-6; 0 is exact, null not finite. */
export function difference(value: number | null): string {
  if (value === null) return "not finite";
  if (value === 0) return "0";
  if (value >= 0.01 && value < 10000) return String(Number(value.toPrecision(2)));
  return value.toExponential(1).replace(".0e", "e");
}

export const shape = (dims: Shape): string => `(${dims.map((d) => d ?? "N").join(", ")}${dims.length === 1 ? "," : ""})`;

/** The shape of an output without its batch. */
export const shapeOfOne = (dims: Shape | null): string => (dims ? dims.slice(1).map((d) => d ?? "?").join(" × ") || "scalar" : "");

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function ago(time: string | number, now = Date.now()): string {
  const seconds = Math.max(0, (now - new Date(time).getTime()) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return plural(Math.floor(seconds / 60), "minute") + " ago";
  if (seconds < 86400) return plural(Math.floor(seconds / 3600), "hour") + " ago";
  return new Date(time).toLocaleDateString();
}

export const when = (time: string): string => new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
