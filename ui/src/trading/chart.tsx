import { useQuery } from "@tanstack/react-query";
import {
  type CandlestickData,
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  createChart,
  type IChartApi,
  type IPriceLine,
  type ISeriesApi,
  LineStyle,
  type UTCTimestamp,
} from "lightweight-charts";
import { useEffect, useMemo, useRef, useState } from "react";
import { market } from "../api/live";
import { candlesQuery } from "../api/queries";
import {
  type Candle,
  type Instrument,
  type Interval,
  intervals,
  type Order,
  type Position,
} from "../api/types";
import { chartCoordinate, compare, dec } from "../lib/decimal";
import { type Theme, useTheme } from "../lib/theme";
import { Failure, Skeleton } from "../parts/states";
import { rising, withBid } from "./candles";

/** Candles of the server replace the ones built here from ticks, so a gap in the stream heals. */
const REFRESH_MS = 60_000;

interface ChartProps {
  instrument: Instrument;
  interval: Interval;
  onInterval: (interval: Interval) => void;
  positions: readonly Position[];
  orders: readonly Order[];
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    ground: read("--panel"),
    grid: read("--grid"),
    line: read("--line"),
    text: read("--muted"),
    gain: read("--gain"),
    loss: read("--loss"),
    buy: read("--buy"),
    sell: read("--sell"),
  };
}

function options(palette: ReturnType<typeof colours>) {
  return {
    layout: {
      background: { type: ColorType.Solid, color: palette.ground },
      textColor: palette.text,
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 11,
      // The logo brings its own inline style element, which the content security policy refuses. The footer credits the library.
      attributionLogo: false,
    },
    grid: { vertLines: { color: palette.grid }, horzLines: { color: palette.grid } },
    rightPriceScale: { borderColor: palette.line, scaleMargins: { top: 0.12, bottom: 0.08 } },
    timeScale: {
      borderColor: palette.line,
      timeVisible: true,
      secondsVisible: true,
      rightOffset: 6,
      barSpacing: 7,
    },
    crosshair: { mode: CrosshairMode.Normal },
  };
}

function bar(candle: Candle): CandlestickData<UTCTimestamp> {
  return {
    time: candle.time as UTCTimestamp,
    open: chartCoordinate(dec(candle.open)),
    high: chartCoordinate(dec(candle.high)),
    low: chartCoordinate(dec(candle.low)),
    close: chartCoordinate(dec(candle.close)),
  };
}

interface Drawn {
  chart: IChartApi;
  series: ISeriesApi<"Candlestick">;
}

export function Chart({ instrument, interval, onInterval, positions, orders }: ChartProps) {
  const { symbol } = instrument;
  const theme = useTheme();
  const holder = useRef<HTMLDivElement>(null);
  const [drawn, setDrawn] = useState<Drawn | null>(null);
  const [legend, setLegend] = useState<Candle | null>(null);
  const candles = useQuery({ ...candlesQuery(symbol, interval), refetchInterval: REFRESH_MS });

  useEffect(() => {
    if (!holder.current) return;
    const palette = colours();
    const chart = createChart(holder.current, { autoSize: true, ...options(palette) });
    const series = chart.addSeries(CandlestickSeries, {
      borderVisible: false,
      priceLineStyle: LineStyle.Dotted,
    });
    setDrawn({ chart, series });
    return () => {
      chart.remove();
      setDrawn(null);
    };
  }, []);

  useColours(drawn, theme);
  useCandles(drawn, instrument, interval, candles.data, setLegend);
  useAskLine(drawn, symbol, theme);
  useLevels(drawn, symbol, positions, orders, theme);

  return (
    <section className="chart panel" aria-label="Chart">
      <div className="chart-bar">
        <fieldset className="segments small">
          <legend className="hidden">Interval</legend>
          {intervals.map((option) => (
            <button
              key={option}
              type="button"
              aria-pressed={option === interval}
              onClick={() => onInterval(option)}
            >
              {option}
            </button>
          ))}
        </fieldset>
        <Legend candle={legend} />
        <span className="muted zone">Bid · UTC</span>
      </div>
      <div className="chart-holder">
        <div
          ref={holder}
          className="chart-canvas"
          role="img"
          aria-label={`${symbol} candles of ${interval}, bid prices`}
        />
        {candles.isPending && (
          <div className="chart-cover">
            <Skeleton lines={1} height={200} label="Loading candles" />
          </div>
        )}
        {candles.isError && (
          <div className="chart-cover">
            <Failure error={candles.error} retry={() => candles.refetch()} />
          </div>
        )}
      </div>
    </section>
  );
}

function Legend({ candle }: { candle: Candle | null }) {
  if (!candle) return <span className="legend" />;
  const way = compare(dec(candle.close), dec(candle.open)) < 0 ? "loss" : "gain";
  const value = (name: string, price: string) => (
    <span>
      <i>{name}</i>
      <b className={way}>{price}</b>
    </span>
  );
  return (
    <span className="legend">
      {value("O", candle.open)}
      {value("H", candle.high)}
      {value("L", candle.low)}
      {value("C", candle.close)}
    </span>
  );
}

function useColours(drawn: Drawn | null, theme: Theme) {
  // biome-ignore lint/correctness/useExhaustiveDependencies(theme): the colours are read from the document, which the theme changes.
  useEffect(() => {
    if (!drawn) return;
    const palette = colours();
    drawn.chart.applyOptions(options(palette));
    drawn.series.applyOptions({
      upColor: palette.gain,
      downColor: palette.loss,
      wickUpColor: palette.gain,
      wickDownColor: palette.loss,
    });
  }, [drawn, theme]);
}

function useCandles(
  drawn: Drawn | null,
  instrument: Instrument,
  interval: Interval,
  loaded: readonly Candle[] | undefined,
  showLegend: (candle: Candle | null) => void,
) {
  const { symbol, price_decimals: decimals } = instrument;
  const shown = useRef("");
  useEffect(() => {
    if (!drawn) return;
    const { chart, series } = drawn;
    const known = new Map<number, Candle>();
    let last: Candle | undefined;
    let hovering = false;
    // A list that steps back in time would take the whole page down inside the chart library.
    const ordered = rising(loaded ?? []);
    for (const candle of ordered) {
      known.set(candle.time, candle);
      last = candle;
    }
    series.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 1 / 10 ** decimals } });
    chart.applyOptions({ timeScale: { secondsVisible: interval === "5s" } });
    series.setData(ordered.map(bar));
    const view = `${symbol} ${interval}`;
    if (loaded && shown.current !== view) {
      // Another symbol or interval starts at the newest candles; a refresh leaves the view where the person put it.
      shown.current = view;
      chart.priceScale("right").applyOptions({ autoScale: true });
      chart.timeScale().resetTimeScale();
    }
    showLegend(last ?? null);
    if (!loaded) return;
    const stop = market.onTicks((ticks) => {
      const tick = ticks.find((found) => found.symbol === symbol);
      if (!tick) return;
      const next = withBid(last, tick.bid, Date.parse(tick.at) / 1000, interval);
      if (!next) return;
      last = next;
      known.set(next.time, next);
      series.update(bar(next));
      if (!hovering) showLegend(next);
    });
    const onMove: Parameters<IChartApi["subscribeCrosshairMove"]>[0] = ({ time }) => {
      const candle = typeof time === "number" ? known.get(time) : undefined;
      hovering = candle !== undefined && candle !== last;
      showLegend(candle ?? last ?? null);
    };
    chart.subscribeCrosshairMove(onMove);
    return () => {
      stop();
      chart.unsubscribeCrosshairMove(onMove);
    };
  }, [drawn, symbol, decimals, interval, loaded, showLegend]);
}

function useAskLine(drawn: Drawn | null, symbol: string, theme: Theme) {
  // biome-ignore lint/correctness/useExhaustiveDependencies(theme): the colours are read from the document, which the theme changes.
  useEffect(() => {
    if (!drawn) return;
    let line: IPriceLine | null = null;
    const color = colours().buy;
    const draw = () => {
      const quote = market.quote(symbol);
      if (!quote) return;
      const price = chartCoordinate(dec(quote.ask));
      if (line) line.applyOptions({ price });
      else
        line = drawn.series.createPriceLine({
          price,
          color,
          lineWidth: 1,
          lineStyle: LineStyle.Dotted,
          axisLabelVisible: true,
          title: "ask",
        });
    };
    draw();
    const stop = market.watch(draw);
    return () => {
      stop();
      // The chart may have been removed before this runs.
      if (line && drawn.chart.panes().length > 0) drawn.series.removePriceLine(line);
    };
  }, [drawn, symbol, theme]);
}

interface Level {
  price: string;
  title: string;
  tone: "buy" | "sell" | "loss" | "gain";
  style: LineStyle;
}

function levelsOf(symbol: string, positions: readonly Position[], orders: readonly Order[]): Level[] {
  const brackets = (of: {
    stop_loss: string | null;
    take_profit: string | null;
    ticket: number;
  }): Level[] => [
    ...(of.stop_loss === null
      ? []
      : [{ price: of.stop_loss, title: `SL #${of.ticket}`, tone: "loss" as const, style: LineStyle.Dashed }]),
    ...(of.take_profit === null
      ? []
      : [
          {
            price: of.take_profit,
            title: `TP #${of.ticket}`,
            tone: "gain" as const,
            style: LineStyle.Dashed,
          },
        ]),
  ];
  return [
    ...positions
      .filter((position) => position.symbol === symbol)
      .flatMap((position) => [
        {
          price: position.open_price,
          title: `${position.side} ${position.quantity}`,
          tone: position.side,
          style: LineStyle.Solid,
        },
        ...brackets(position),
      ]),
    ...orders
      .filter((order) => order.symbol === symbol)
      .flatMap((order) => [
        ...(order.price === null
          ? []
          : [
              {
                price: order.price,
                title: `${order.side} ${order.kind} ${order.quantity}`,
                tone: order.side,
                style: LineStyle.LargeDashed,
              },
            ]),
        ...brackets(order),
      ]),
  ];
}

function useLevels(
  drawn: Drawn | null,
  symbol: string,
  positions: readonly Position[],
  orders: readonly Order[],
  theme: Theme,
) {
  // Snapshots come several times a second; the lines are drawn again only when one of them moved.
  const key = JSON.stringify(levelsOf(symbol, positions, orders));
  const levels = useMemo(() => JSON.parse(key) as Level[], [key]);
  // biome-ignore lint/correctness/useExhaustiveDependencies(theme): the colours are read from the document, which the theme changes.
  useEffect(() => {
    if (!drawn) return;
    const palette = colours();
    const lines = levels.map(({ price, title, tone, style }) =>
      drawn.series.createPriceLine({
        price: chartCoordinate(dec(price)),
        color: palette[tone],
        lineWidth: 1,
        lineStyle: style,
        axisLabelVisible: true,
        title,
      }),
    );
    return () => {
      if (drawn.chart.panes().length === 0) return;
      for (const line of lines) drawn.series.removePriceLine(line);
    };
  }, [drawn, levels, theme]);
}
