import { type Decimal, dec, percentOf, rounded, sign } from "./decimal";

const MINUS = "\u2212";

/** "100000.00" -> "100,000.00", with a true minus sign. Digits are never added, dropped or rounded. */
export function group(value: Decimal): string {
  const negative = value.startsWith("-");
  const [whole = "", fraction] = (negative ? value.slice(1) : value).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${negative ? MINUS : ""}${grouped}${fraction === undefined ? "" : `.${fraction}`}`;
}

/** An amount of the API, grouped. */
export function money(amount: string): string {
  return group(dec(amount));
}

/** An amount with its currency, for sentences and headings. */
export function moneyIn(amount: string, currency: string): string {
  return `${money(amount)}\u00a0${currency}`;
}

/** A gain or loss: always with a sign, so that it can be read without its colour. */
export function signed(amount: string): string {
  const value = dec(amount);
  return sign(value) > 0 ? `+${group(value)}` : group(value);
}

/** Drops zeros after the point: "100000.00" -> "100,000", "5.50" -> "5.5". For sizes of accounts, not for balances. */
export function short(amount: string): string {
  const text = group(dec(amount));
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A figure that is no amount, to two decimals; a dash where it is not defined. */
export function figure(value: string | null, unit = ""): string {
  return value === null ? "–" : `${group(rounded(dec(value), 2))}${unit}`;
}

/** A share such as -0.0125 in per cent, to two decimals. */
export function share(value: string | null): string {
  return figure(value === null ? null : percentOf(dec(value)), "\u00a0%");
}

export function tone(amount: string): "gain" | "loss" | "flat" {
  const side = sign(dec(amount));
  return side > 0 ? "gain" : side < 0 ? "loss" : "flat";
}

/**
 * A price in the three parts that dealing screens use: the big figure, the two digits traders watch (pips) and the last
 * fraction of a pip, if the instrument has one.
 */
export function priceParts(price: string, decimals: number): { head: string; pips: string; tail: string } {
  const fractional = decimals === 3 || decimals === 5 ? 1 : 0;
  const end = price.length - fractional;
  const tail = price.slice(end);
  const body = price.slice(0, end);
  // Two digits before the fraction, without splitting at the decimal point.
  const cut =
    decimals - fractional >= 2 ? body.length - 2 : Math.max(0, body.replace(/\..*$/, "").length - 2);
  return { head: body.slice(0, cut), pips: body.slice(cut), tail };
}

const words: Record<string, string> = {
  stop_loss: "Stop loss",
  take_profit: "Take profit",
  stop_out: "Stop-out",
  liquidation: "Liquidation",
  close: "Closed by hand",
  market: "Market",
  limit: "Limit",
  stop: "Stop",
  daily_loss: "Daily loss",
  max_loss: "Maximum loss",
  profit_target: "Profit target",
  min_trading_days: "Minimum trading days",
  inactivity: "Inactivity",
  calendar_limit: "Time limit",
  ruin: "Nothing left",
  payout: "Payout",
  no_orders: "No working orders",
  flat: "No open positions",
  awaiting_payment: "Awaiting payment",
};

/** A code of the API in words. An unknown one is made readable rather than hidden. */
export function wordFor(code: string): string {
  const known = words[code];
  if (known) return known;
  const text = code.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
