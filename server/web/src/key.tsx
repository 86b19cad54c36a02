// SPDX-License-Identifier: Apache-2.0
import { useEffect, useRef, useState } from "preact/hooks";
import { onKeyNeeded } from "./api";

/** Asks for the key that the service wants. */
export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const answer = useRef<(key: string | null) => void>(() => undefined);
  const [wrong, setWrong] = useState(false);
  useEffect(
    () =>
      onKeyNeeded((again) => {
        setWrong(again);
        input.current!.value = "";
        dialog.current!.showModal();
        return new Promise((resolve) => (answer.current = resolve));
      }),
    [],
  );

  const submit = (event: Event) => {
    event.preventDefault();
    answer.current(input.current!.value.trim() || null);
    dialog.current!.close();
  };
  return (
    <dialog ref={dialog} class="key" aria-labelledby="key-title" onClose={() => answer.current(null)}>
      <form onSubmit={submit}>
        <h2 id="key-title">This service wants a key</h2>
        <p>{wrong ? "The key was not accepted. Try another one." : "Ask whoever runs the service. The key is kept until this tab is closed."}</p>
        <label>
          Key
          <input ref={input} type="password" autocomplete="off" spellcheck={false} required />
        </label>
        <p class="buttons">
          <button class="primary">Use this key</button>
          <button type="button" onClick={() => dialog.current!.close()}>
            Cancel
          </button>
        </p>
      </form>
    </dialog>
  );
}
