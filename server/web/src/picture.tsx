// SPDX-License-Identifier: Apache-2.0
// The picture of the network, to be moved and magnified.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import * as api from "./api";
import { Icon } from "./parts";

const STEP = 1.4;
const MOST = 4;
/** Smaller than this at first it could not be read; then it is wider than its view. */
const LEGIBLE = 0.6;

/** Moves what is in a scrolling element with the mouse; fingers do that by themselves. */
function drag(event: PointerEvent): void {
  const element = event.currentTarget as HTMLElement;
  if (event.pointerType !== "mouse" || event.button !== 0) return;
  const start = { x: event.clientX + element.scrollLeft, y: event.clientY + element.scrollTop };
  const move = (now: PointerEvent) => element.scrollTo({ left: start.x - now.clientX, top: start.y - now.clientY, behavior: "instant" });
  const end = () => {
    element.removeEventListener("pointermove", move);
    element.classList.remove("dragged");
  };
  element.setPointerCapture(event.pointerId);
  element.classList.add("dragged");
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end, { once: true });
  element.addEventListener("pointercancel", end, { once: true });
}

export function Picture({ path, name }: { path: string; name: string }) {
  const [url, setUrl] = useState<string | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [natural, setNatural] = useState({ width: 0, height: 0 });
  const [zoom, setZoom] = useState<number | null>(null); // null: nobody has chosen one
  const [room, setRoom] = useState(0);
  const figure = useRef<HTMLElement>(null);
  const view = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const abort = new AbortController();
    let made: string | null = null;
    api
      .request(path, { signal: abort.signal })
      .then((response) => response.blob())
      .then((blob) => setUrl((made = URL.createObjectURL(blob))))
      .catch((error: Error) => !abort.signal.aborted && setTrouble(error.message));
    return () => (abort.abort(), made && URL.revokeObjectURL(made));
  }, [path]);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setRoom(view.current?.clientWidth ?? 0));
    if (view.current) observer.observe(view.current);
    return () => observer.disconnect();
  }, []);

  const fit = natural.width && room ? Math.min(1, (room - 2) / natural.width) : 1;
  const scale = zoom ?? Math.max(fit, LEGIBLE);
  const change = (factor: number) => {
    const element = view.current!;
    const center = { x: (element.scrollLeft + element.clientWidth / 2) / scale, y: (element.scrollTop + element.clientHeight / 2) / scale };
    const next = Math.min(MOST, Math.max(Math.min(fit, 0.1), scale * factor));
    setZoom(next);
    requestAnimationFrame(() => element.scrollTo({ left: center.x * next - element.clientWidth / 2, top: center.y * next - element.clientHeight / 2, behavior: "instant" }));
  };
  if (trouble) return <p class="note bad">{trouble}</p>;
  return (
    <figure class="picture" ref={figure}>
      <div class="tools">
        <button class="small" aria-label="Smaller" onClick={() => change(1 / STEP)}>
          −
        </button>
        <button class="small" aria-label="Larger" onClick={() => change(STEP)}>
          +
        </button>
        <button class="small" onClick={() => setZoom(fit)}>
          Fit
        </button>
        <span class="dim">{Math.round(scale * 100)} %</span>
        {document.fullscreenEnabled && (
          <button class="small" onClick={() => void (document.fullscreenElement ? document.exitFullscreen() : figure.current!.requestFullscreen())}>
            <Icon name="expand" /> Full screen
          </button>
        )}
        {url && (
          <a class="button small" href={url} target="_blank" rel="noopener">
            Open alone
          </a>
        )}
      </div>
      <div
        class="view"
        ref={view}
        tabIndex={0}
        role="region"
        aria-label="Picture of the network"
        onPointerDown={drag}
        onWheel={(event) => {
          if (!event.ctrlKey) return;
          event.preventDefault();
          change(event.deltaY < 0 ? 1.15 : 1 / 1.15);
        }}
      >
        {url && (
          <img
            src={url}
            alt={`The layers of ${name} and how they are connected`}
            draggable={false}
            width={natural.width ? natural.width * scale : undefined}
            onLoad={(event) => setNatural({ width: event.currentTarget.naturalWidth, height: event.currentTarget.naturalHeight })}
          />
        )}
      </div>
    </figure>
  );
}
