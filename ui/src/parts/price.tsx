import type { PriceLine } from "../api/types";
import { dec, sign } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import { lineText } from "../screens/basket";

/** How a price comes about: its lines, what of it is tax, and what is to be paid. */
export function PriceLines({
  lines,
  taxIncluded,
  total,
  currency,
  totalLabel,
  stale = false,
}: {
  lines: readonly PriceLine[];
  taxIncluded: boolean;
  total: string;
  currency: string;
  totalLabel: string;
  /** The basket has changed, and what is shown is still of the one before. */
  stale?: boolean;
}) {
  // A tax inside the prices is told below the total, since the lines above already add up to it.
  const inside = taxIncluded ? lines.filter(({ what }) => what === "tax") : [];
  const above = lines.filter((line) => !inside.includes(line));
  return (
    <div className="price-lines" aria-busy={stale}>
      <dl>
        {above.map((line) => (
          <div key={`${line.what}-${line.code}`} className={line.what}>
            <dt>{lineText(line, taxIncluded)}</dt>
            <dd className="tab">{moneyIn(line.amount, currency)}</dd>
          </div>
        ))}
      </dl>
      <p className="total">
        <span>{totalLabel}</span>
        <output aria-live="polite">
          <strong className="tab">{moneyIn(total, currency)}</strong>
        </output>
      </p>
      {inside
        .filter(({ amount }) => sign(dec(amount)) !== 0)
        .map((line) => (
          <p key={line.code} className="fine tab">
            {lineText(line, true)}: {moneyIn(line.amount, currency)}
          </p>
        ))}
    </div>
  );
}
