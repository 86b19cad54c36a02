// SPDX-License-Identifier: Apache-2.0
// Small pieces that several views are made of.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const paths = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  warn: "M12 4l9 16H3zM12 10v4.5M12 17v.5",
  upload: "M12 16V5M7.5 9.5L12 5l4.5 4.5M5 19h14",
  download: "M12 5v11M7.5 11.5L12 16l4.5-4.5M5 19h14",
  file: "M7 3.5h6.5L18 8v12.5H7zM13.5 3.5V8H18",
  copy: "M9 9h10v10H9zM5 15V5h10",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7",
  dash: "M6 12h12",
};

export const Icon = ({ name }: { name: keyof typeof paths }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={paths[name]} />
  </svg>
);

/** navigator.clipboard is there on https and localhost only. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("copying is not possible");
}

export function CopyButton({ text, what, label = "Copy" }: { text: string; what: string; label?: string }) {
  const [state, setState] = useState<"ready" | "copied" | "failed">("ready");
  useEffect(() => {
    if (state === "ready") return;
    const timer = setTimeout(() => setState("ready"), 2000);
    return () => clearTimeout(timer);
  }, [state]);
  const said = { ready: label, copied: "Copied", failed: "Not possible" }[state];
  return (
    <button class="small" aria-label={state === "ready" ? `${label} ${what}` : undefined} onClick={() => copy(text).then(() => setState("copied"), () => setState("failed"))}>
      <Icon name={state === "copied" ? "check" : "copy"} />
      <span aria-live="polite">{said}</span>
    </button>
  );
}

/** A section of a conversion with a heading that the address can name. */
export function Section({ id, title, aside, children }: { id: string; title: string; aside?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section id={id} class="card" aria-labelledby={`${id}-title`}>
      <div class="heading">
        <h2 id={`${id}-title`} tabIndex={-1}>
          {title}
        </h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** One of few, side by side. */
export function Choice<T extends string>({ label, values, value, onChange }: { label: string; values: readonly (readonly [T, string])[]; value: T; onChange: (value: T) => void }) {
  return (
    <fieldset class="choice">
      <legend class="sr-only">{label}</legend>
      {values.map(([id, text]) => (
        <label key={id}>
          <input type="radio" name={label} checked={value === id} onChange={() => onChange(id)} />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Says a text to screen readers when it changes. */
export const Announce = ({ text }: { text: string }) => (
  <p class="sr-only" role="status">
    {text}
  </p>
);

/** A heading that takes the focus when its view appears. */
export function ViewTitle({ children, className }: { children: ComponentChildren; className?: string }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <h1 ref={heading} tabIndex={-1} class={className}>
      {children}
    </h1>
  );
}
