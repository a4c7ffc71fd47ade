import { type Check, outcome } from "../audit/checks";
import { withReadableTimes } from "../lib/time";

const words = {
  holds: ["passed", "Holds"],
  refused: ["failed", "Refused"],
  unchecked: ["expired", "Not checked"],
} as const satisfies Record<Check["state"], readonly [string, string]>;

export function CheckTag({ state }: { state: Check["state"] }) {
  const [tone, word] = words[state];
  return <span className={`tag ${tone}`}>{word}</span>;
}

/** What was verified on this page: first what it comes to, then each thing with its outcome. */
export function Checks({
  checks,
  label,
  said,
}: {
  checks: readonly Check[];
  label: string;
  said: Record<Check["state"], string>;
}) {
  const all = outcome(checks);
  return (
    <div className={`checks panel ${all}`}>
      <p className="checks-all" role="status" data-outcome={all}>
        <CheckTag state={all} /> <strong>{said[all]}</strong>
      </p>
      <ul aria-label={label}>
        {checks.map((check) => (
          <li key={check.name} data-check={check.state}>
            <CheckTag state={check.state} />
            <div>
              <b>{check.name}</b>
              <p className="break">{withReadableTimes(check.said)}</p>
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}
