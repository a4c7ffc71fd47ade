import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { api, ask } from "./client";
import {
  applyTicks,
  backoff,
  connecting,
  type Link,
  type LinkEvent,
  type LiveQuote,
  nextLink,
  type QuoteBook,
} from "./live-state";
import type { AccountSnapshot, Quote, Tick, Verdict } from "./types";

/** A browser opens six connections to one origin. A tab out of sight gives its streams back after this time. */
const HIDDEN_FOR_MS = 60_000;

interface Stream {
  url: string;
  on: Record<string, (data: unknown) => void>;
  onLink: (link: Link) => void;
}

/** Opens a server-sent event stream and keeps it open until the returned function is called. */
function openStream({ url, on, onLink }: Stream): () => void {
  let source: EventSource | null = null;
  let link: Link = connecting;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let hide: ReturnType<typeof setTimeout> | undefined;

  const move = (event: LinkEvent) => {
    const next = nextLink(link, event);
    if (next === link) return;
    link = next;
    onLink(link);
  };
  const close = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    const opened = new EventSource(url);
    source = opened;
    opened.onopen = () => move("opened");
    opened.onerror = () => {
      move("lost");
      // The browser retries a broken connection itself, but gives up on an answer that is no event stream.
      if (opened.readyState === EventSource.CLOSED)
        retry = setTimeout(open, backoff(link.attempt, Math.random()));
    };
    for (const [name, handle] of Object.entries(on)) {
      opened.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
    }
  };
  const onVisibility = () => {
    clearTimeout(hide);
    if (document.hidden) {
      hide = setTimeout(() => {
        close();
        move("paused");
      }, HIDDEN_FOR_MS);
    } else if (link.status === "paused") {
      move("resumed");
      open();
    }
  };

  document.addEventListener("visibilitychange", onVisibility);
  open();
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    clearTimeout(hide);
    close();
  };
}

/**
 * The market: one stream for the whole page, shared by everything that shows a price. Components subscribe to one
 * symbol, so a tick redraws only what shows it.
 */
const STALE_CHECK_MS = 10_000;

function createMarket() {
  let book: QuoteBook = new Map();
  let link: Link = connecting;
  let users = 0;
  let stop: (() => void) | null = null;
  const watchers = new Set<() => void>();
  const tickers = new Set<(ticks: readonly Tick[]) => void>();
  const tell = () => {
    for (const watcher of watchers) watcher();
  };

  const take = (ticks: readonly Tick[]) => {
    const next = applyTicks(book, ticks);
    if (next === book) return;
    book = next;
    for (const ticker of tickers) ticker(ticks);
    tell();
  };
  // The stream is silent while every market stands still; the list then says whether the last prices may be traded.
  const check = async () => {
    let quotes: Quote[];
    try {
      quotes = (await ask(api.GET("/v1/market/quotes"))).items;
    } catch {
      // The state of the stream already tells the person that the server is away.
      return;
    }
    const next = applyTicks(book, quotes);
    if (next !== book) {
      book = next;
      tell();
    }
  };
  const start = () => {
    void check();
    const timer = setInterval(check, STALE_CHECK_MS);
    const closeStream = openStream({
      url: "/v1/market/stream",
      on: { quotes: (data) => take(data as Tick[]) },
      onLink: (next) => {
        link = next;
        tell();
      },
    });
    return () => {
      clearInterval(timer);
      closeStream();
      link = connecting;
    };
  };

  return {
    /** Keeps the stream open while at least one component uses the market. */
    hold(): () => void {
      users += 1;
      if (users === 1) stop = start();
      return () => {
        users -= 1;
        if (users === 0) {
          stop?.();
          stop = null;
        }
      };
    },
    watch(watcher: () => void): () => void {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    onTicks(ticker: (ticks: readonly Tick[]) => void): () => void {
      tickers.add(ticker);
      return () => tickers.delete(ticker);
    },
    quote: (symbol: string): LiveQuote | undefined => book.get(symbol),
    link: () => link,
  };
}

export const market = createMarket();

/** Opens the market's stream for as long as the component lives. */
export function useMarket(): Link {
  useEffect(() => market.hold(), []);
  return useSyncExternalStore(market.watch, market.link);
}

export function useQuote(symbol: string): LiveQuote | undefined {
  return useSyncExternalStore(market.watch, () => market.quote(symbol));
}

interface AccountHandlers {
  onSnapshot?: (next: AccountSnapshot, previous: AccountSnapshot | null) => void;
  onVerdict?: (verdict: Verdict) => void;
}

/** The account as the server sees it, live. Null until the first event. */
export function useAccountStream(
  id: string,
  handlers: AccountHandlers,
): { snapshot: AccountSnapshot | null; link: Link } {
  const [state, setState] = useState<{ id: string; snapshot: AccountSnapshot | null; link: Link }>({
    id,
    snapshot: null,
    link: connecting,
  });
  // The handlers of the latest render, so that a new closure does not reopen the stream.
  const latest = useRef(handlers);
  useEffect(() => {
    latest.current = handlers;
  });
  useEffect(() => {
    let previous: AccountSnapshot | null = null;
    setState({ id, snapshot: null, link: connecting });
    return openStream({
      url: `/v1/accounts/${encodeURIComponent(id)}/stream`,
      on: {
        account: (data) => {
          const next = data as AccountSnapshot;
          setState((held) => ({ ...held, snapshot: next }));
          latest.current.onSnapshot?.(next, previous);
          previous = next;
        },
        verdict: (data) => latest.current.onVerdict?.(data as Verdict),
      },
      onLink: (link) => setState((held) => ({ ...held, link })),
    });
  }, [id]);
  return state.id === id ? state : { snapshot: null, link: connecting };
}
