// A stand-in for the server while working on screens: `npm run build && npm run fake-server`, then open localhost:8000.
// It answers the HTTP contract with moving prices and a rough engine that counts in floating-point numbers. It is no part
// of the product and no test relies on it; the journey runs against the real server.
import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const port = Number(process.env.PORT ?? 8000);
const csp =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const instant = (ms = Date.now()) =>
  new Date(ms).toISOString().replace("Z", `${String(Math.floor(Math.random() * 1000)).padStart(3, "0")}Z`);
const hex = (text) => createHash("sha256").update(text).digest("hex");

// ---- market ------------------------------------------------------------------------------------------------------
let seed = 7;
function random() {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
}
const gauss = () => random() + random() + random() + random() - 2;
const instruments = [
  ["EURUSD", "Euro / US dollar", 5, 1.38589, 0.00008, 0.00003, 100000, "EUR", "USD", "50.00"],
  ["GBPUSD", "British pound / US dollar", 5, 1.68761, 0.00012, 0.00004, 100000, "GBP", "USD", "50.00"],
  ["USDJPY", "US dollar / Japanese yen", 3, 102.318, 0.011, 0.003, 100000, "USD", "JPY", "50.00"],
  ["XAUUSD", "Gold / US dollar", 2, 1284.6, 0.35, 0.12, 100, "XAU", "USD", "20.00"],
].map(([symbol, description, digits, price, spread, move, contract, base, quote, max]) => ({
  symbol,
  description,
  digits,
  price,
  spread,
  move,
  contract,
  base,
  quote,
  max,
  candles: [],
  at: instant(),
}));
const bySymbol = new Map(instruments.map((i) => [i.symbol, i]));
const HISTORY = 90_000;
{
  const now = Math.floor(Date.now() / 5000) * 5;
  for (const i of instruments) {
    let price = i.price;
    const back = [];
    for (let n = 0; n < HISTORY; n += 1) {
      const open = price - gauss() * i.move * 1.6;
      const wick = i.move * random() * 1.4;
      back.push([now - n * 5, open, Math.max(open, price) + wick, Math.min(open, price) - wick, price]);
      price = open;
    }
    i.candles = back.reverse();
  }
}
function candlesOf(i, seconds, limit) {
  const grouped = [];
  for (const [time, open, high, low, close] of i.candles.slice(-Math.ceil((limit * seconds) / 5) - 200)) {
    const start = time - (time % seconds);
    const last = grouped.at(-1);
    if (last?.time === start) {
      last.high = Math.max(last.high, high);
      last.low = Math.min(last.low, low);
      last.close = close;
    } else grouped.push({ time: start, open, high, low, close });
  }
  const text = (n) => n.toFixed(i.digits);
  return grouped.slice(-limit).map((c) => ({
    time: c.time,
    open: text(c.open),
    high: text(c.high),
    low: text(c.low),
    close: text(c.close),
  }));
}
const ask = (i) => i.price + i.spread;
const quoteOf = (i) => ({
  symbol: i.symbol,
  bid: i.price.toFixed(i.digits),
  ask: ask(i).toFixed(i.digits),
  at: i.at,
  source_time: i.at,
  stale: false,
});
function rate(currency) {
  return currency === "USD" ? 1 : 1 / bySymbol.get("USDJPY").price;
}

// ---- people, programs -----------------------------------------------------------------------------------------------
const people = new Map();
const sessions = new Map();
const purchases = new Map();
const challenges = new Map();
const accounts = new Map();
const usd = (n) => Number(n).toLocaleString("en-US");
function program(slug, name, balance, fee, daily, max, targets) {
  const amount = (percent) => ((balance * percent) / 100).toFixed(2);
  const phase = (title, target) => ({
    name: title,
    rules: [
      {
        kind: "profit_target",
        sentence: `Reach a profit of ${target} % (${usd(amount(target))} USD) with all positions closed.`,
        limit: { percent: String(target), amount: amount(target) },
      },
      {
        kind: "daily_loss",
        sentence: `Equity may never fall ${daily} % of the initial balance (${usd(amount(daily))} USD) or more below the higher of balance and equity at the last reset. Open positions count.`,
        limit: { percent: String(daily), amount: amount(daily) },
      },
      {
        kind: "max_loss",
        sentence: `Equity may never fall below ${usd(balance - amount(max))} USD, which is ${max} % under the initial balance.`,
        limit: { percent: String(max), amount: amount(max) },
      },
      {
        kind: "min_trading_days",
        sentence: "Trade on at least 4 different days; a day counts when a position is opened.",
      },
      { kind: "inactivity", sentence: "The account ends after 30 days without a trade." },
    ],
  });
  const names = targets.length === 1 ? ["Challenge"] : ["Challenge", "Verification"];
  return {
    slug,
    name,
    version: hex(slug),
    initial_balance: balance.toFixed(2),
    currency: "USD",
    fee: fee.toFixed(2),
    leverage: "1:100",
    instruments: instruments.map((i) => i.symbol),
    commission_per_lot: "3.00",
    reset: { zone: "Europe/Prague", time: "00:00" },
    phases: targets.map((t, n) => phase(names[n], t)),
    summary:
      targets.length === 1
        ? `One step: ${targets[0]} % target, ${daily} % daily and ${max} % total loss.`
        : `Two steps: ${targets.join(" % and ")} % targets, ${daily} % daily and ${max} % total loss.`,
  };
}
const programs = [
  program("two-step-10k", "Two-Step 10K", 10000, 89, 5, 10, [10, 5]),
  program("two-step-50k", "Two-Step 50K", 50000, 289, 5, 10, [10, 5]),
  program("two-step-100k", "Two-Step 100K", 100000, 489, 5, 10, [10, 5]),
  program("one-step-100k", "One-Step 100K", 100000, 549, 3, 6, [10]),
];
const ref = (p) => ({ slug: p.slug, name: p.name, version: p.version });

// ---- accounts -----------------------------------------------------------------------------------------------------------
function openAccount(challenge, index) {
  const p = challenge.program;
  const a = {
    id: randomUUID(),
    number: `A-${randomUUID().slice(0, 6).toUpperCase()}`,
    challenge,
    program: p,
    index,
    status: "active",
    initial: Number(p.initial_balance),
    balance: Number(p.initial_balance),
    openedAt: instant(),
    closedAt: null,
    dayBase: Number(p.initial_balance),
    positions: [],
    closed: [],
    orders: [],
    done: [],
    fills: [],
    verdicts: [],
    receipts: [],
    tickets: 0,
    clients: new Set(),
    dirty: true,
    days: 1,
  };
  accounts.set(a.id, a);
  challenge.accounts.push(a);
  return a;
}
const closing = (i, side) => (side === "buy" ? i.price : ask(i));
const opening = (i, side) => (side === "buy" ? ask(i) : i.price);
function resultOf(pos, price, lots = pos.lots) {
  const i = bySymbol.get(pos.symbol);
  const profit = (price - pos.open) * (pos.side === "buy" ? 1 : -1) * lots * i.contract;
  return Math.round(profit * rate(i.quote) * 100) / 100;
}
const marginOf = (symbol, lots, price) => {
  const i = bySymbol.get(symbol);
  return (lots * i.contract * (i.base === "USD" ? 1 : price)) / 100;
};
const px = (symbol, n) => (n === null ? null : n.toFixed(bySymbol.get(symbol).digits));
function viewPosition(pos) {
  const i = bySymbol.get(pos.symbol);
  const now = closing(i, pos.side);
  return {
    ticket: pos.ticket,
    symbol: pos.symbol,
    side: pos.side,
    quantity: pos.lots.toFixed(2),
    open_price: px(pos.symbol, pos.open),
    opened_at: pos.at,
    current_price: pos.closedAt ? null : px(pos.symbol, now),
    stop_loss: px(pos.symbol, pos.sl),
    take_profit: px(pos.symbol, pos.tp),
    margin: marginOf(pos.symbol, pos.lots, pos.open).toFixed(2),
    profit: (pos.closedAt ? pos.profit : resultOf(pos, now)).toFixed(2),
    commission: (-pos.lots * 3).toFixed(2),
    closed_at: pos.closedAt ?? null,
    close_price: pos.closedAt ? px(pos.symbol, pos.closePrice) : null,
    close_reason: pos.reason ?? null,
  };
}
const viewOrder = (o) => ({
  ticket: o.ticket,
  symbol: o.symbol,
  side: o.side,
  kind: o.kind,
  quantity: o.lots.toFixed(2),
  price: px(o.symbol, o.price),
  stop_loss: px(o.symbol, o.sl),
  take_profit: px(o.symbol, o.tp),
  state: o.state,
  reason: o.reason ?? null,
  placed_at: o.at,
  done_at: o.doneAt ?? null,
  position: o.position ?? null,
});
const equityOf = (a) =>
  a.balance +
  a.positions.reduce((s, pos) => s + resultOf(pos, closing(bySymbol.get(pos.symbol), pos.side)), 0);
const percents = (p, phase, kind) => Number(p.phases[phase].rules.find((r) => r.kind === kind).limit.percent);
function floorsOf(a) {
  const daily = (a.initial * percents(a.program, a.index, "daily_loss")) / 100;
  const max = (a.initial * percents(a.program, a.index, "max_loss")) / 100;
  const equity = equityOf(a);
  const floor = (rule, label, at, limit, comparison, derivation) => ({
    rule,
    label,
    floor: at.toFixed(2),
    room: (equity - at).toFixed(2),
    limit: limit.toFixed(2),
    comparison,
    derivation,
  });
  return [
    floor(
      "daily_loss",
      "Daily loss",
      a.dayBase - daily,
      daily,
      "at_or_below",
      `${usd(a.dayBase.toFixed(2))} at the reset minus ${usd(daily)} (the daily limit).`,
    ),
    floor(
      "max_loss",
      "Maximum loss",
      a.initial - max,
      max,
      "below",
      `Initial balance ${usd(a.initial)} minus ${usd(max)}.`,
    ),
  ];
}
const summaryOf = (a) => ({
  id: a.id,
  number: a.number,
  phase: { index: a.index, name: a.program.phases[a.index].name, of: a.program.phases.length },
  status: a.status,
  currency: "USD",
  initial_balance: a.initial.toFixed(2),
  balance: a.balance.toFixed(2),
  opened_at: a.openedAt,
  closed_at: a.closedAt,
});
function nextReset() {
  const now = new Date();
  const at = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), 23);
  const ms = at > now.getTime() ? at : at + 86_400_000;
  return {
    at: instant(ms),
    zone: "Europe/Prague",
    local: new Date(ms + 3_600_000).toISOString().slice(0, 16).replace("T", " "),
  };
}
function viewAccount(a) {
  const equity = equityOf(a);
  const margin = a.positions.reduce((s, pos) => s + marginOf(pos.symbol, pos.lots, pos.open), 0);
  const floors = floorsOf(a);
  const target = (a.initial * percents(a.program, a.index, "profit_target")) / 100;
  return {
    ...summaryOf(a),
    challenge_id: a.challenge.id,
    program: ref(a.program),
    leverage: "1:100",
    equity: equity.toFixed(2),
    floating: (equity - a.balance).toFixed(2),
    margin_used: margin.toFixed(2),
    margin_free: (equity - margin).toFixed(2),
    room: Math.min(...floors.map((f) => Number(f.room))).toFixed(2),
    floors,
    objectives: [
      {
        rule: "profit_target",
        label: "Profit target",
        target: target.toFixed(2),
        current: (a.balance - a.initial).toFixed(2),
        met: a.balance - a.initial >= target,
      },
      {
        rule: "min_trading_days",
        label: "Trading days",
        target: "4",
        current: String(a.days),
        met: a.days >= 4,
      },
    ],
    day: {
      date: instant().slice(0, 10),
      started_at: instant(),
      start_balance: a.dayBase.toFixed(2),
      start_equity: a.dayBase.toFixed(2),
    },
    next_reset: nextReset(),
    as_of: instant(),
  };
}
const snapshotOf = (a) => ({
  ...viewAccount(a),
  positions: a.positions.map(viewPosition),
  orders: a.orders.map(viewOrder),
});
const send = (clients, event, data) => {
  for (const client of clients) client.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
};
function fill(a, values) {
  a.fills.unshift({
    number: a.fills.length + 1,
    order: null,
    profit: "0.00",
    commission: "0.00",
    at: instant(),
    ...values,
  });
  a.dirty = true;
}
function enter(a, o, price, reason) {
  const pos = {
    ticket: ++a.tickets,
    symbol: o.symbol,
    side: o.side,
    lots: o.lots,
    open: price,
    at: instant(),
    sl: o.sl,
    tp: o.tp,
  };
  a.positions.push(pos);
  a.balance -= o.lots * 3;
  Object.assign(o, { state: "filled", doneAt: instant(), position: pos.ticket });
  a.orders = a.orders.filter((x) => x !== o);
  a.done.unshift(o);
  fill(a, {
    ticket: pos.ticket,
    order: o.ticket,
    symbol: o.symbol,
    side: o.side,
    quantity: o.lots.toFixed(2),
    price: px(o.symbol, price),
    commission: (-o.lots * 3).toFixed(2),
    reason,
  });
}
function leave(a, pos, lots, price, reason) {
  const profit = resultOf(pos, price, lots);
  a.balance += profit;
  const part = { ...pos, lots, closedAt: instant(), closePrice: price, profit, reason };
  a.closed.unshift(part);
  pos.lots = Math.round((pos.lots - lots) * 100) / 100;
  if (pos.lots <= 0) a.positions = a.positions.filter((x) => x !== pos);
  fill(a, {
    ticket: pos.ticket,
    symbol: pos.symbol,
    side: pos.side === "buy" ? "sell" : "buy",
    quantity: lots.toFixed(2),
    price: px(pos.symbol, price),
    profit: profit.toFixed(2),
    reason,
  });
  return part;
}
function finish(a, kind, rule, headline, floor) {
  const equity = equityOf(a);
  const open = a.positions.map((pos) => {
    const i = bySymbol.get(pos.symbol);
    const price = closing(i, pos.side);
    const native = (price - pos.open) * (pos.side === "buy" ? 1 : -1) * pos.lots * i.contract;
    return {
      ticket: pos.ticket,
      symbol: pos.symbol,
      side: pos.side,
      quantity: pos.lots.toFixed(2),
      open_price: px(pos.symbol, pos.open),
      close_price: px(pos.symbol, price),
      profit_quote: native.toFixed(2),
      quote_currency: i.quote,
      rate: i.quote === "USD" ? null : rate(i.quote).toFixed(8),
      profit: resultOf(pos, price).toFixed(2),
    };
  });
  const verdict = { number: a.verdicts.length + 1, kind, rule, headline, at: instant() };
  a.verdicts.push(verdict);
  a.receipts.push({
    ...verdict,
    explanation: floor
      ? [
          `Equity fell to ${usd(equity.toFixed(2))} USD; the ${floor.label.toLowerCase()} floor stood at ${usd(floor.floor)} USD.`,
          "The rule ends the account when equity is at or below the floor. Open positions count at the price at which they can be closed.",
          "All open positions were closed at the quotes below and the account was ended.",
        ]
      : [
          "The closed profit reached the target with no position open, on enough trading days.",
          "The next phase was opened.",
        ],
    program: ref(a.program),
    account: { id: a.id, number: a.number, phase: summaryOf(a).phase },
    floor: floor ? { amount: floor.floor, comparison: floor.comparison, derivation: floor.derivation } : null,
    equity: equity.toFixed(2),
    balance: a.balance.toFixed(2),
    shortfall: floor ? (Number(floor.floor) - equity).toFixed(2) : null,
    quotes: [...new Set(open.map((o) => o.symbol))].map((s, n) => ({
      symbol: s,
      bid: quoteOf(bySymbol.get(s)).bid,
      ask: quoteOf(bySymbol.get(s)).ask,
      source: "simulator",
      source_time: instant(),
      received_at: instant(),
      position: 184211 + n,
    })),
    positions: open,
    arithmetic: [
      { label: "Balance", amount: a.balance.toFixed(2) },
      ...open.map((o) => ({
        label: `Position ${o.ticket}, ${o.side} ${o.quantity} ${o.symbol}`,
        amount: o.profit,
      })),
      { label: "Equity", amount: equity.toFixed(2) },
      ...(floor
        ? [
            { label: "Floor", amount: floor.floor },
            { label: "Equity minus floor", amount: (equity - Number(floor.floor)).toFixed(2) },
          ]
        : []),
    ],
    latency: { tick_to_decision_us: 212 },
    digest: hex(verdict.at),
  });
  for (const pos of [...a.positions])
    leave(a, pos, pos.lots, closing(bySymbol.get(pos.symbol), pos.side), "liquidation");
  a.orders = [];
  a.status = kind === "breach" ? "breached" : "passed";
  a.closedAt = instant();
  if (kind === "breach") a.challenge.state = "failed";
  else if (a.index + 1 < a.program.phases.length) openAccount(a.challenge, a.index + 1);
  else a.challenge.state = "passed";
  send(a.clients, "verdict", verdict);
}
function judge(a) {
  if (a.status !== "active") return;
  for (const o of [...a.orders]) {
    const i = bySymbol.get(o.symbol);
    const price = opening(i, o.side);
    const rising = (o.kind === "stop") === (o.side === "buy");
    if (rising ? price >= o.price : price <= o.price) enter(a, o, price, o.kind);
  }
  for (const pos of [...a.positions]) {
    const price = closing(bySymbol.get(pos.symbol), pos.side);
    const way = pos.side === "buy" ? 1 : -1;
    if (pos.sl !== null && (price - pos.sl) * way <= 0) leave(a, pos, pos.lots, price, "stop_loss");
    else if (pos.tp !== null && (price - pos.tp) * way >= 0) leave(a, pos, pos.lots, price, "take_profit");
  }
  const hit = floorsOf(a).find((f) => Number(f.room) <= 0);
  if (hit)
    return finish(
      a,
      "breach",
      hit.rule,
      `${hit.label} breached: equity ${usd(equityOf(a).toFixed(2))} USD is not above the floor of ${usd(hit.floor)} USD`,
      hit,
    );
  const target = (a.initial * percents(a.program, a.index, "profit_target")) / 100;
  if (process.env.EASY_PASS && a.closed.length > 0 && a.positions.length === 0)
    finish(a, "pass", "profit_target", `Profit target reached: ${usd(target)} USD`, null);
}

const marketClients = new Set();
setInterval(() => {
  const moved = instruments.filter(() => random() < 0.7);
  const slot = Math.floor(Date.now() / 5000) * 5;
  for (const i of moved) {
    i.price = Number((i.price + gauss() * i.move).toFixed(i.digits));
    i.at = instant();
    const last = i.candles.at(-1);
    if (last[0] === slot) {
      last[2] = Math.max(last[2], i.price);
      last[3] = Math.min(last[3], i.price);
      last[4] = i.price;
    } else i.candles.push([slot, i.price, i.price, i.price, i.price]);
  }
  if (moved.length > 0) send(marketClients, "quotes", moved.map(quoteOf));
  for (const a of accounts.values()) {
    judge(a);
    if (a.clients.size > 0 && (a.dirty || a.positions.length > 0)) send(a.clients, "account", snapshotOf(a));
    a.dirty = false;
  }
}, 220);

// ---- HTTP -----------------------------------------------------------------------------------------------------------------
class Refusal extends Error {
  constructor(status, code, detail, errors) {
    super(detail);
    Object.assign(this, { status, code, errors });
  }
}
const missing = () => new Refusal(404, "not_found", "There is nothing at this address.");
const invalid = (...errors) =>
  new Refusal(
    422,
    "validation_failed",
    "Some values cannot be accepted.",
    errors.map(([pointer, detail]) => ({ pointer, code: "invalid", detail })),
  );
const viewPurchase = (p) => ({
  id: p.id,
  state: p.state,
  program: ref(p.program),
  fee: p.program.fee,
  currency: "USD",
  checkout_url: `/sandbox/pay/${p.id}`,
  challenge_id: p.challenge ?? null,
  created_at: p.at,
});
const viewChallenge = (c) => ({
  id: c.id,
  program: ref(c.program),
  state: c.state,
  created_at: c.at,
  accounts: c.accounts.map(summaryOf),
});

function level(value, fallback, symbol) {
  if (value === undefined) return fallback;
  if (value === null) return null;
  if (!/^\d+(\.\d+)?$/.test(value)) throw invalid(["/price", "Not a price."]);
  return Number(Number(value).toFixed(bySymbol.get(symbol).digits));
}
function brackets(side, price, sl, tp) {
  const way = side === "buy" ? 1 : -1;
  const wrong = [];
  if (sl !== null && (price - sl) * way <= 0)
    wrong.push(["/stop_loss", `The stop loss must be ${side === "buy" ? "below" : "above"} the price.`]);
  if (tp !== null && (tp - price) * way <= 0)
    wrong.push(["/take_profit", `The take profit must be ${side === "buy" ? "above" : "below"} the price.`]);
  if (wrong.length > 0) throw invalid(...wrong);
}

const routes = [];
const on = (method, path, handle, open = false) =>
  routes.push({ method, parts: path.split("/"), handle, open });
const signIn = (res, person) => {
  const token = randomUUID();
  sessions.set(token, person);
  res.setHeader("Set-Cookie", `ts_session=${token}; HttpOnly; SameSite=Lax; Path=/`);
};
const face = (p) => ({ id: p.id, email: p.email, display_name: p.display_name, roles: ["trader"] });
on("GET", "/v1/firm", () => ({ name: "TradeSense Demo", slug: "demo", demo: true }), true);
on(
  "POST",
  "/v1/auth/register",
  ({ body, res }) => {
    const wrong = [];
    if (!/.+@.+/.test(body.email ?? "")) wrong.push(["/email", "This is not an e-mail address."]);
    if ((body.password ?? "").length < 15) wrong.push(["/password", "At least 15 characters are needed."]);
    if (!body.display_name) wrong.push(["/display_name", "Choose a name for the leaderboard."]);
    if (wrong.length > 0) throw invalid(...wrong);
    if (people.has(body.email))
      throw new Refusal(409, "email_taken", "There is an account with this e-mail address already.");
    const person = { id: randomUUID(), ...body };
    people.set(body.email, person);
    signIn(res, person);
    return [201, face(person)];
  },
  true,
);
on(
  "POST",
  "/v1/auth/sign-in",
  ({ body, res }) => {
    const person = people.get(body.email);
    if (person?.password !== body.password)
      throw new Refusal(401, "wrong_credentials", "E-mail address or password are wrong.");
    signIn(res, person);
    return face(person);
  },
  true,
);
on("POST", "/v1/auth/sign-out", ({ token }) => {
  sessions.delete(token);
  return [204];
});
on("GET", "/v1/me", ({ person }) => face(person));
on("GET", "/v1/programs", () => ({ items: programs }), true);
on(
  "GET",
  "/v1/programs/:slug",
  ({ params }) => {
    const found = programs.find((p) => p.slug === params.slug);
    if (!found) throw missing();
    return found;
  },
  true,
);
on("POST", "/v1/purchases", ({ body, person }) => {
  const found = programs.find((p) => p.slug === body.program && p.version === body.version);
  if (!found) throw missing();
  const purchase = { id: randomUUID(), state: "awaiting_payment", program: found, at: instant(), person };
  purchases.set(purchase.id, purchase);
  return [201, viewPurchase(purchase)];
});
on("GET", "/v1/purchases", ({ person }) => ({
  items: [...purchases.values()].filter((p) => p.person === person).map(viewPurchase),
}));
const purchaseOf = ({ params, person }) => {
  const found = purchases.get(params.id);
  if (!found || found.person !== person) throw missing();
  return found;
};
on("GET", "/v1/purchases/:id", (call) => viewPurchase(purchaseOf(call)));
on("GET", "/v1/challenges", ({ person }) => ({
  items: [...challenges.values()]
    .filter((c) => c.person === person)
    .map(viewChallenge)
    .reverse(),
}));
const accountOf = ({ params, person }) => {
  const found = accounts.get(params.id);
  if (!found || found.challenge.person !== person) throw missing();
  return found;
};
const activeOf = (call) => {
  const a = accountOf(call);
  if (a.status !== "active")
    throw new Refusal(409, "account_not_active", "This account has ended; it takes no orders.");
  return a;
};
on("GET", "/v1/accounts/:id", (call) => viewAccount(accountOf(call)));
on("GET", "/v1/accounts/:id/positions", (call) => ({
  items: (call.query.get("state") === "closed" ? accountOf(call).closed : accountOf(call).positions).map(
    viewPosition,
  ),
  next_cursor: null,
}));
on("GET", "/v1/accounts/:id/orders", (call) => ({
  items: [...accountOf(call).orders, ...(call.query.get("state") === "all" ? accountOf(call).done : [])].map(
    viewOrder,
  ),
  next_cursor: null,
}));
on("GET", "/v1/accounts/:id/fills", (call) => ({ items: accountOf(call).fills, next_cursor: null }));
on("GET", "/v1/accounts/:id/verdicts", (call) => ({ items: accountOf(call).verdicts }));
on("GET", "/v1/accounts/:id/receipts/:n", (call) => {
  const found = accountOf(call).receipts[Number(call.params.n) - 1];
  if (!found) throw missing();
  return found;
});
on("POST", "/v1/accounts/:id/orders", (call) => {
  const a = activeOf(call);
  const { symbol, side, kind, quantity, price } = call.body;
  const i = bySymbol.get(symbol);
  if (!i) throw new Refusal(422, "unknown_instrument", "No such instrument.");
  const lots = Number(quantity);
  if (!(lots >= 0.01 && lots <= Number(i.max)))
    throw new Refusal(422, "quantity_out_of_range", `Between 0.01 and ${i.max} lots.`, [
      { pointer: "/quantity", code: "quantity_out_of_range", detail: `Between 0.01 and ${i.max} lots.` },
    ]);
  const wanted = kind === "market" ? null : level(price ?? null, null, symbol);
  if (kind !== "market" && wanted === null) throw invalid(["/price", "A price is needed."]);
  const now = opening(i, side);
  const o = {
    ticket: ++a.tickets,
    symbol,
    side,
    kind,
    lots,
    price: wanted,
    sl: level(call.body.stop_loss, null, symbol),
    tp: level(call.body.take_profit, null, symbol),
    state: "working",
    at: instant(),
  };
  brackets(side, wanted ?? closing(i, side), o.sl, o.tp);
  const view = viewAccount(a);
  if (marginOf(symbol, lots, now) > Number(view.margin_free))
    throw new Refusal(
      422,
      "insufficient_margin",
      `This order needs ${usd(marginOf(symbol, lots, now).toFixed(2))} USD of margin; ${usd(view.margin_free)} USD are free.`,
    );
  a.orders.push(o);
  if (kind === "market") enter(a, o, now, "market");
  a.dirty = true;
  return [201, viewOrder(o)];
});
const orderOf = (call) => {
  const found = activeOf(call).orders.find((o) => o.ticket === Number(call.params.ticket));
  if (!found) throw new Refusal(404, "order_not_found", "This order is no longer working.");
  return found;
};
const positionOf = (call) => {
  const found = activeOf(call).positions.find((p) => p.ticket === Number(call.params.ticket));
  if (!found) throw new Refusal(404, "position_not_found", "This position is no longer open.");
  return found;
};
on("PATCH", "/v1/accounts/:id/orders/:ticket", (call) => {
  const o = orderOf(call);
  const { price, stop_loss, take_profit } = call.body;
  const next = {
    price: level(price, o.price, o.symbol),
    sl: level(stop_loss, o.sl, o.symbol),
    tp: level(take_profit, o.tp, o.symbol),
  };
  brackets(o.side, next.price, next.sl, next.tp);
  Object.assign(o, next);
  accountOf(call).dirty = true;
  return viewOrder(o);
});
on("DELETE", "/v1/accounts/:id/orders/:ticket", (call) => {
  const a = accountOf(call);
  const o = orderOf(call);
  a.orders = a.orders.filter((x) => x !== o);
  Object.assign(o, { state: "cancelled", doneAt: instant() });
  a.done.unshift(o);
  a.dirty = true;
  return viewOrder(o);
});
on("PATCH", "/v1/accounts/:id/positions/:ticket", (call) => {
  const p = positionOf(call);
  const next = {
    sl: level(call.body.stop_loss, p.sl, p.symbol),
    tp: level(call.body.take_profit, p.tp, p.symbol),
  };
  brackets(p.side, closing(bySymbol.get(p.symbol), p.side), next.sl, next.tp);
  Object.assign(p, next);
  accountOf(call).dirty = true;
  return viewPosition(p);
});
on("POST", "/v1/accounts/:id/positions/:ticket/close", (call) => {
  const p = positionOf(call);
  const lots = call.body.quantity ? Number(call.body.quantity) : p.lots;
  if (!(lots >= 0.01 && lots <= p.lots))
    throw invalid(["/quantity", `Between 0.01 and ${p.lots.toFixed(2)} lots.`]);
  return viewPosition(leave(accountOf(call), p, lots, closing(bySymbol.get(p.symbol), p.side), "close"));
});
on(
  "GET",
  "/v1/market/instruments",
  () => ({
    items: instruments.map((i) => ({
      symbol: i.symbol,
      description: i.description,
      price_decimals: i.digits,
      quantity_min: "0.01",
      quantity_step: "0.01",
      quantity_max: i.max,
      contract_size: String(i.contract),
      base_currency: i.base,
      quote_currency: i.quote,
    })),
  }),
  true,
);
on("GET", "/v1/market/quotes", () => ({ items: instruments.map(quoteOf) }), true);
on(
  "GET",
  "/v1/market/candles",
  ({ query }) => {
    const i = bySymbol.get(query.get("symbol"));
    const seconds = { "5s": 5, "1m": 60, "5m": 300, "15m": 900 }[query.get("interval")];
    if (!i || !seconds) throw new Refusal(422, "unknown_instrument", "No such instrument or interval.");
    return { items: candlesOf(i, seconds, Number(query.get("limit") ?? 500)) };
  },
  true,
);
const bots = [
  "Marta K.",
  "northwind",
  "J. Okafor",
  "tick_hunter",
  "Lien",
  "S. Duarte",
  "pivotal",
  "Hanno",
  "quietgold",
  "R. Iyer",
  "delta-one",
  "Ana P.",
];
on(
  "GET",
  "/v1/leaderboard",
  ({ query, person }) => {
    const found = programs.find((p) => p.slug === query.get("program")) ?? programs[0];
    const phase = Number(query.get("phase") ?? 0);
    const base = Number(found.initial_balance);
    const rows = bots.map((trader, n) => ({
      trader,
      account: `A-${hex(trader).slice(0, 6).toUpperCase()}`,
      status: n === 0 ? "passed" : n > 9 ? "breached" : "active",
      gain: base * (0.1 - n * 0.0131 - phase * 0.02),
      trades: 84 - n * 5,
      you: false,
    }));
    for (const a of accounts.values())
      if (a.program === found && a.index === phase)
        rows.push({
          trader: a.challenge.person.display_name,
          account: a.number,
          status: a.status,
          gain: a.balance - base,
          trades: a.fills.length,
          you: a.challenge.person === person,
        });
    rows.sort((x, y) => y.gain - x.gain);
    return {
      program: found.slug,
      phase,
      items: rows.map(({ gain, ...r }, n) => ({
        rank: n + 1,
        ...r,
        profit: gain.toFixed(2),
        profit_percent: ((gain / base) * 100).toFixed(2),
        balance: (base + gain).toFixed(2),
      })),
      as_of: instant(),
    };
  },
  true,
);

const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
};
async function page(res, path) {
  res.setHeader("Content-Security-Policy", csp);
  const wanted = extname(path) ? normalize(path) : "/index.html";
  try {
    const content = await readFile(join(dist, wanted));
    res.setHeader("Content-Type", types[extname(wanted)] ?? "application/octet-stream");
    res.end(content);
  } catch {
    res.writeHead(404).end("not found");
  }
}
function events(req, res, clients, first) {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  res.write(": hello\n\n");
  if (first) res.write(`event: ${first[0]}\ndata: ${JSON.stringify(first[1])}\n\n`);
  clients.add(res);
  req.on("close", () => clients.delete(res));
}
async function read(req) {
  let text = "";
  for await (const piece of req) text += piece;
  return text;
}
async function answer(req, res) {
  const url = new URL(req.url, "http://localhost");
  const token = /ts_session=([^;]+)/.exec(req.headers.cookie ?? "")?.[1];
  const person = sessions.get(token);
  if (url.pathname.startsWith("/sandbox/pay/")) {
    const purchase = purchases.get(url.pathname.split("/")[3]);
    if (!purchase) return res.writeHead(404).end("not found");
    if (req.method === "POST") {
      const outcome = (await read(req)).includes("pay") ? "paid" : "declined";
      purchase.state = outcome;
      if (outcome === "paid") {
        setTimeout(() => {
          const challenge = {
            id: randomUUID(),
            program: purchase.program,
            state: "running",
            at: instant(),
            accounts: [],
            person: purchase.person,
          };
          challenges.set(challenge.id, challenge);
          openAccount(challenge, 0);
          purchase.challenge = challenge.id;
        }, 1200);
      }
      return res.writeHead(303, { Location: `/purchases/${purchase.id}?outcome=${outcome}` }).end();
    }
    res.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
    return res.end(
      `<!doctype html><html lang="en"><link rel="icon" href="/favicon.svg"><title>Sandbox payment</title><main><h1>Sandbox payment</h1><p>${purchase.program.name}: ${purchase.program.fee} USD</p><form method="post"><button name="outcome" value="pay">Pay</button> <button name="outcome" value="decline">Decline</button></form></main></html>`,
    );
  }
  if (!url.pathname.startsWith("/v1/")) return page(res, url.pathname);
  if (url.pathname === "/v1/market/stream")
    return events(req, res, marketClients, ["quotes", instruments.map(quoteOf)]);
  const parts = url.pathname.split("/");
  if (parts[4] === "stream") {
    const a = accountOf({ params: { id: parts[3] }, person });
    return events(req, res, a.clients, ["account", snapshotOf(a)]);
  }
  const route = routes.find(
    (r) =>
      r.method === req.method &&
      r.parts.length === parts.length &&
      r.parts.every((p, n) => p.startsWith(":") || p === parts[n]),
  );
  if (!route) throw missing();
  if (!route.open && !person) throw new Refusal(401, "unauthenticated", "Sign in first.");
  const params = Object.fromEntries(
    route.parts.flatMap((p, n) => (p.startsWith(":") ? [[p.slice(1), parts[n]]] : [])),
  );
  const guarded =
    req.method !== "GET" && (url.pathname === "/v1/purchases" || url.pathname.startsWith("/v1/accounts/"));
  if (guarded && !req.headers["idempotency-key"])
    throw new Refusal(400, "idempotency_key_missing", "Idempotency-Key is missing.");
  const text = await read(req);
  if (req.method !== "GET" && req.headers["content-type"] !== "application/json")
    throw new Refusal(415, "unsupported_media_type", "Send application/json.");
  const result = route.handle({
    params,
    query: url.searchParams,
    body: text ? JSON.parse(text) : {},
    person,
    token,
    res,
  });
  const [status, data] = Array.isArray(result) ? result : [200, result];
  res.writeHead(status, data === undefined ? {} : { "Content-Type": "application/json" });
  res.end(data === undefined ? undefined : JSON.stringify(data));
}
createServer((req, res) => {
  answer(req, res).catch((error) => {
    if (!(error instanceof Refusal)) console.error(error);
    const status = error.status ?? 500;
    const code = error.code ?? "internal";
    res.writeHead(status, { "Content-Type": "application/problem+json" });
    res.end(
      JSON.stringify({
        type: `/errors/${code}`,
        title: code.replaceAll("_", " "),
        status,
        detail: error.message,
        code,
        request_id: randomUUID(),
        ...(error.errors ? { errors: error.errors } : {}),
      }),
    );
  });
}).listen(port, () => console.log(`fake server on http://127.0.0.1:${port}`));
