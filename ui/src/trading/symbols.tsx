import { useQuote } from "../api/live";
import type { Instrument } from "../api/types";
import { dec, spreadPoints } from "../lib/decimal";
import { priceParts } from "../lib/format";

export function Price({ price, decimals }: { price: string; decimals: number }) {
  const { head, pips, tail } = priceParts(price, decimals);
  return (
    <>
      {head}
      <b>{pips}</b>
      {tail && <sup>{tail}</sup>}
    </>
  );
}

interface SymbolsProps {
  instruments: readonly Instrument[];
  chosen: string;
  onChoose: (symbol: string) => void;
}

export function Symbols({ instruments, chosen, onChoose }: SymbolsProps) {
  return (
    <nav className="symbols panel" aria-label="Instruments">
      {instruments.map((instrument, index) => (
        <SymbolTab
          key={instrument.symbol}
          instrument={instrument}
          shortcut={index < 9 ? String(index + 1) : undefined}
          chosen={instrument.symbol === chosen}
          onChoose={onChoose}
        />
      ))}
    </nav>
  );
}

interface SymbolTabProps {
  instrument: Instrument;
  shortcut: string | undefined;
  chosen: boolean;
  onChoose: (symbol: string) => void;
}

function SymbolTab({ instrument, shortcut, chosen, onChoose }: SymbolTabProps) {
  const quote = useQuote(instrument.symbol);
  const way = quote?.direction === 1 ? "up" : quote?.direction === -1 ? "down" : "";
  return (
    <button
      type="button"
      className={`symbol ${quote?.stale ? "stale" : ""}`}
      aria-pressed={chosen}
      aria-keyshortcuts={shortcut}
      title={`${instrument.description}${shortcut ? ` (key ${shortcut})` : ""}`}
      onClick={() => onChoose(instrument.symbol)}
      data-symbol={instrument.symbol}
    >
      <span className="symbol-name">
        {instrument.symbol}
        {quote?.stale && <small>stale</small>}
      </span>
      {quote ? (
        <span className={`symbol-price ${way}`}>
          <span className="bid">{quote.bid}</span>
          <span className="ask">{quote.ask}</span>
          <small title="Spread in points">{spreadPoints(dec(quote.bid), dec(quote.ask))}</small>
        </span>
      ) : (
        <span className="symbol-price waiting">no price yet</span>
      )}
    </button>
  );
}
