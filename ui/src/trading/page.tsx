import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useParams } from "react-router-dom";
import { useAccountStream, useMarket, useQuote } from "../api/live";
import { accountQuery, instrumentsQuery, programQuery } from "../api/queries";
import { type AccountSnapshot, type Instrument, type Interval, intervals } from "../api/types";
import { recall, remember } from "../lib/theme";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { whyBlocked } from "./ahead";
import { Chart } from "./chart";
import { Ended } from "./ended";
import { Limits } from "./limits";
import { Locked, OnHold, WouldBreach } from "./lock";
import { notices } from "./notices";
import { OrderTicket, type TicketHandle } from "./order-ticket";
import { ShortcutList, type Shortcuts, useShortcuts } from "./shortcuts";
import { Strip } from "./strip";
import { Symbols } from "./symbols";
import { type Tab, Tables } from "./tables";
import { useForecast } from "./use-forecast";

export default function TradingPage() {
  const { id = "" } = useParams();
  // The page asks for the account once over plain HTTP: a stream cannot say why it was refused.
  const account = useQuery(accountQuery(id));
  const instruments = useQuery(instrumentsQuery);
  if (account.isError) return <Failure error={account.error} retry={() => account.refetch()} />;
  if (instruments.isError) return <Failure error={instruments.error} retry={() => instruments.refetch()} />;
  if (!account.data || !instruments.data) return <Loading />;
  return (
    <Desk
      key={id}
      id={id}
      first={{ ...account.data, positions: [], orders: [] }}
      instruments={instruments.data}
    />
  );
}

function Loading() {
  return (
    <div className="desk" aria-busy="true">
      <div className="desk-head strip panel">
        <Skeleton lines={1} height={34} label="Loading the account" />
      </div>
      <div className="chart panel">
        <Skeleton lines={1} height={320} label="Loading the chart" />
      </div>
      <div className="side-column">
        <div className="panel">
          <Skeleton lines={6} height={36} label="Loading the ticket" />
        </div>
      </div>
    </div>
  );
}

/** A loss is no error: it is told calmly, in its colour. */
const tones = { fill: "good", loss: "loss", order: "plain" } as const;

interface DeskProps {
  id: string;
  first: AccountSnapshot;
  instruments: readonly Instrument[];
}

function Desk({ id, first, instruments }: DeskProps) {
  const notify = useNotify();
  const queries = useQueryClient();
  useMarket();
  const { snapshot, link } = useAccountStream(id, {
    onSnapshot: (next, previous) => {
      if (!previous) return;
      const found = notices(previous, next);
      for (const notice of found) notify(notice.text, tones[notice.kind]);
      if (found.length > 0 || next.status !== previous.status) {
        void queries.invalidateQueries({ queryKey: ["accounts", id] });
        void queries.invalidateQueries({ queryKey: ["challenges"] });
      }
    },
    // The banner of an ended or locked account says the verdict, and is read out as an alert.
    onVerdict: (verdict) => {
      if (verdict.kind === "warning" || verdict.kind === "violation") notify(verdict.headline, "loss");
      void queries.invalidateQueries({ queryKey: ["accounts", id] });
    },
  });
  const account = snapshot ?? first;
  const active = account.status === "active";
  const forecast = useForecast(id, account.as_of);
  const lockedUntil = active ? (forecast.data?.locked_until ?? null) : null;
  const [tab, setTab] = useState<Tab>("positions");

  // A program trades some instruments only. A program that has changed since says nothing about this account's.
  const program = useQuery(programQuery(account.program.slug));
  const traded = program.data?.version === account.program.version ? program.data.instruments : null;
  const shown = traded ? instruments.filter((instrument) => traded.includes(instrument.symbol)) : instruments;

  const [symbol, setSymbol] = useState(() => recall("symbol") ?? "");
  const [interval, setInterval] = useState<Interval>(
    () => intervals.find((known) => known === recall("interval")) ?? "1m",
  );
  const [listing, setListing] = useState(false);
  const [singleKeys, setSingleKeys] = useState(() => recall("single-keys") !== "off");
  const ticket = useRef<TicketHandle>(null);
  const instrument = shown.find((found) => found.symbol === symbol) ?? shown[0];

  const chooseSymbol = (next: string) => {
    setSymbol(next);
    remember("symbol", next);
  };
  const chooseInterval = (next: Interval) => {
    setInterval(next);
    remember("interval", next);
  };
  const moveInterval = (step: number) => {
    const next = intervals[intervals.indexOf(interval) + step];
    if (next) chooseInterval(next);
  };
  const open = active && !account.held && lockedUntil === null;
  const shortcuts: Shortcuts = {
    b: open ? () => ticket.current?.focus("buy") : undefined,
    s: open ? () => ticket.current?.focus("sell") : undefined,
    t: open ? () => ticket.current?.focus() : undefined,
    p: () => document.getElementById("tables-panel")?.focus(),
    "[": () => moveInterval(-1),
    "]": () => moveInterval(1),
    "?": () => setListing(true),
  };
  shown.slice(0, 9).forEach((found, index) => {
    shortcuts[String(index + 1)] = () => chooseSymbol(found.symbol);
  });
  useShortcuts(shortcuts, singleKeys);
  usePriceTitle(instrument?.symbol, account.number);

  if (!instrument) return <Empty title="This market has no instruments" />;
  return (
    <div className={link.status === "reconnecting" ? "desk away" : "desk"}>
      <div className="desk-head">
        <Strip account={account} link={link} onShortcuts={() => setListing(true)} />
        {!active && <Ended account={account} />}
        {active && account.held && <OnHold />}
        {lockedUntil !== null && <Locked account={account} until={lockedUntil} />}
        {active && forecast.data?.next_reset.fires && (
          <WouldBreach
            forecast={forecast.data}
            onShow={() => {
              setTab("forecast");
              document.getElementById("tables-panel")?.focus();
            }}
          />
        )}
      </div>
      <Symbols instruments={shown} chosen={instrument.symbol} onChoose={chooseSymbol} />
      <Chart
        instrument={instrument}
        interval={interval}
        onInterval={chooseInterval}
        positions={account.positions}
        orders={account.orders}
      />
      <div className="side-column">
        <OrderTicket
          key={instrument.symbol}
          ref={ticket}
          accountId={id}
          instrument={instrument}
          blocked={whyBlocked(account, lockedUntil)}
        />
        <Limits account={account} />
      </div>
      <Tables
        accountId={id}
        account={account}
        forecast={forecast}
        tab={tab}
        onTab={setTab}
        positions={account.positions}
        orders={account.orders}
        instruments={instruments}
        currency={account.currency}
        active={active}
        open={open}
        onSymbol={chooseSymbol}
      />
      {listing && (
        <ShortcutList
          enabled={singleKeys}
          onEnabled={(on) => {
            setSingleKeys(on);
            remember("single-keys", on ? "on" : "off");
          }}
          onClose={() => setListing(false)}
        />
      )}
    </div>
  );
}

/** The price in the tab's title, as traders keep several tabs. */
function usePriceTitle(symbol: string | undefined, number: string) {
  const bid = useQuote(symbol ?? "")?.bid;
  useEffect(() => {
    document.title = symbol && bid ? `${symbol} ${bid} · ${number}` : `${number} · TradeSense`;
  }, [symbol, bid, number]);
}
