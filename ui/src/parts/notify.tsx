import { createContext, type ReactNode, use, useCallback, useMemo, useRef, useState } from "react";
import { CloseIcon } from "./icons";

export type Tone = "plain" | "good" | "loss" | "bad";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
}

type Notify = (text: string, tone?: Tone) => void;

const Context = createContext<Notify>(() => undefined);

/** Shows a short message and has it read out; a bad one interrupts what a screen reader is saying. */
export function useNotify(): Notify {
  return use(Context);
}

const SHOWN_MS = 5_000;
const AT_MOST = 3;

export function NotifyProvider({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const count = useRef(0);
  const dismiss = useCallback(
    (id: number) => setToasts((held) => held.filter((toast) => toast.id !== id)),
    [],
  );
  const notify = useCallback<Notify>(
    (text, tone = "plain") => {
      count.current += 1;
      const id = count.current;
      setToasts((held) => [...held.slice(1 - AT_MOST), { id, text, tone }]);
      setTimeout(() => dismiss(id), SHOWN_MS);
    },
    [dismiss],
  );
  const list = (which: readonly Toast[]) =>
    which.map((toast) => (
      <div key={toast.id} className={`toast ${toast.tone}`}>
        <span>{toast.text}</span>
        <button
          type="button"
          className="icon-button"
          onClick={() => dismiss(toast.id)}
          aria-label="Dismiss message"
        >
          <CloseIcon size={12} />
        </button>
      </div>
    ));
  const [urgent, calm] = useMemo(
    () => [toasts.filter((toast) => toast.tone === "bad"), toasts.filter((toast) => toast.tone !== "bad")],
    [toasts],
  );
  return (
    <Context value={notify}>
      {children}
      <section className="toasts" aria-label="Messages">
        <div aria-live="assertive">{list(urgent)}</div>
        <div aria-live="polite">{list(calm)}</div>
      </section>
    </Context>
  );
}
