import { type PointerEvent, useEffect, useId, useRef, useState } from "react";
import { type Decimal, dec, sign } from "../lib/decimal";
import { figure, money, moneyIn, short } from "../lib/format";
import { localDay, localShort, utcSeconds } from "../lib/time";
import { acrossOf, heightOn, type Moment, nearestTo, type Scale, scaleOf, some } from "./curve";

const LEFT = 84;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;

interface CurvesProps {
  moments: readonly Moment[];
  initial: string;
  currency: string;
}

/** Equity and balance above, drawdown below, one moment chosen on both. */
export function Curves({ moments, initial, currency }: CurvesProps) {
  const [chosen, setChosen] = useState<number | null>(null);
  const at = Math.min(chosen ?? moments.length - 1, moments.length - 1);
  const moment = moments[at];
  if (!moment) return null;
  const words = inWords(moment, currency);
  const drawdowns = moments.map(({ drawdown }) => drawdown);
  const measured = moments.filter(({ drawdown }) => drawdown !== null).length;
  return (
    <div className="curves">
      <ul className="curve-legend">
        <li className="equity">Equity</li>
        <li className="balance">Balance</li>
        <li className="initial">At opening</li>
      </ul>
      <Plot
        title="Equity and balance by trading day"
        description={`${words} It began with ${moneyIn(initial, currency)}. The table below the curves has every value.`}
        height={240}
        moments={moments}
        at={at}
        onAt={setChosen}
        series={[
          { name: "balance", values: moments.map(({ balance }) => balance) },
          { name: "equity", values: moments.map(({ equity }) => equity) },
        ]}
        reference={dec(initial)}
      />
      <h3>Drawdown</h3>
      {measured < 2 ? (
        <p className="muted">
          How far equity lies below its highest is measured at every reset of the trading day; the first one
          is still to come.
        </p>
      ) : (
        <Plot
          title="Drawdown by trading day"
          description="How far equity lay below its highest so far, without what was paid out or added. Lower is worse. The table below the curves has every value."
          height={120}
          moments={moments}
          at={at}
          onAt={setChosen}
          downwards
          series={[{ name: "drawdown", values: drawdowns }]}
          reference={dec("0")}
        />
      )}
      {moments.length > 1 && (
        <input
          className="moment"
          type="range"
          min={0}
          max={moments.length - 1}
          step={1}
          value={at}
          aria-label="Moment on the curves"
          aria-valuetext={words}
          onChange={(event) => setChosen(event.target.valueAsNumber)}
        />
      )}
      <dl className="readout">
        <Read name={moment.live ? "Now" : "At"}>{`${utcSeconds(moment.at)} UTC`}</Read>
        <Read name="Equity">{moment.equity === null ? "–" : moneyIn(moment.equity, currency)}</Read>
        <Read name="Balance">{moneyIn(moment.balance, currency)}</Read>
        <Read name="Drawdown">{fallen(moment)}</Read>
      </dl>
      <Values moments={moments} currency={currency} />
    </div>
  );
}

function fallen({ drawdown, drawdownPercent, live }: Moment): string {
  if (drawdown === null) return live ? "at the next reset" : "–";
  const share = drawdownPercent === null ? "" : ` (${figure(drawdownPercent, "\u00a0%")})`;
  return `${money(drawdown)}${share}`;
}

function inWords(moment: Moment, currency: string): string {
  const equity = moment.equity === null ? "" : ` equity ${moneyIn(moment.equity, currency)},`;
  const drawdown = moment.drawdown === null ? "" : `, drawdown ${money(moment.drawdown)}`;
  return `${utcSeconds(moment.at)} UTC:${equity} balance ${moneyIn(moment.balance, currency)}${drawdown}.`;
}

function Read({ name, children }: { name: string; children: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="tab">{children}</dd>
    </div>
  );
}

/** The same as the curves show, for whoever reads better than they see. */
function Values({ moments, currency }: { moments: readonly Moment[]; currency: string }) {
  return (
    <details className="values">
      <summary>The curves as a table</summary>
      <section className="table-scroll" tabIndex={0} aria-label="Values of the curves">
        <table className="data">
          <caption className="hidden">Equity, balance and drawdown by trading day, in {currency}</caption>
          <thead>
            <tr>
              <th scope="col">Moment, UTC</th>
              <th scope="col" className="num">
                Equity
              </th>
              <th scope="col" className="num">
                Balance
              </th>
              <th scope="col" className="num">
                Drawdown
              </th>
              <th scope="col" className="num">
                Drawdown %
              </th>
            </tr>
          </thead>
          <tbody>
            {[...moments].reverse().map((moment) => (
              <tr key={moment.at}>
                <th scope="row" className="tab">
                  {utcSeconds(moment.at)} {moment.live && <span className="tag active">Now</span>}
                </th>
                <td className="num">{moment.equity === null ? "–" : money(moment.equity)}</td>
                <td className="num">{money(moment.balance)}</td>
                <td className="num">{moment.drawdown === null ? "–" : money(moment.drawdown)}</td>
                <td className="num">{figure(moment.drawdownPercent)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </details>
  );
}

interface PlotProps {
  title: string;
  description: string;
  height: number;
  moments: readonly Moment[];
  at: number;
  onAt: (index: number) => void;
  series: readonly { name: string; values: readonly (Decimal | null)[] }[];
  /** A value that is always on the scale and has its own line. */
  reference: Decimal;
  /** The least value is at the top. */
  downwards?: boolean;
}

function Plot({
  title,
  description,
  height,
  moments,
  at,
  onAt,
  series,
  reference,
  downwards = false,
}: PlotProps) {
  const id = useId();
  const [holder, width] = useWidth();
  const right = Math.max(LEFT + 40, width - RIGHT);
  const bottom = height - BOTTOM;
  const scale = scaleOf([reference, ...series.flatMap(({ values }) => values)], height > 160 ? 5 : 3);
  if (!scale) return null;
  const x = (moment: Moment) => LEFT + acrossOf(moments, moment.at) * (right - LEFT);
  const y = (value: Decimal) => {
    const high = heightOn(scale, value);
    return downwards ? TOP + high * (bottom - TOP) : bottom - high * (bottom - TOP);
  };
  const choose = (event: PointerEvent<SVGSVGElement>) => {
    const left = event.currentTarget.getBoundingClientRect().left;
    onAt(nearestTo(moments, (event.clientX - left - LEFT) / (right - LEFT)));
  };
  const chosen = moments[at];
  return (
    <div ref={holder} className="plot">
      <svg
        width={width}
        height={height}
        role="img"
        aria-labelledby={`${id}-title ${id}-desc`}
        onPointerMove={choose}
        onPointerDown={choose}
      >
        <title id={`${id}-title`}>{title}</title>
        <desc id={`${id}-desc`}>{description}</desc>
        <Lines scale={scale} y={y} right={right} />
        {some(moments, Math.floor((right - LEFT) / 110) + 1).map((moment, index, all) => (
          <text
            key={moment.at}
            x={x(moment)}
            y={height - 6}
            textAnchor={index === 0 ? "start" : index === all.length - 1 ? "end" : "middle"}
          >
            {axisWord(moment.at, moments)}
          </text>
        ))}
        <line className="reference" x1={LEFT} x2={right} y1={y(reference)} y2={y(reference)} />
        {series.map(({ name, values }) => (
          <Series
            key={name}
            name={name}
            base={name === "drawdown" ? y(reference) : null}
            points={moments.flatMap((moment, index) => {
              const value = values[index];
              return value === null || value === undefined ? [] : [{ x: x(moment), y: y(value) }];
            })}
          />
        ))}
        {chosen && <line className="chosen" x1={x(chosen)} x2={x(chosen)} y1={TOP} y2={bottom} />}
        {chosen &&
          series.map(({ name, values }) => {
            const value = values[at];
            return value === null || value === undefined ? null : (
              <circle key={name} className={name} cx={x(chosen)} cy={y(value)} r={3.5} />
            );
          })}
      </svg>
    </div>
  );
}

/** The day; the minute where all are of one day. */
function axisWord(at: string, moments: readonly Moment[]): string {
  const last = moments[moments.length - 1]?.at ?? at;
  const oneDay = localDay(moments[0]?.at ?? at) === localDay(last);
  return oneDay ? localShort(at).slice(-8, -3) : localDay(at);
}

function Lines({ scale, y, right }: { scale: Scale; y: (value: Decimal) => number; right: number }) {
  return scale.lines.map((value) => (
    <g key={value}>
      <line className="grid" x1={LEFT} x2={right} y1={y(value)} y2={y(value)} />
      <text x={LEFT - 8} y={y(value) + 4} textAnchor="end" className="tab">
        {sign(value) === 0 ? "0" : short(value)}
      </text>
    </g>
  ));
}

function Series({
  name,
  points,
  base,
}: {
  name: string;
  points: readonly { x: number; y: number }[];
  base: number | null;
}) {
  const [first] = points;
  const last = points[points.length - 1];
  if (!first || !last) return null;
  const line = points.map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join(" ");
  return (
    <g className={name}>
      {base !== null && (
        <polygon points={`${first.x.toFixed(1)},${base} ${line} ${last.x.toFixed(1)},${base}`} />
      )}
      <polyline points={line} />
    </g>
  );
}

/** The width that the page gives, so that text and lines keep their size. */
function useWidth() {
  const holder = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    setWidth(element.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [holder, width] as const;
}
