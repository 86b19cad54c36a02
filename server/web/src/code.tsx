// SPDX-License-Identifier: Apache-2.0
// Code with colours, as elements rather than as HTML.
import type { ElementContent, RootContent } from "hast";
import bash from "highlight.js/lib/languages/bash";
import python from "highlight.js/lib/languages/python";
import { createLowlight } from "lowlight";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { CopyButton } from "./parts";

const lowlight = createLowlight({ bash, python });
/** Larger ones stay black and white. */
const MOST = 300000;

function elements(nodes: (RootContent | ElementContent)[]): ComponentChildren {
  return nodes.map((node, i) => {
    if (node.type === "text") return node.value;
    if (node.type !== "element") return null;
    return (
      <span key={i} class={(node.properties.className as string[] | undefined)?.join(" ")}>
        {elements(node.children)}
      </span>
    );
  });
}

export function Code({ text, language, label }: { text: string; language: "bash" | "python"; label: string }) {
  const colored = useMemo(() => (text.length > MOST ? text : elements(lowlight.highlight(language, text).children)), [text, language]);
  return (
    <div class="code-block">
      <CopyButton text={text} what={label} />
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{colored}</code>
      </pre>
    </div>
  );
}
