import { useMutation } from "@tanstack/react-query";
import {
  type FormEvent,
  type KeyboardEvent,
  type Ref,
  useId,
  useImperativeHandle,
  useRef,
  useState,
} from "react";
import { api, askOnce, Intent } from "../api/client";
import { market, useQuote } from "../api/live";
import type { Instrument, NewOrder, OrderKind, Side } from "../api/types";
import { dec, moveBySteps, readDecimal, smallestStep, spreadPoints, withScale } from "../lib/decimal";
import { short, wordFor } from "../lib/format";
import { useNotify } from "../parts/notify";
import { Price } from "./symbols";
import { type Draft, type DraftErrors, type DraftField, emptyDraft, readDraft, refusalOf } from "./ticket";

export interface TicketHandle {
  /** Chooses the side, if one is given, and puts the cursor into the size. */
  focus: (side?: Side) => void;
}

interface TicketProps {
  accountId: string;
  instrument: Instrument;
  /** Why nothing may be bought or sold; null while trading is open. */
  blocked: string | null;
  ref: Ref<TicketHandle>;
}

const kinds: readonly OrderKind[] = ["market", "limit", "stop"];
const presets = ["0.10", "0.50", "1.00", "5.00"];
/** One pip on instruments that quote a tenth of it. */
const POINTS_PER_STEP = 10;

export function OrderTicket({ accountId, instrument, blocked, ref }: TicketProps) {
  const closed = blocked !== null;
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const [errors, setErrors] = useState<DraftErrors>({});
  const lotsInput = useRef<HTMLInputElement>(null);
  const intent = useRef(new Intent());
  const notify = useNotify();
  const ids = useId();
  const { symbol } = instrument;
  useImperativeHandle(ref, () => ({
    focus: (side) => {
      if (side) setDraft((held) => ({ ...held, side }));
      lotsInput.current?.focus();
      lotsInput.current?.select();
    },
  }));

  const place = useMutation({
    mutationFn: (order: NewOrder) =>
      askOnce(intent.current, order, (header) =>
        api.POST("/v1/accounts/{id}/orders", { params: { path: { id: accountId }, header }, body: order }),
      ),
    onSuccess: (order) => {
      setErrors({});
      if (order.state === "rejected")
        notify(`Order ${order.ticket} was rejected: ${wordFor(order.reason ?? "no reason given")}`, "bad");
      // Levels belong to one idea; size and side stay for the next order.
      setDraft((held) => ({ ...held, price: "", stopLoss: "", takeProfit: "" }));
    },
    onError: (error) => setErrors(refusalOf(error)),
  });

  const change = (field: keyof Draft, text: string) => {
    setDraft((held) => ({ ...held, [field]: text }));
    setErrors((held) => ({ ...held, [field]: undefined, order: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (closed || place.isPending) return;
    const read = readDraft(draft, instrument);
    if ("errors" in read) {
      setErrors(read.errors);
      const first = (["lots", "price", "stopLoss", "takeProfit"] as const).find(
        (field) => read.errors[field],
      );
      if (first) document.getElementById(`${ids}-${first}`)?.focus();
      return;
    }
    setErrors({});
    place.mutate(read.order);
  };

  const moveLots = (count: number) => {
    const held = readDecimal(draft.lots) ?? dec(instrument.quantity_min);
    const { quantity_step: step, quantity_min: min, quantity_max: max } = instrument;
    change("lots", moveBySteps(held, dec(step), count, dec(min), dec(max)));
  };
  const movePrice = (field: "price" | "stopLoss" | "takeProfit", count: number) => {
    const quote = market.quote(symbol);
    const start =
      readDecimal(draft[field]) ?? (quote ? dec(draft.side === "buy" ? quote.ask : quote.bid) : null);
    if (start === null) return;
    const point = smallestStep(instrument.price_decimals);
    const steps = draft[field] === "" ? 0 : count * POINTS_PER_STEP;
    change(
      field,
      withScale(moveBySteps(start, point, steps, point, dec("99999999")), instrument.price_decimals) ?? start,
    );
  };
  const onArrows = (move: (count: number) => void) => (event: KeyboardEvent) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    move((event.key === "ArrowUp" ? 1 : -1) * (event.shiftKey ? 10 : 1));
  };

  const input = (field: DraftField, label: string, placeholder: string) => (
    <div className="ticket-field">
      <label htmlFor={`${ids}-${field}`}>{label}</label>
      <input
        id={`${ids}-${field}`}
        inputMode="decimal"
        autoComplete="off"
        placeholder={placeholder}
        value={draft[field]}
        disabled={closed}
        onChange={(event) => change(field, event.target.value)}
        onKeyDown={field === "lots" ? onArrows(moveLots) : onArrows((count) => movePrice(field, count))}
        aria-invalid={errors[field] ? true : undefined}
        aria-describedby={errors[field] ? `${ids}-${field}-error` : undefined}
      />
      {errors[field] && (
        <p className="field-error" id={`${ids}-${field}-error`}>
          {errors[field]}
        </p>
      )}
    </div>
  );

  const price = draft.kind === "market" ? "" : draft.price ? ` at ${draft.price}` : "";
  return (
    <section className="ticket panel" aria-label="Order ticket">
      <form onSubmit={submit} noValidate>
        <Sides
          instrument={instrument}
          side={draft.side}
          closed={closed}
          onSide={(side) => change("side", side)}
        />
        <div className="ticket-body">
          <fieldset className="segments wide">
            <legend className="hidden">Order type</legend>
            {kinds.map((kind) => (
              <button
                key={kind}
                type="button"
                aria-pressed={draft.kind === kind}
                disabled={closed}
                onClick={() => change("kind", kind)}
              >
                {wordFor(kind)}
              </button>
            ))}
          </fieldset>
          <div className="ticket-field">
            <label htmlFor={`${ids}-lots`}>
              Lots{" "}
              <small>
                1 = {short(String(instrument.contract_size))} {instrument.base_currency}
              </small>
            </label>
            <div className="stepper">
              <button
                type="button"
                tabIndex={-1}
                disabled={closed}
                onClick={() => moveLots(-1)}
                aria-label="Fewer lots"
              >
                −
              </button>
              <input
                ref={lotsInput}
                id={`${ids}-lots`}
                inputMode="decimal"
                autoComplete="off"
                value={draft.lots}
                disabled={closed}
                onChange={(event) => change("lots", event.target.value)}
                onKeyDown={onArrows(moveLots)}
                aria-invalid={errors.lots ? true : undefined}
                aria-describedby={errors.lots ? `${ids}-lots-error` : undefined}
              />
              <button
                type="button"
                tabIndex={-1}
                disabled={closed}
                onClick={() => moveLots(1)}
                aria-label="More lots"
              >
                +
              </button>
            </div>
            {errors.lots && (
              <p className="field-error" id={`${ids}-lots-error`}>
                {errors.lots}
              </p>
            )}
            <div className="presets">
              {presets.map((preset) => (
                <button
                  key={preset}
                  type="button"
                  disabled={closed}
                  onClick={() => change("lots", preset)}
                  aria-label={`${preset} lots`}
                >
                  {preset}
                </button>
              ))}
            </div>
          </div>
          {draft.kind !== "market" &&
            input("price", draft.kind === "limit" ? "Limit price" : "Stop price", "Price")}
          <div className="pair">
            {input("stopLoss", "Stop loss", "None")}
            {input("takeProfit", "Take profit", "None")}
          </div>
          {closed && (
            <p className="blocked" id={`${ids}-blocked`}>
              {blocked}
            </p>
          )}
          {!closed && errors.order && (
            <p className="form-error" role="alert">
              {errors.order}
            </p>
          )}
          <button
            type="submit"
            className={`button submit ${draft.side}`}
            disabled={closed || place.isPending}
            aria-describedby={closed ? `${ids}-blocked` : undefined}
          >
            {place.isPending
              ? "Sending…"
              : `${wordFor(draft.side)}${draft.kind === "market" ? "" : ` ${draft.kind}`} ${draft.lots || "0"} ${symbol}${price}`}
          </button>
        </div>
      </form>
    </section>
  );
}

function Sides({
  instrument,
  side,
  closed,
  onSide,
}: {
  instrument: Instrument;
  side: Side;
  closed: boolean;
  onSide: (side: Side) => void;
}) {
  const quote = useQuote(instrument.symbol);
  const button = (which: Side, price: string | undefined) => (
    <button
      type="button"
      className={`side-button ${which}`}
      aria-pressed={side === which}
      disabled={closed}
      onClick={() => onSide(which)}
    >
      <span>{wordFor(which)}</span>
      <span className="side-price">
        {price ? <Price price={price} decimals={instrument.price_decimals} /> : "–"}
      </span>
    </button>
  );
  return (
    <fieldset className="sides">
      <legend className="hidden">Side</legend>
      {button("sell", quote?.bid)}
      <span className="spread" title="Spread in points">
        <span className="hidden">Spread in points</span>
        {quote ? spreadPoints(dec(quote.bid), dec(quote.ask)) : "–"}
      </span>
      {button("buy", quote?.ask)}
    </fieldset>
  );
}
