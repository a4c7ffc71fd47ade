import type { ReactNode } from "react";
import { DownIcon } from "../parts/icons";

/** The button that opens what is known of a row, below it. */
export function Expander({
  open,
  controls,
  onToggle,
  about,
  children,
}: {
  open: boolean;
  controls: string;
  onToggle: () => void;
  about: string;
  children: ReactNode;
}) {
  return (
    <button
      type="button"
      className="expander"
      aria-expanded={open}
      aria-controls={open ? controls : undefined}
      onClick={onToggle}
    >
      <DownIcon size={12} />
      {children}
      <span className="hidden"> {about}</span>
    </button>
  );
}
