import { ApiError } from "../api/error";
import type { Instrument, NewOrder, OrderKind, Side } from "../api/types";
import { compare, type Decimal, dec, isMultiple, readDecimal, sign, withScale } from "../lib/decimal";

export interface Draft {
  side: Side;
  kind: OrderKind;
  lots: string;
  price: string;
  stopLoss: string;
  takeProfit: string;
}

export type DraftField = "lots" | "price" | "stopLoss" | "takeProfit";
export type DraftErrors = Partial<Record<DraftField | "order", string>>;

export const emptyDraft: Draft = {
  side: "buy",
  kind: "market",
  lots: "0.10",
  price: "",
  stopLoss: "",
  takeProfit: "",
};

/** Reads lots as typed and checks them against the instrument; a sentence when they cannot be sent. */
export function readLots(
  text: string,
  instrument: Instrument,
  max = instrument.quantity_max,
): { lots: Decimal } | { error: string } {
  const lots = readDecimal(text);
  if (lots === null) return { error: "Enter a size in lots." };
  if (compare(lots, dec(instrument.quantity_min)) < 0)
    return { error: `At least ${instrument.quantity_min} lots.` };
  if (compare(lots, dec(max)) > 0) return { error: `At most ${max} lots.` };
  if (!isMultiple(lots, dec(instrument.quantity_step)))
    return { error: `In steps of ${instrument.quantity_step} lots.` };
  return { lots: sameScale(lots, dec(instrument.quantity_step)) };
}

function sameScale(value: Decimal, like: Decimal): Decimal {
  const dot = like.indexOf(".");
  return withScale(value, dot < 0 ? 0 : like.length - dot - 1) ?? value;
}

/** Reads a price as typed, printed with the instrument's decimals; empty text is null. */
export function readPrice(
  text: string,
  instrument: Instrument,
): { price: Decimal | null } | { error: string } {
  if (text.trim() === "") return { price: null };
  const typed = readDecimal(text);
  if (typed === null || sign(typed) <= 0) return { error: "Enter a price above zero." };
  const price = withScale(typed, instrument.price_decimals);
  return price === null ? { error: `At most ${instrument.price_decimals} decimals.` } : { price };
}

/** The order to send, or what is wrong beside each field. Whether prices make sense on this market is the server's to say. */
export function readDraft(
  draft: Draft,
  instrument: Instrument,
): { order: NewOrder } | { errors: DraftErrors } {
  const errors: DraftErrors = {};
  const lots = readLots(draft.lots, instrument);
  const price = readPrice(draft.kind === "market" ? "" : draft.price, instrument);
  const stopLoss = readPrice(draft.stopLoss, instrument);
  const takeProfit = readPrice(draft.takeProfit, instrument);
  if ("error" in lots) errors.lots = lots.error;
  if ("error" in price) errors.price = price.error;
  else if (draft.kind !== "market" && price.price === null) errors.price = "A price is needed.";
  if ("error" in stopLoss) errors.stopLoss = stopLoss.error;
  if ("error" in takeProfit) errors.takeProfit = takeProfit.error;
  if ("error" in lots || "error" in price || "error" in stopLoss || "error" in takeProfit || errors.price)
    return { errors };
  const order: NewOrder = {
    symbol: instrument.symbol,
    side: draft.side,
    kind: draft.kind,
    quantity: lots.lots,
  };
  if (price.price !== null) order.price = price.price;
  if (stopLoss.price !== null) order.stop_loss = stopLoss.price;
  if (takeProfit.price !== null) order.take_profit = takeProfit.price;
  return { order };
}

const wire: Record<DraftField, string> = {
  lots: "quantity",
  price: "price",
  stopLoss: "stop_loss",
  takeProfit: "take_profit",
};

/** The server's refusal, each part beside its field; what belongs to no field goes under `order`. */
export function refusalOf(error: unknown): DraftErrors {
  if (!(error instanceof ApiError))
    return { order: error instanceof Error ? error.message : "The order was not sent." };
  const found: DraftErrors = {};
  for (const [field, name] of Object.entries(wire) as [DraftField, string][]) {
    const text = error.field(name);
    if (text) found[field] = text;
  }
  if (Object.keys(found).length > 0) return found;
  const suffix = error.status >= 500 && error.requestId ? ` (request ${error.requestId})` : "";
  return { order: `${error.detail}${suffix}` };
}
