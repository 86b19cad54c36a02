// SPDX-License-Identifier: Apache-2.0
// The layer table. Models with thousands of layers are ordinary: rows are made once and kept, and the filter hides.
import { memo } from "preact/compat";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "preact/compat";
import { count, difference, plural, shapeOfOne } from "./format";
import { Section } from "./parts";
import type { Layer } from "./report";

const columns = ["#", "Layer", "Keras", "PyTorch", "Output", "Parameters", "Abs. difference"];

/** Long names break behind / and _, if they must. */
const breakable = (name: string) => name.split(/(?<=[/_])/).flatMap((part, i) => (i ? [<wbr key={i} />, part] : [part]));

const Row = memo(function Row({ layer, index, selected, refused, compared }: { layer: Layer; index: number; selected: boolean; refused: boolean; compared: boolean }) {
  return (
    <tr role="row" id={`layer-${index}`} class={selected ? "selected" : undefined} tabIndex={selected ? -1 : undefined}>
      <td role="cell" class="number dim">
        {index + 1}
      </td>
      <th role="rowheader" scope="row">
        {breakable(layer.path)}
      </th>
      <td role="cell">{layer.class}</td>
      <td role="cell" class="torch">
        {layer.torch ? <code>{layer.torch}</code> : <span class={refused ? "bad" : "dim"}>{refused ? "not convertible" : layer.torch === null ? "" : "nothing left of it"}</span>}
      </td>
      <td role="cell" class="number">
        {shapeOfOne(layer.output_shape)}
      </td>
      <td role="cell" class="number parameters">
        {layer.parameters ? count(layer.parameters) : ""}
      </td>
      {compared && <td role="cell" class={`number error${layer.parity && !layer.parity.ok ? " bad" : ""}`}>{layer.parity ? difference(layer.parity.max_abs) : ""}</td>}
    </tr>
  );
});

function matching(layers: Layer[], words: string): number[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (layer: Layer) => `${layer.path} ${layer.class} ${layer.torch ?? ""}`.toLowerCase();
  return layers.flatMap((layer, i) => (wanted.every((word) => text(layer).includes(word)) ? [i] : []));
}

export function LayerTable({ layers, refused, selected, onSelect }: { layers: Layer[]; refused: Set<string | null>; selected: number | null; onSelect?: (layer: number) => void }) {
  const [words, setWords] = useState("");
  const deferred = useDeferredValue(words);
  const shown = useMemo(() => matching(layers, deferred), [layers, deferred]);
  const compared = layers.some((layer) => layer.parity);
  const scroller = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (selected === null) return;
    setWords("");
    const row = document.getElementById(`layer-${selected}`);
    row?.scrollIntoView({ block: "center" });
    row?.focus({ preventScroll: true });
  }, [selected]);
  const choose = (event: Event) => {
    const row = (event.target as Element).closest("tr[id]");
    if (row && !String(getSelection())) onSelect?.(Number(row.id.slice("layer-".length)));
  };
  return (
    <Section
      id="layers"
      title={plural(layers.length, "layer")}
      aside={
        layers.length > 10 && (
          <input class="filter" type="search" placeholder="Filter" aria-label="Filter the layers" value={words} onInput={(event) => setWords(event.currentTarget.value)} />
        )
      }
    >
      <div class="scroll" ref={scroller} tabIndex={0} role="region" aria-label="Layers">
        <table class="layers" role="table" aria-rowcount={layers.length + 1} onClick={choose}>
          <thead role="rowgroup">
            <tr role="row">
              {columns.slice(0, compared ? 7 : 6).map((name, i) => (
                <th key={name} role="columnheader" scope="col" class={i === 0 || i > 3 ? "number" : undefined}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.map((i) => (
              <Row key={i} layer={layers[i]!} index={i} selected={i === selected} refused={refused.has(layers[i]!.path)} compared={compared} />
            ))}
          </tbody>
        </table>
        {!shown.length && <p class="empty">No layer has that in its name, class or module.</p>}
      </div>
      <p class="sr-only" role="status">
        {deferred && `${plural(shown.length, "layer")} shown`}
      </p>
    </Section>
  );
}
