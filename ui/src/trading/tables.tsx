import {
  type InfiniteData,
  type UseInfiniteQueryResult,
  type UseQueryResult,
  useInfiniteQuery,
  useMutation,
} from "@tanstack/react-query";
import { type FormEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { api, askOnce, Intent } from "../api/client";
import { allOrdersQuery, closedPositionsQuery, fillsQuery } from "../api/queries";
import type {
  Account,
  Fill,
  Forecast,
  Instrument,
  Order,
  OrderChange,
  Position,
  PositionChange,
} from "../api/types";
import { money, signed, tone, wordFor } from "../lib/format";
import { localShort, utcSeconds } from "../lib/time";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { CheckIcon, CloseIcon, PencilIcon } from "../parts/icons";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";
import { ForecastTab } from "./forecast";
import { PayoutTab } from "./payout";
import { readLots, readPrice, refusalOf } from "./ticket";
import { Verdicts } from "./verdicts";

interface TablesProps {
  accountId: string;
  account: Account;
  forecast: UseQueryResult<Forecast>;
  tab: Tab;
  onTab: (tab: Tab) => void;
  positions: readonly Position[];
  orders: readonly Order[];
  instruments: readonly Instrument[];
  currency: string;
  active: boolean;
  /** Whether a position may be opened now. */
  open: boolean;
  onSymbol: (symbol: string) => void;
}

const allTabs = [
  "positions",
  "orders",
  "forecast",
  "payout",
  "verdicts",
  "closed",
  "history",
  "fills",
] as const;
export type Tab = (typeof allTabs)[number];

export function Tables(props: TablesProps) {
  // A phase that pays nothing has no payout to show.
  const pays = Boolean(props.forecast.data?.payout);
  const tabs = allTabs.filter((name) => name !== "payout" || pays);
  const tab = tabs.includes(props.tab) ? props.tab : "positions";
  const setTab = props.onTab;
  const names: Record<Tab, string> = {
    positions: "Positions",
    orders: "Orders",
    forecast: "Forecast",
    payout: "Payout",
    verdicts: "Verdicts",
    closed: "Closed",
    history: "Order history",
    fills: "Fills",
  };
  const counts: Partial<Record<Tab, number>> = {
    positions: props.positions.length,
    orders: props.orders.length,
  };
  const onKey = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length] ?? "positions";
    setTab(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <section className="tables panel" aria-label="Positions, orders and history">
      <div role="tablist" aria-label="Tables" className="tabs" onKeyDown={onKey}>
        {tabs.map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-selected={tab === name}
            aria-controls="tables-panel"
            tabIndex={tab === name ? 0 : -1}
            onClick={() => setTab(name)}
          >
            {names[name]}
            {counts[name] !== undefined && <span className="count">{counts[name]}</span>}
            {name === "forecast" && props.active && props.forecast.data?.next_reset.fires && (
              <span className="count alarm">
                <span aria-hidden="true">!</span>
                <span className="hidden">would breach at the next reset</span>
              </span>
            )}
            {name === "payout" && props.active && props.forecast.data?.payout?.eligible && (
              <span className="count ready">
                <CheckIcon size={10} />
                <span className="hidden">every condition holds</span>
              </span>
            )}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id="tables-panel"
        aria-labelledby={`tab-${tab}`}
        tabIndex={0}
        className="table-scroll"
      >
        {tab === "positions" && <Positions {...props} />}
        {tab === "orders" && <Orders {...props} />}
        {tab === "forecast" && (
          <ForecastTab account={props.account} positions={props.positions} forecast={props.forecast} />
        )}
        {tab === "payout" && (
          <PayoutTab account={props.account} forecast={props.forecast} active={props.active} />
        )}
        {tab === "verdicts" && <Verdicts accountId={props.accountId} />}
        {tab === "closed" && <Closed accountId={props.accountId} />}
        {tab === "history" && <OrderHistory accountId={props.accountId} />}
        {tab === "fills" && <Fills accountId={props.accountId} />}
      </div>
    </section>
  );
}

function Head({ columns }: { columns: readonly [name: string, numeric: boolean][] }) {
  return (
    <thead>
      <tr>
        {columns.map(([name, numeric]) => (
          <th key={name} scope="col" className={numeric ? "num" : undefined}>
            {name.startsWith("(") ? <span className="hidden">{name.slice(1, -1)}</span> : name}
          </th>
        ))}
      </tr>
    </thead>
  );
}

function None({ children }: { children: ReactNode }) {
  return <p className="none">{children}</p>;
}

const keys = (open: boolean) =>
  open ? (
    <>
      Press <kbd>B</kbd> to buy or <kbd>S</kbd> to sell.
    </>
  ) : null;

function SymbolCell({ symbol, onSymbol }: { symbol: string; onSymbol: (symbol: string) => void }) {
  return (
    <button type="button" className="link-button" onClick={() => onSymbol(symbol)} title={`Show ${symbol}`}>
      {symbol}
    </button>
  );
}

const SideCell = ({ side }: { side: Position["side"] }) => (
  <td className={`side ${side}`}>{wordFor(side)}</td>
);

function Positions({ accountId, positions, instruments, active, open, onSymbol }: TablesProps) {
  if (positions.length === 0) return <None>No open positions. {keys(open)}</None>;
  return (
    <table className="data">
      <caption className="hidden">Open positions</caption>
      <Head
        columns={[
          ["Ticket", true],
          ["Symbol", false],
          ["Side", false],
          ["Lots", true],
          ["Profit", true],
          ["Open", true],
          ["Current", true],
          ["Stop loss", true],
          ["Take profit", true],
          ["Commission", true],
          ["Margin", true],
          ["Opened", false],
          ["(Actions)", true],
        ]}
      />
      <tbody>
        {positions.map((position) => (
          <PositionRow
            key={position.ticket}
            accountId={accountId}
            position={position}
            instrument={instruments.find((found) => found.symbol === position.symbol)}
            active={active}
            onSymbol={onSymbol}
          />
        ))}
      </tbody>
    </table>
  );
}

interface PositionRowProps {
  accountId: string;
  position: Position;
  instrument: Instrument | undefined;
  active: boolean;
  onSymbol: (symbol: string) => void;
}

function PositionRow({ accountId, position, instrument, active, onSymbol }: PositionRowProps) {
  const [dividing, setDividing] = useState(false);
  const notify = useNotify();
  const closing = useClose(accountId, position.ticket);
  const change = (body: PositionChange) => (header: { "Idempotency-Key": string }) =>
    api.PATCH("/v1/accounts/{id}/positions/{ticket}", {
      params: { path: { id: accountId, ticket: position.ticket }, header },
      body,
    });
  const name = `position ${position.ticket}`;
  return (
    <tr data-ticket={position.ticket}>
      <td className="num">{position.ticket}</td>
      <td>
        <SymbolCell symbol={position.symbol} onSymbol={onSymbol} />
      </td>
      <SideCell side={position.side} />
      <td className="num">{position.quantity}</td>
      <td className={`num profit ${tone(position.profit)}`}>{signed(position.profit)}</td>
      <td className="num">{position.open_price}</td>
      <td className="num">{position.current_price ?? "–"}</td>
      <Level
        label={`Stop loss of ${name}`}
        value={position.stop_loss}
        instrument={instrument}
        active={active}
        send={(level) => [{ stop_loss: level }, change({ stop_loss: level })]}
      />
      <Level
        label={`Take profit of ${name}`}
        value={position.take_profit}
        instrument={instrument}
        active={active}
        send={(level) => [{ take_profit: level }, change({ take_profit: level })]}
      />
      <td className="num">{money(position.commission)}</td>
      <td className="num">{money(position.margin)}</td>
      <td className="tab" title={`${utcSeconds(position.opened_at)} UTC`}>
        {localShort(position.opened_at)}
      </td>
      <td className="num row-actions">
        {active && (
          <>
            <button
              type="button"
              className="button small"
              onClick={() => setDividing(true)}
              aria-label={`Close a part of ${name}`}
            >
              Part…
            </button>
            <button
              type="button"
              className="button small danger"
              disabled={closing.isPending}
              onClick={() => closing.mutate(undefined, { onError: (error) => notify(error.message, "bad") })}
              aria-label={`Close ${name}`}
            >
              Close
            </button>
          </>
        )}
        {dividing && instrument && (
          <PartialClose
            accountId={accountId}
            position={position}
            instrument={instrument}
            onDone={() => setDividing(false)}
          />
        )}
      </td>
    </tr>
  );
}

function useClose(accountId: string, ticket: number) {
  const intent = useRef(new Intent());
  return useMutation({
    mutationFn: (quantity: string | undefined) => {
      const body = quantity === undefined ? {} : { quantity };
      return askOnce(intent.current, body, (header) =>
        api.POST("/v1/accounts/{id}/positions/{ticket}/close", {
          params: { path: { id: accountId, ticket }, header },
          body,
        }),
      );
    },
  });
}

function PartialClose({
  accountId,
  position,
  instrument,
  onDone,
}: {
  accountId: string;
  position: Position;
  instrument: Instrument;
  onDone: () => void;
}) {
  const [lots, setLots] = useState(position.quantity);
  const [error, setError] = useState<string | null>(null);
  const closing = useClose(accountId, position.ticket);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = readLots(lots, instrument, position.quantity);
    if ("error" in read) {
      setError(read.error);
      return;
    }
    closing.mutate(read.lots, {
      onSuccess: onDone,
      onError: (refused) => {
        const found = refusalOf(refused);
        setError(found.lots ?? found.order ?? "The position was not closed.");
      },
    });
  };
  return (
    <Dialog title={`Close a part of position ${position.ticket}`} onClose={onDone}>
      <form className="form" onSubmit={submit} noValidate>
        <p className="muted">
          {wordFor(position.side)} {position.quantity} {position.symbol}, opened at {position.open_price}
        </p>
        <Field
          label="Lots to close"
          inputMode="decimal"
          autoComplete="off"
          autoFocus
          value={lots}
          onFocus={(event) => event.target.select()}
          onChange={(event) => {
            setLots(event.target.value);
            setError(null);
          }}
          error={error}
          hint={`Steps of ${instrument.quantity_step}, at most ${position.quantity}.`}
        />
        <div className="actions">
          <button type="submit" className="button primary" disabled={closing.isPending}>
            {closing.isPending ? "Closing…" : "Close lots"}
          </button>
          <button type="button" className="button" onClick={onDone}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

interface LevelProps {
  label: string;
  value: string | null;
  instrument: Instrument | undefined;
  active: boolean;
  /** A price that must stay, such as a working order's, cannot be emptied. */
  required?: boolean;
  send: (
    level: string | null,
  ) => readonly [
    unknown,
    (header: { "Idempotency-Key": string }) => Promise<{ response: Response; error?: unknown }>,
  ];
}

/** A price in a table that becomes an input: Enter saves, Esc leaves, an empty text removes the level. */
function Level({ label, value, instrument, active, required = false, send }: LevelProps) {
  const [text, setText] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const intent = useRef(new Intent());
  const input = useRef<HTMLInputElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const editing = text !== null;
  useEffect(() => {
    if (editing) input.current?.select();
  }, [editing]);
  const leave = () => {
    setText(null);
    setError(null);
    // The button exists again after this render.
    requestAnimationFrame(() => opener.current?.focus());
  };
  const save = useMutation({
    mutationFn: (level: string | null) => {
      const [body, request] = send(level);
      return askOnce(intent.current, body, request);
    },
    onSuccess: leave,
    onError: (refused) => {
      const found = refusalOf(refused);
      setError(
        found.stopLoss ?? found.takeProfit ?? found.price ?? found.order ?? "The level was not changed.",
      );
      input.current?.focus();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!instrument || text === null) return;
    const read = readPrice(text, instrument);
    if ("error" in read) setError(read.error);
    else if (read.price === null && required) setError("A price is needed.");
    else if (read.price === value) leave();
    else save.mutate(read.price);
  };
  if (!editing) {
    return (
      <td className="num">
        {active ? (
          <button
            ref={opener}
            type="button"
            className="level"
            onClick={() => setText(value ?? "")}
            aria-label={
              value === null
                ? `Set ${label.charAt(0).toLowerCase()}${label.slice(1)}`
                : `${label}: ${value}, change`
            }
          >
            {value ?? <span className="muted">Set</span>}
            <PencilIcon size={11} />
          </button>
        ) : (
          (value ?? "–")
        )}
      </td>
    );
  }
  return (
    <td className="num editing">
      <form onSubmit={submit} noValidate>
        <input
          ref={input}
          inputMode="decimal"
          autoComplete="off"
          aria-label={label}
          aria-invalid={error ? true : undefined}
          // biome-ignore lint/a11y/noAutofocus: the person has just opened this input.
          autoFocus
          value={text}
          readOnly={save.isPending}
          onChange={(event) => {
            setText(event.target.value);
            setError(null);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") {
              event.stopPropagation();
              leave();
            }
          }}
        />
        <button type="submit" className="hidden" tabIndex={-1}>
          Save
        </button>
        <button type="button" className="icon-button" onClick={leave} aria-label="Leave unchanged">
          <CloseIcon size={11} />
        </button>
        {error && (
          <p className="field-error" role="alert">
            {error}
          </p>
        )}
      </form>
    </td>
  );
}

function Orders({ accountId, orders, instruments, active, onSymbol }: TablesProps) {
  if (orders.length === 0)
    return <None>No working orders. Choose Limit or Stop in the ticket to place one.</None>;
  return (
    <table className="data">
      <caption className="hidden">Working orders</caption>
      <Head
        columns={[
          ["Symbol", false],
          ["Side", false],
          ["Type", false],
          ["Lots", true],
          ["Price", true],
          ["Stop loss", true],
          ["Take profit", true],
          ["Placed", false],
          ["Ticket", true],
          ["(Actions)", true],
        ]}
      />
      <tbody>
        {orders.map((order) => (
          <OrderRow
            key={order.ticket}
            accountId={accountId}
            order={order}
            instrument={instruments.find((found) => found.symbol === order.symbol)}
            active={active}
            onSymbol={onSymbol}
          />
        ))}
      </tbody>
    </table>
  );
}

interface OrderRowProps {
  accountId: string;
  order: Order;
  instrument: Instrument | undefined;
  active: boolean;
  onSymbol: (symbol: string) => void;
}

function OrderRow({ accountId, order, instrument, active, onSymbol }: OrderRowProps) {
  const notify = useNotify();
  const intent = useRef(new Intent());
  const path = { id: accountId, ticket: order.ticket };
  const cancel = useMutation({
    mutationFn: () =>
      askOnce(intent.current, { cancel: order.ticket }, (header) =>
        api.DELETE("/v1/accounts/{id}/orders/{ticket}", { params: { path, header } }),
      ),
    onError: (error) => notify(error.message, "bad"),
  });
  const change = (body: OrderChange) => (header: { "Idempotency-Key": string }) =>
    api.PATCH("/v1/accounts/{id}/orders/{ticket}", { params: { path, header }, body });
  const level = (name: "price" | "stop_loss" | "take_profit", label: string) => (
    <Level
      label={`${label} of order ${order.ticket}`}
      value={order[name]}
      instrument={instrument}
      active={active}
      required={name === "price"}
      send={(value) => [{ [name]: value }, change({ [name]: value })]}
    />
  );
  return (
    <tr data-ticket={order.ticket}>
      <td>
        <SymbolCell symbol={order.symbol} onSymbol={onSymbol} />
      </td>
      <SideCell side={order.side} />
      <td>{wordFor(order.kind)}</td>
      <td className="num">{order.quantity}</td>
      {level("price", "Price")}
      {level("stop_loss", "Stop loss")}
      {level("take_profit", "Take profit")}
      <td className="tab" title={`${utcSeconds(order.placed_at)} UTC`}>
        {localShort(order.placed_at)}
      </td>
      <td className="num">{order.ticket}</td>
      <td className="num row-actions">
        {active && (
          <button
            type="button"
            className="button small danger"
            disabled={cancel.isPending}
            onClick={() => cancel.mutate()}
            aria-label={`Cancel order ${order.ticket}`}
          >
            Cancel
          </button>
        )}
      </td>
    </tr>
  );
}

interface HistoryProps<T> {
  pages: UseInfiniteQueryResult<InfiniteData<{ items: T[] }>>;
  caption: string;
  none: string;
  columns: readonly [name: string, numeric: boolean][];
  row: (item: T) => ReactNode;
}

/** A list that the server gives in pages, the newest first; the person asks for older ones. */
function History<T>({ pages, caption, none, columns, row }: HistoryProps<T>) {
  if (pages.isPending) return <Skeleton lines={4} height={22} label={`Loading ${caption.toLowerCase()}`} />;
  // A page that fails later leaves what is already there.
  if (!pages.data) return <Failure error={pages.error} retry={() => pages.refetch()} />;
  const items = pages.data.pages.flatMap((page) => page.items);
  if (items.length === 0) return <None>{none}</None>;
  return (
    <>
      <table className="data">
        <caption className="hidden">{caption}</caption>
        <Head columns={columns} />
        <tbody>{items.map(row)}</tbody>
      </table>
      {pages.isError && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.hasNextPage && (
        <p className="more">
          <button
            type="button"
            className="button small"
            disabled={pages.isFetchingNextPage}
            onClick={() => pages.fetchNextPage()}
          >
            {pages.isFetchingNextPage ? "Loading…" : "Load more"}
          </button>
          <span className="muted">{items.length} shown</span>
        </p>
      )}
    </>
  );
}

function Closed({ accountId }: { accountId: string }) {
  return (
    <History
      pages={useInfiniteQuery(closedPositionsQuery(accountId))}
      caption="Closed positions"
      none="Nothing has been closed on this account yet."
      columns={[
        ["Symbol", false],
        ["Side", false],
        ["Lots", true],
        ["Open", true],
        ["Close", true],
        ["Profit", true],
        ["Commission", true],
        ["Reason", false],
        ["Opened", false],
        ["Closed", false],
        ["Ticket", true],
      ]}
      row={(position) => <ClosedRow key={position.ticket} position={position} />}
    />
  );
}

function ClosedRow({ position }: { position: Position }) {
  return (
    <tr>
      <td>{position.symbol}</td>
      <SideCell side={position.side} />
      <td className="num">{position.quantity}</td>
      <td className="num">{position.open_price}</td>
      <td className="num">{position.close_price ?? "–"}</td>
      <td className={`num ${tone(position.profit)}`}>{signed(position.profit)}</td>
      <td className="num">{money(position.commission)}</td>
      <td>{position.close_reason ? wordFor(position.close_reason) : "–"}</td>
      <td className="tab">{localShort(position.opened_at)}</td>
      <td className="tab">{position.closed_at ? localShort(position.closed_at) : "–"}</td>
      <td className="num">{position.ticket}</td>
    </tr>
  );
}

function OrderHistory({ accountId }: { accountId: string }) {
  return (
    <History
      pages={useInfiniteQuery(allOrdersQuery(accountId))}
      caption="Order history"
      none="No orders on this account yet."
      columns={[
        ["Symbol", false],
        ["Side", false],
        ["Type", false],
        ["Lots", true],
        ["Price", true],
        ["State", false],
        ["Reason", false],
        ["Placed", false],
        ["Done", false],
        ["Position", true],
        ["Ticket", true],
      ]}
      row={(order) => <PastOrderRow key={order.ticket} order={order} />}
    />
  );
}

function PastOrderRow({ order }: { order: Order }) {
  return (
    <tr>
      <td>{order.symbol}</td>
      <SideCell side={order.side} />
      <td>{wordFor(order.kind)}</td>
      <td className="num">{order.quantity}</td>
      <td className="num">{order.price ?? "–"}</td>
      <td>{wordFor(order.state)}</td>
      <td>{order.reason ? wordFor(order.reason) : "–"}</td>
      <td className="tab" title={`${utcSeconds(order.placed_at)} UTC`}>
        {localShort(order.placed_at)}
      </td>
      <td className="tab">{order.done_at ? localShort(order.done_at) : "–"}</td>
      <td className="num">{order.position ?? "–"}</td>
      <td className="num">{order.ticket}</td>
    </tr>
  );
}

function Fills({ accountId }: { accountId: string }) {
  return (
    <History
      pages={useInfiniteQuery(fillsQuery(accountId))}
      caption="Fills"
      none="No fills on this account yet."
      columns={[
        ["Time", false],
        ["Symbol", false],
        ["Side", false],
        ["Lots", true],
        ["Price", true],
        ["Reason", false],
        ["Profit", true],
        ["Commission", true],
        ["Position", true],
        ["Order", true],
        ["Fill", true],
      ]}
      row={(fill) => <FillRow key={fill.number} fill={fill} />}
    />
  );
}

function FillRow({ fill }: { fill: Fill }) {
  return (
    <tr>
      <td className="tab" title={`${utcSeconds(fill.at)} UTC`}>
        {localShort(fill.at)}
      </td>
      <td>{fill.symbol}</td>
      <SideCell side={fill.side} />
      <td className="num">{fill.quantity}</td>
      <td className="num">{fill.price}</td>
      <td>{wordFor(fill.reason)}</td>
      <td className={`num ${tone(fill.profit)}`}>{signed(fill.profit)}</td>
      <td className="num">{money(fill.commission)}</td>
      <td className="num">{fill.ticket}</td>
      <td className="num">{fill.order ?? "–"}</td>
      <td className="num">{fill.number}</td>
    </tr>
  );
}
