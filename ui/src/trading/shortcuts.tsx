import { useEffect, useRef } from "react";
import { Dialog } from "../parts/dialog";

/** One key and what it does. Single letters are off while a person types or a dialog is open. */
export type Shortcuts = Record<string, (() => void) | undefined>;

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

export function useShortcuts(shortcuts: Shortcuts, enabled: boolean): void {
  const latest = useRef(shortcuts);
  useEffect(() => {
    latest.current = shortcuts;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (event.key === "Escape" && typing(event.target)) {
        (event.target as HTMLElement).blur();
        return;
      }
      // `?` explains the keys, so it works even when the single keys are switched off.
      if (typing(event.target) || document.querySelector("dialog[open]") || (!enabled && event.key !== "?"))
        return;
      const action = latest.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [enabled]);
}

const lines: readonly [keys: readonly string[], what: string][] = [
  [["B"], "Buy: choose the side and go to the size"],
  [["S"], "Sell: choose the side and go to the size"],
  [["T"], "Go to the order ticket"],
  [["Enter"], "Send the ticket from any of its fields"],
  [["↑", "↓"], "Size or price by one step, with Shift by ten"],
  [["1", "…", "9"], "Show the instrument with that place"],
  [["["], "Shorter interval"],
  [["]"], "Longer interval"],
  [["P"], "Go to the positions"],
  [["Esc"], "Leave a field, close a dialog"],
  [["?"], "This list"],
];

interface ShortcutListProps {
  enabled: boolean;
  onEnabled: (enabled: boolean) => void;
  onClose: () => void;
}

export function ShortcutList({ enabled, onEnabled, onClose }: ShortcutListProps) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl className="shortcut-list">
        {lines.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label className="check">
        <input type="checkbox" checked={enabled} onChange={(event) => onEnabled(event.target.checked)} />
        Single-key shortcuts are on
      </label>
    </Dialog>
  );
}
