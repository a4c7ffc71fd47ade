// Amounts, prices and lots arrive as decimal strings and stay strings until they are shown. Arithmetic happens on
// BigInt, so a value is never rounded by passing through a binary floating-point number.

declare const brand: unique symbol;

/** A decimal number in plain notation, such as "-12.50". Made only by `dec` and `readDecimal`. */
export type Decimal = string & { readonly [brand]: "decimal" };

interface Parts {
  units: bigint;
  scale: number;
}

const PLAIN = /^-?\d+(\.\d+)?$/;
const TYPED = /^-?(\d+\.?\d*|\.\d+)$/;

/** Brands a decimal string of the API. Throws on anything else, since a wrong amount must not be shown. */
export function dec(text: string): Decimal {
  if (!PLAIN.test(text)) throw new RangeError(`not a decimal number: ${JSON.stringify(text)}`);
  return text as Decimal;
}

/** Whether a text of the API is a number: a condition's value may also be a word, a date or a share. */
export function isDecimal(text: string): boolean {
  return PLAIN.test(text);
}

/** Reads what a person typed: accepts "1.", ".5" and a decimal comma; null when it is not a number. */
export function readDecimal(text: string): Decimal | null {
  const typed = text.trim().replace(",", ".");
  if (!TYPED.test(typed)) return null;
  const negative = typed.startsWith("-");
  const [whole = "", fraction = ""] = (negative ? typed.slice(1) : typed).split(".");
  const digits = whole.replace(/^0+(?=\d)/, "") || "0";
  return `${negative ? "-" : ""}${digits}${fraction ? `.${fraction}` : ""}` as Decimal;
}

function parts(value: Decimal): Parts {
  const dot = value.indexOf(".");
  if (dot < 0) return { units: BigInt(value), scale: 0 };
  return { units: BigInt(value.slice(0, dot) + value.slice(dot + 1)), scale: value.length - dot - 1 };
}

function print({ units, scale }: Parts): Decimal {
  const negative = units < 0n;
  const digits = (negative ? -units : units).toString().padStart(scale + 1, "0");
  const cut = digits.length - scale;
  const text = scale === 0 ? digits : `${digits.slice(0, cut)}.${digits.slice(cut)}`;
  return (negative ? `-${text}` : text) as Decimal;
}

/** Both values as whole numbers of the finer one's last digit. */
function align(a: Decimal, b: Decimal): { left: bigint; right: bigint; scale: number } {
  const x = parts(a);
  const y = parts(b);
  const scale = Math.max(x.scale, y.scale);
  return {
    left: x.units * 10n ** BigInt(scale - x.scale),
    right: y.units * 10n ** BigInt(scale - y.scale),
    scale,
  };
}

/** -1, 0 or 1. */
export function compare(a: Decimal, b: Decimal): -1 | 0 | 1 {
  const { left, right } = align(a, b);
  return left < right ? -1 : left > right ? 1 : 0;
}

export function sign(value: Decimal): -1 | 0 | 1 {
  const { units } = parts(value);
  return units < 0n ? -1 : units > 0n ? 1 : 0;
}

export function add(a: Decimal, b: Decimal): Decimal {
  const { left, right, scale } = align(a, b);
  return print({ units: left + right, scale });
}

export function subtract(a: Decimal, b: Decimal): Decimal {
  const { left, right, scale } = align(a, b);
  return print({ units: left - right, scale });
}

/** How many digits stand after the point. */
export function decimals(value: string): number {
  return parts(dec(value)).scale;
}

/** The number with exactly `scale` decimals; null when that would drop a digit other than zero. */
export function withScale(value: Decimal, scale: number): Decimal | null {
  const { units, scale: has } = parts(value);
  if (has <= scale) return print({ units: units * 10n ** BigInt(scale - has), scale });
  const drop = 10n ** BigInt(has - scale);
  return units % drop === 0n ? print({ units: units / drop, scale }) : null;
}

/** The smallest step of a number with that many decimals: 5 gives 0.00001. */
export function smallestStep(decimals: number): Decimal {
  return print({ units: 1n, scale: decimals });
}

export function isMultiple(value: Decimal, step: Decimal): boolean {
  const { left, right } = align(value, step);
  return right !== 0n && left % right === 0n;
}

/** `value` moved by `count` steps, put on the grid of the step and kept within the bounds. */
export function moveBySteps(
  value: Decimal,
  step: Decimal,
  count: number,
  min: Decimal,
  max: Decimal,
): Decimal {
  const { left, right: unit, scale } = align(value, step);
  if (unit <= 0n) return value;
  const below = left % unit;
  // A value between two steps goes to its neighbour in the direction of the move first.
  const start = below === 0n ? left : count > 0 ? left - below : left - below + unit;
  const moved = print({ units: start + BigInt(count) * unit, scale });
  if (compare(moved, min) < 0) return min;
  return compare(moved, max) > 0 ? max : moved;
}

/**
 * `part / whole` in ten-thousandths, cut to 0..10000. For widths of bars only: the division drops the remainder.
 */
export function ratio(part: Decimal, whole: Decimal): number {
  const { left, right } = align(part, whole);
  if (right <= 0n) return 0;
  const scaled = (left * 10_000n) / right;
  return scaled < 0n ? 0 : scaled > 10_000n ? 10_000 : Number(scaled);
}

/** To `scale` decimals, halves away from zero. For figures that are no amounts: those are shown with every digit. */
export function rounded(value: Decimal, scale: number): Decimal {
  const { units, scale: has } = parts(value);
  if (has <= scale) return print({ units: units * 10n ** BigInt(scale - has), scale });
  const drop = 10n ** BigInt(has - scale);
  const half = units < 0n ? -drop / 2n : drop / 2n;
  return print({ units: (units + half) / drop, scale });
}

/** A share in per cent: 0.0125 gives 1.25. */
export function percentOf(share: Decimal): Decimal {
  const { units, scale } = parts(share);
  return print({ units: units * 100n, scale });
}

/**
 * At most `most` round numbers (1, 2 or 5 and zeros apart) between two values, for the lines of a scale. None are finer than
 * the values' own last digit.
 */
export function roundValues(low: Decimal, high: Decimal, most: number): Decimal[] {
  const { left, right, scale } = align(low, high);
  for (let power = 1n; right > left; power *= 10n) {
    for (const step of [power, 2n * power, 5n * power]) {
      const first = (left / step) * step;
      const from = first < left ? first + step : first;
      const count = from > right ? 0n : (right - from) / step + 1n;
      if (count <= BigInt(most))
        return Array.from({ length: Number(count) }, (_, index) =>
          print({ units: from + BigInt(index) * step, scale }),
        );
    }
  }
  return [];
}

/** How many of an instrument's smallest price steps lie between bid and ask. */
export function spreadPoints(bid: Decimal, ask: Decimal): string {
  const { left, right } = align(ask, bid);
  return (left - right).toString();
}

/**
 * The coordinate of a price for the chart library, which draws with binary floating-point numbers. The only place where an amount
 * becomes one: what comes out positions a pixel, and is never shown, compared or sent.
 */
export function chartCoordinate(price: Decimal): number {
  return Number(price);
}
