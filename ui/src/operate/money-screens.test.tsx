import { type InfiniteData, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { MemoryRouter, Route, Routes } from "react-router-dom";
import { describe, expect, it } from "vitest";
import {
  differencesQuery,
  disputeQuery,
  disputesQuery,
  linesQuery,
  providerEventsQuery,
  ratesQuery,
  refundsQuery,
  reportQuery,
  runsQuery,
  trialBalanceQuery,
} from "../api/money-queries";
import { meQuery } from "../api/queries";
import type {
  Dispute,
  DisputeDetail,
  LedgerLine,
  Person,
  ReconciliationDifference,
  ReconciliationRun,
  Refund,
  TrialBalance,
} from "../api/types";
import AccountLinesPage from "./account-lines";
import DifferencesPage from "./differences";
import DisputePage from "./dispute";
import DisputeRatesPage from "./dispute-rates";
import DisputesPage from "./disputes";
import FinancePage from "./finance";
import FinanceReportPage from "./finance-report";
import ProviderEventsPage from "./provider-events";
import RefundsPage from "./refunds";
import RunsPage from "./runs";

const id = "0198c0de-0000-7000-8000-000000000001";
const at = "2026-01-05T10:00:00.000000Z";
const paged = <T,>(...items: T[]): InfiniteData<{ items: T[]; next_cursor: string | null }, string> => ({
  pages: [{ items, next_cursor: null }],
  pageParams: [""],
});

/** What a screen shows of what is known, to somebody with these roles. */
function shown(
  screen: ReactNode,
  known: readonly (readonly [readonly unknown[], unknown])[],
  { roles = ["finance"], address = "/", path = "*" }: Partial<Look> = {},
): string {
  const queries = new QueryClient();
  queries.setQueryData<Partial<Person> | null>(meQuery.queryKey, { id, roles } as Person);
  for (const [key, data] of known) queries.setQueryData(key, data);
  return renderToStaticMarkup(
    <QueryClientProvider client={queries}>
      <MemoryRouter initialEntries={[address]}>
        <Routes>
          <Route path={path} element={screen} />
        </Routes>
      </MemoryRouter>
    </QueryClientProvider>,
  );
}
interface Look {
  roles: Person["roles"];
  address: string;
  path: string;
}

describe("the books", () => {
  const books = (debits: string): TrialBalance => ({
    balanced: debits === "1250.00",
    balances: [
      { account: "provider_clearing:stripe", currency: "USD", debits, credits: "0.00", balance: debits },
    ],
    sums: [{ currency: "USD", debits, credits: "1250.00" }],
  });
  const key = trialBalanceQuery({}).queryKey;
  it("say that debits equal credits", () => {
    const page = shown(<FinancePage />, [[key, books("1250.00")]]);
    expect(page).toContain("Debits equal credits in every currency.");
    expect(page).toContain("1,250.00");
    expect(page).toContain('href="/operate/finance/accounts/provider_clearing%3Astripe?currency=USD"');
    expect(page).toContain('href="/v1/finance/trial-balance/csv"');
  });
  it("say where they do not", () => {
    const page = shown(<FinancePage />, [[key, books("1250.01")]]);
    expect(page).toContain("Debits do not equal credits.");
    expect(page).toContain("+0.01");
  });
  it("are read as of an instant, and may be empty then", () => {
    const asOf = { effective: at, recorded: undefined };
    const page = shown(
      <FinancePage />,
      [[trialBalanceQuery(asOf).queryKey, { balanced: true, balances: [], sums: [] }]],
      { address: `/?effective=${at}` },
    );
    expect(page).toContain("Nothing stands in the books as of then");
    expect(page).toContain("by 2026-01-05 10:00:00 UTC");
  });
  it("show the lines of an account, each on its side", () => {
    const line: LedgerLine = {
      number: 7,
      entry: id,
      kind: "refund_sent",
      cause: `purchase:${id}`,
      effective_at: at,
      other: "refunds",
      amount: "-19.90",
    };
    const page = shown(<AccountLinesPage />, [[linesQuery("a:stripe", "EUR").queryKey, paged(line)]], {
      address: "/accounts/a%3Astripe?currency=EUR",
      path: "/accounts/:account",
    });
    expect(page).toContain('<td class="num"></td><td class="num">19.90</td>');
    expect(page).toContain('href="/v1/finance/accounts/a%3Astripe/lines/csv?currency=EUR"');
  });
  it("are summed in reports, by currency alone if one likes", () => {
    const asked = { from: undefined, to: undefined, by: "" };
    const row = { day: null, program: null, provider: null, currency: "USD", count: 3 };
    const amounts = { gross: "300.00", discounts: "0.10", tax: "0.00", refunds: "0.00", net: "299.90" };
    const data = {
      report: "revenue",
      from: "2026-01-01",
      to: "2026-01-31",
      zone: "UTC",
      rows: [{ ...row, amounts }],
    };
    const page = shown(<FinanceReportPage />, [[reportQuery("revenue", asked).queryKey, data]], {
      address: "/?by=none",
    });
    expect(page).toContain("299.90");
    expect(page).toContain('href="/v1/finance/reports/revenue/csv?by="');
  });
});

describe("the comparison of the books", () => {
  const difference = {
    id,
    with: "stripe",
    family: "payment",
    name: "pi_1",
    kind: "amount",
    currency: "USD",
    ours: "10.00",
    theirs: "10.05",
    about: null,
    state: "open",
    owner: null,
    first_seen_at: at,
    last_seen_at: at,
    run: id,
  } as ReconciliationDifference;
  const key = differencesQuery({ with: undefined, state: "open", owner: undefined }).queryKey;
  it("lets finance take and resolve a difference, and others look", () => {
    const page = shown(<DifferencesPage />, [[key, paged(difference)]]);
    expect(page).toContain("+0.05");
    expect(page).toContain("Assign to me");
    expect(page).toContain('href="/v1/reconciliation/differences/csv?state=open"');
    expect(shown(<DifferencesPage />, [[key, paged(difference)]], { roles: ["risk"] })).not.toContain(
      "Assign to me",
    );
    expect(shown(<DifferencesPage />, [[key, paged()]])).toContain("No difference is open");
  });
  it("tells of its runs", () => {
    const run = {
      id,
      with: "own",
      state: "done",
      from: at,
      until: at,
      lines: 0,
      compared: 1204,
      posted: 0,
      found: 2,
      vanished: 1,
      started_by: null,
      started_at: at,
      moved_at: at,
      ended_at: at,
    } satisfies ReconciliationRun;
    const page = shown(<RunsPage />, [[runsQuery.queryKey, paged(run)]]);
    expect(page).toContain("1,204");
    expect(page).toContain("Start the comparison");
    expect(shown(<RunsPage />, [[runsQuery.queryKey, paged(run)]], { roles: ["auditor"] })).not.toContain(
      "Start the comparison",
    );
  });
});

describe("refunds", () => {
  const refund = {
    id,
    purchase_id: id,
    provider: "stripe",
    payment: "pi_1",
    amount: "1200.00",
    currency: "USD",
    reason: "T-1",
    origin: "asked",
    asked_by: id,
    state: "pending",
    known_as: null,
    said: null,
    asked_at: at,
    changed_at: at,
  } satisfies Refund;
  it("are listed, and given by those who may", () => {
    const key = refundsQuery(undefined).queryKey;
    const page = shown(<RefundsPage />, [[key, paged(refund)]]);
    expect(page).toContain("1,200.00");
    expect(page).toContain('aria-label="Give money back"');
    expect(shown(<RefundsPage />, [[key, paged()]], { roles: ["risk"] })).not.toContain("Give money back");
  });
});

describe("disputes", () => {
  const dispute = {
    id,
    provider: "stripe",
    known_as: "dp_1",
    purchase_id: id,
    person_id: id,
    payment: "pi_1",
    amount: "99.00",
    currency: "USD",
    fee: null,
    reason: "fraudulent",
    state: "needs_answer",
    inquiry: false,
    answer_by: "2001-01-01T00:00:00.000000Z",
    opened_at: at,
    changed_at: at,
    explanation: null,
    payouts_held_since: at,
  } satisfies Dispute;
  const one = (detail: Partial<DisputeDetail>, roles: Person["roles"]) =>
    shown(<DisputePage />, [[disputeQuery(id).queryKey, { dispute, answers: [], ...detail }]], {
      roles,
      address: `/disputes/${id}`,
      path: "/disputes/:id",
    });
  it("say until when to answer", () => {
    const page = shown(<DisputesPage />, [[disputesQuery(undefined).queryKey, paged(dispute)]]);
    expect(page).toContain('2001-01-01 00:00:00<span class="very-late"> (over)</span>');
  });
  it("are answered by finance as long as it is the firm's turn", () => {
    const open = one({}, ["finance"]);
    for (const word of ["Hand in the evidence", "Give in", "Keep the explanation", "Let payouts go on"])
      expect(open).toContain(word);
    const answer = { number: 1, kind: "evidence", state: "asked", sha256: null, said: null, by: id, at };
    const answered = one({ answers: [answer] }, ["finance"]);
    expect(answered).not.toContain("Hand in the evidence");
    expect(answered).toContain("Not known to have arrived");
  });
  it("keep the buyer from those who only look", () => {
    const page = one({}, ["risk"]);
    for (const word of ["Look at the evidence", "Hand in", "Let payouts go on"])
      expect(page).not.toContain(word);
  });
  it("have rates, which are judged from a hundred payments on", () => {
    const rate = { provider: "stripe", month: "2026-01", percent: "0.7000", disputes: 7 };
    const page = shown(<DisputeRatesPage />, [
      [
        ratesQuery(undefined).queryKey,
        [
          { ...rate, payments: 1000, level: "alert" },
          { ...rate, provider: "paypal", payments: 9, level: null },
        ],
      ],
    ]);
    expect(page).toContain("Alert: the provider is about to act");
    expect(page).toContain("Not judged");
  });
});

describe("what providers told", () => {
  const event = {
    provider: "stripe",
    event: "evt_1",
    kind: "charge.refunded",
    about: "payment",
    thing: "pi_1",
    happened_at: at,
    received_at: at,
    state: "stuck",
    attempts: 80,
    error: "timed out\nmore",
  };
  it("is pulled again by admins alone", () => {
    const known = [[providerEventsQuery("stuck").queryKey, [event]]] as const;
    expect(shown(<ProviderEventsPage />, known, { roles: ["admin"] })).toContain("Pull again<span");
    expect(shown(<ProviderEventsPage />, known, { roles: ["risk"] })).not.toContain("Pull again<span");
  });
});
