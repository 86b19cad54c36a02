// SPDX-License-Identifier: Apache-2.0
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import * as api from "./api";
import { Home } from "./home";
import { JobView } from "./job";
import { KeyDialog } from "./key";
import type { Capabilities } from "./report";
import "uplot/dist/uPlot.min.css";
import "./style.css";

/** The address is #ID or #ID/SECTION. */
function place(): { id: string | null; section: string | null } {
  const [, id, section] = /^#([0-9a-hjkmnp-tv-z]{26})(?:\/([a-z]+))?$/.exec(location.hash) ?? [];
  return { id: id ?? null, section: section ?? null };
}

function App() {
  const [at, setAt] = useState(place);
  const [service, setService] = useState<Capabilities | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  useEffect(() => {
    const moved = () => setAt(place());
    addEventListener("hashchange", moved);
    api.capabilities().then(setService, (error: Error) => setTrouble(error.message));
    return () => removeEventListener("hashchange", moved);
  }, []);

  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" />
            <path d="M9 12.5h14M9 19.5h14" />
          </svg>
          h5pt
        </a>
        <nav aria-label="Pages">
          <a href="#" aria-current={at.id ? undefined : "page"}>
            Convert
          </a>
          <a href="/docs">API</a>
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        {trouble && (
          <p class="note bad" role="alert">
            {trouble}
          </p>
        )}
        {at.id ? <JobView key={at.id} id={at.id} section={at.section} /> : <Home service={service} />}
      </main>
      <footer>
        <span>h5pt {service?.version}</span>
        <a href="/docs">API</a>
        <a href="/openapi.yaml">openapi.yaml</a>
        <a href="/assets/LICENSES.txt">Licences</a>
      </footer>
      <KeyDialog />
    </>
  );
}

render(<App />, document.getElementById("app")!);
