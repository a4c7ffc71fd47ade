import type { Override } from "../api/types";
import { wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";

/** What was decided by hand about an account, the newest first. Who decided it is told to the firm's people only. */
export function Decisions({ decisions }: { decisions: readonly Override[] }) {
  return (
    <ul className="changes decisions">
      {decisions.map((decision) => (
        <li key={`${decision.at}-${decision.place}`}>
          <b>
            {wordFor(decision.kind)}, {utcSeconds(decision.at)} UTC
          </b>
          <del>
            <span className="hidden">Before: </span>
            {decision.before}
          </del>
          <ins>
            <span className="hidden">After: </span>
            {decision.after}
          </ins>
          <span className="muted">
            {decision.reason}
            {decision.by && ` (${decision.by.name})`}
          </span>
        </li>
      ))}
    </ul>
  );
}
