// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { ago, bytes } from "./format";
import { Icon } from "./parts";
import { forget, recent } from "./storage";

const outcomes: Record<string, [string, string]> = {
  converted: ["good", "converted"],
  refused: ["bad", "not convertible"],
  parity_failed: ["bad", "results differ"],
  failed: ["bad", "failed"],
  canceled: ["", "canceled"],
  expired: ["", "expired"],
};

/** The conversions of this browser. */
export function Recent() {
  const [list, setList] = useState(recent);
  if (!list.length) return null;
  return (
    <section class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">Recent conversions</h2>
      <ul>
        {list.map((entry) => {
          const [tone, text] = outcomes[entry.outcome ?? ""] ?? ["", "under way"];
          return (
            <li key={entry.id}>
              <a href={"#" + entry.id}>
                <span class={`dot ${tone}`} />
                <span class="name">{entry.name}</span>
                <span class="dim">
                  {text} · {bytes(entry.bytes)} · {ago(entry.at)}
                </span>
              </a>
              <button
                class="bare"
                aria-label={`Forget ${entry.name}`}
                title="Take off this list"
                onClick={() => {
                  forget(entry.id);
                  setList(recent());
                }}
              >
                <Icon name="cross" />
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
