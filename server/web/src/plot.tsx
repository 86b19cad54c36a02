// SPDX-License-Identifier: Apache-2.0
// How far Keras and PyTorch are apart after each layer, on a logarithmic scale.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { difference, plural } from "./format";
import { Choice } from "./parts";
import type { Layer } from "./report";

type Measure = "max_rel" | "max_abs";
const names: Record<Measure, string> = { max_rel: "relative difference", max_abs: "absolute difference" };
const HEIGHT = 280;

interface Points {
  /** Indices of the layers that were compared. */
  layers: number[];
  agreeing: (number | null)[];
  exact: (number | null)[];
  differing: (number | null)[];
  low: number;
  high: number;
  hasExact: boolean;
}

/** Differences of 0, which have no logarithm, stand a decade below the others; those that are not finite, on top. */
function pointsOf(layers: Layer[], measure: Measure, tolerance: number): Points {
  const compared = layers.flatMap((layer, i) => (layer.parity ? [i] : []));
  const values = compared.map((i) => layers[i]!.parity![measure]);
  const positive = values.filter((v): v is number => v !== null && v > 0);
  const limits = measure === "max_rel" ? [...positive, tolerance] : positive;
  const least = Math.floor(Math.log10(Math.min(...limits, 1)));
  const most = Math.ceil(Math.log10(Math.max(...limits, 1e-12)) + 0.3);
  const hasExact = values.includes(0);
  const low = 10 ** (least - (hasExact ? 1 : 0));
  const high = 10 ** Math.max(most, least + 1);
  const bad = compared.map((i) => !layers[i]!.parity!.ok);
  return {
    layers: compared,
    agreeing: values.map((v, k) => (v && !bad[k] ? v : null)),
    exact: values.map((v, k) => (v === 0 && !bad[k] ? low : null)),
    differing: values.map((v, k) => (bad[k] ? (v ? v : v === 0 ? low : high) : null)),
    low,
    high,
    hasExact,
  };
}

function decades({ low, high }: Points): number[] {
  const [from, to] = [low, high].map((v) => Math.round(Math.log10(v))) as [number, number];
  const step = Math.ceil((to - from) / 10);
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, k) => 10 ** (from + k * step));
}

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function useDarkness(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

function drawTolerance(u: uPlot, tolerance: number): void {
  const y = Math.round(u.valToPos(tolerance, "y", true));
  const { left, width } = u.bbox;
  const ratio = devicePixelRatio;
  u.ctx.save();
  u.ctx.strokeStyle = u.ctx.fillStyle = css("--bad");
  u.ctx.lineWidth = ratio;
  u.ctx.setLineDash([5 * ratio, 4 * ratio]);
  u.ctx.beginPath();
  u.ctx.moveTo(left, y);
  u.ctx.lineTo(left + width, y);
  u.ctx.stroke();
  u.ctx.font = `${12 * ratio}px ${css("--sans")}`;
  u.ctx.textAlign = "right";
  u.ctx.textBaseline = "bottom";
  u.ctx.fillText(`allowed: ${difference(tolerance)}`, left + width - 4 * ratio, y - 3 * ratio);
  u.ctx.restore();
}

function optionsFor(points: Points, width: number, tolerance: number | null, onPoint: (k: number | null) => void): uPlot.Options {
  const ink = css("--dim");
  const axis = { stroke: ink, font: `12px ${css("--sans")}`, grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
  const size = points.layers.length > 300 ? 4 : points.layers.length > 100 ? 5 : 7;
  const series = (color: string, hollow = false): uPlot.Series => ({
    paths: () => null,
    points: { show: true, size, width: 1.5, stroke: color, fill: hollow ? css("--card") : color },
  });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [12, 8, 0, 0],
    scales: {
      x: { time: false, range: [-0.5, Math.max(points.layers.length - 0.5, 0.5)] },
      y: { distr: 3, range: [points.low / 1.8, points.high] },
    },
    axes: [
      { ...axis, grid: { show: false }, label: "layer, in the order in which they run", labelFont: axis.font, labelSize: 22, size: 28, values: (_, at) => at.map((k) => (Number.isInteger(k) && points.layers[k] !== undefined ? String(points.layers[k]! + 1) : "")) },
      { ...axis, size: 58, splits: () => decades(points), values: (_, at) => at.map((v) => (v === null ? "" : points.hasExact && v <= points.low * 1.01 ? "exact" : v.toExponential(0))) },
    ],
    series: [{}, series(css("--accent")), series(css("--good"), true), series(css("--bad"))],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: size + 4, width: 2 } },
    hooks: {
      draw: tolerance === null ? [] : [(u) => drawTolerance(u, tolerance)],
      setCursor: [(u) => onPoint(u.cursor.idx ?? null)],
    },
  };
}

export function ParityPlot({ layers, tolerance, selected, onSelect }: { layers: Layer[]; tolerance: number; selected: number | null; onSelect: (layer: number) => void }) {
  const [measure, setMeasure] = useState<Measure>("max_rel");
  const [at, setAt] = useState<number | null>(null);
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const dark = useDarkness();
  const points = pointsOf(layers, measure, tolerance);
  const last = points.layers.length - 1;

  useEffect(() => {
    const element = place.current!;
    const limit = measure === "max_rel" ? tolerance : null;
    const data: uPlot.AlignedData = [points.layers.map((_, k) => k), points.agreeing, points.exact, points.differing];
    const u = new uPlot(optionsFor(points, element.clientWidth, limit, setAt), data, element);
    plot.current = u;
    const observer = new ResizeObserver(() => u.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => (observer.disconnect(), u.destroy());
  }, [layers, measure, tolerance, dark]);

  const layer = at === null ? null : layers[points.layers[at]!];
  const select = (k: number | null) => k !== null && onSelect(points.layers[k]!);
  const move = (event: KeyboardEvent) => {
    const from = at ?? (selected === null ? 0 : Math.max(0, points.layers.indexOf(selected)));
    const to = { ArrowRight: from + 1, ArrowLeft: from - 1, ArrowUp: from + 1, ArrowDown: from - 1, PageUp: from + 10, PageDown: from - 10, Home: 0, End: last }[event.key];
    if (event.key === "Enter") select(at);
    else if (to === undefined) return;
    else {
      const k = Math.min(Math.max(to, 0), last);
      const u = plot.current!;
      u.setCursor({ left: u.valToPos(k, "x"), top: 0 });
      setAt(k);
    }
    event.preventDefault();
  };
  const worst = Math.max(...points.layers.map((i) => layers[i]!.parity![measure] ?? Infinity));
  const text = layer ? `${layer.path}, ${layer.class}: ${difference(layer.parity![measure])}` : `${plural(last + 1, "layer")}, at most ${difference(worst)}`;
  return (
    <div class="plot">
      <div class="plot-head">
        <p class="reading" aria-hidden="true">
          {layer ? (
            <>
              <strong>{layer.path}</strong> <span class="dim">{layer.class}</span> {difference(layer.parity![measure])}
            </>
          ) : (
            <span class="dim">Largest {names[measure]} after each layer, over all inputs</span>
          )}
        </p>
        <Choice label="Measure" values={[["max_rel", "relative"], ["max_abs", "absolute"]] as const} value={measure} onChange={setMeasure} />
      </div>
      <div
        ref={place}
        class="canvas"
        tabIndex={0}
        role="slider"
        aria-label={`Largest ${names[measure]} after each layer; the arrow keys go from layer to layer, Enter shows it in the table`}
        aria-valuemin={1}
        aria-valuemax={last + 1}
        aria-valuenow={(at ?? 0) + 1}
        aria-valuetext={text}
        onKeyDown={move}
        onClick={() => select(at)}
      />
    </div>
  );
}
