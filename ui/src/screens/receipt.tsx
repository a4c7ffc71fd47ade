import { useQuery } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { receiptKeysQuery, receiptQuery, receiptSignatureQuery } from "../api/queries";
import { verifyCommand } from "../api/signature";
import type { Receipt } from "../api/types";
import { dec } from "../lib/decimal";
import { group, money, moneyIn, signed, tone, wordFor } from "../lib/format";
import { utcExact, withReadableTimes } from "../lib/time";
import { useTitle } from "../lib/title";
import { verdictTag, verdictWords } from "../lib/verdicts";
import { Copyable } from "../parts/copyable";
import { Failure, Skeleton } from "../parts/states";

// What verifies is loaded by those who ask for it.
const ReceiptProof = lazy(() => import("./receipt-proof"));

export function ReceiptPage() {
  const { id = "", number = "" } = useParams();
  const receipt = useQuery(receiptQuery(id, Number.parseInt(number, 10)));
  useTitle(receipt.data ? `Receipt ${receipt.data.number}, ${receipt.data.account.number}` : "Receipt");
  return (
    <div className="page receipt-page">
      <nav className="crumbs no-print" aria-label="Breadcrumb">
        <Link to="/challenges">My challenges</Link> <span aria-hidden="true">/</span>{" "}
        <Link to={`/accounts/${id}`}>{receipt.data?.account.number ?? "Account"}</Link>{" "}
        <span aria-hidden="true">/</span> Receipt {number}
      </nav>
      {receipt.isPending && <Skeleton lines={6} height={56} label="Loading the receipt" />}
      {receipt.isError && <Failure error={receipt.error} retry={() => receipt.refetch()} />}
      {receipt.data && <Paper receipt={receipt.data} id={id} />}
    </div>
  );
}

function Paper({ receipt, id }: { receipt: Receipt; id: string }) {
  const { floor } = receipt;
  const file = `receipt-${receipt.account.number}-${receipt.number}.json`;
  return (
    <article className={`receipt ${verdictTag(receipt.kind)}`}>
      <header>
        <div>
          <p className="kicker">
            <span className={`tag ${verdictTag(receipt.kind)}`}>{verdictWords[receipt.kind]}</span>
            {wordFor(receipt.rule)}
          </p>
          <h1>{receipt.headline}</h1>
          <p className="muted">
            <time dateTime={receipt.at}>{utcExact(receipt.at)}</time>
          </p>
        </div>
        <div className="actions no-print">
          <button type="button" className="button" onClick={() => window.print()}>
            Print
          </button>
          {/* The signed document, byte for byte, so that it can be verified without the platform. */}
          <a
            className="button"
            href={`/v1/accounts/${id}/receipts/${receipt.number}/document`}
            download={file}
          >
            Download signed JSON
          </a>
        </div>
      </header>

      <dl className="facts">
        <Fact name="Equity">{money(receipt.equity)}</Fact>
        {floor && (
          <Fact name={`Floor (fires ${floor.comparison === "below" ? "below" : "at or below"})`}>
            {money(floor.amount)}
          </Fact>
        )}
        {receipt.shortfall !== null && <Fact name="Shortfall">{money(receipt.shortfall)}</Fact>}
        <Fact name="Balance">{money(receipt.balance)}</Fact>
      </dl>

      <section className="explanation">
        <h2>What happened</h2>
        {receipt.explanation.map((sentence) => (
          <p key={sentence}>{withReadableTimes(sentence)}</p>
        ))}
      </section>

      <Check receipt={receipt} id={id} file={file} />

      <div className="columns">
        <section>
          <h2>The arithmetic</h2>
          <table className="data arithmetic">
            <caption className="hidden">From balance to equity and floor</caption>
            <thead className="hidden">
              <tr>
                <th scope="col">Step</th>
                <th scope="col">Amount</th>
              </tr>
            </thead>
            <tbody>
              {receipt.arithmetic.map((line, index) => (
                <tr key={index}>
                  <th scope="row">{line.label}</th>
                  <td className="num">{money(line.amount)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
        <section>
          <h2>Identity</h2>
          <dl className="terms">
            <Term name="Account">
              {receipt.account.number}, {receipt.account.phase.name}
            </Term>
            <Term name="Program">{receipt.program.name}</Term>
            <Term name="Terms version">
              <Link to={`/terms/${receipt.program.version}`}>
                <code className="break">{receipt.program.version}</code>
              </Link>
            </Term>
            <Term name="Receipt digest">
              <code className="break">{receipt.digest}</code>
            </Term>
            {receipt.latency.tick_to_decision_us !== null && (
              <Term name="Tick to decision">
                {group(dec(String(receipt.latency.tick_to_decision_us)))} µs
              </Term>
            )}
          </dl>
        </section>
      </div>

      <section>
        <h2>Quotes that decided</h2>
        {receipt.quotes.length === 0 ? (
          <p className="muted">No position was open, so no quote took part.</p>
        ) : (
          <Wide label="Quotes that decided">
            <table className="data">
              <thead>
                <tr>
                  <th scope="col">Symbol</th>
                  <th scope="col" className="num">
                    Bid
                  </th>
                  <th scope="col" className="num">
                    Ask
                  </th>
                  <th scope="col">Source</th>
                  <th scope="col">Source time</th>
                  <th scope="col">Received</th>
                  <th scope="col" className="num">
                    Place in the log
                  </th>
                </tr>
              </thead>
              <tbody>
                {receipt.quotes.map((quote) => (
                  <tr key={quote.symbol}>
                    <th scope="row">{quote.symbol}</th>
                    <td className="num">{quote.bid}</td>
                    <td className="num">{quote.ask}</td>
                    <td>{quote.source}</td>
                    <td className="tab">{utcExact(quote.source_time)}</td>
                    <td className="tab">{utcExact(quote.received_at)}</td>
                    <td className="num">{quote.position}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </section>

      <section>
        <h2>Positions at that moment</h2>
        {receipt.positions.length === 0 ? (
          <p className="muted">No position was open.</p>
        ) : (
          <Wide label="Positions at that moment">
            <table className="data">
              <thead>
                <tr>
                  <th scope="col" className="num">
                    Ticket
                  </th>
                  <th scope="col">Symbol</th>
                  <th scope="col">Side</th>
                  <th scope="col" className="num">
                    Lots
                  </th>
                  <th scope="col" className="num">
                    Opened at
                  </th>
                  <th scope="col" className="num">
                    Valued at
                  </th>
                  <th scope="col" className="num">
                    Result in quote currency
                  </th>
                  <th scope="col" className="num">
                    Rate
                  </th>
                  <th scope="col" className="num">
                    Result
                  </th>
                </tr>
              </thead>
              <tbody>
                {receipt.positions.map((position) => (
                  <tr key={position.ticket}>
                    <td className="num">{position.ticket}</td>
                    <th scope="row">{position.symbol}</th>
                    <td className={`side ${position.side}`}>{wordFor(position.side)}</td>
                    <td className="num">{position.quantity}</td>
                    <td className="num">{position.open_price}</td>
                    <td className="num">{position.close_price}</td>
                    <td className="num">{moneyIn(position.profit_quote, position.quote_currency)}</td>
                    <td className="num">
                      {position.rate
                        ? `${position.rate.how === "times" ? "×" : "÷"} ${position.rate.price} ${position.rate.symbol}`
                        : "–"}
                    </td>
                    <td className={`num ${tone(position.profit)}`}>{signed(position.profit)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </section>
    </article>
  );
}

/** How anybody checks the receipt without the platform. */
function Check({ receipt, id, file }: { receipt: Receipt; id: string; file: string }) {
  const signature = useQuery(receiptSignatureQuery(id, receipt.number));
  const keys = useQuery(receiptKeysQuery);
  if (signature.isPending || keys.isPending)
    return <Skeleton lines={2} height={28} label="Loading the signature" />;
  const failed = signature.isError ? signature : keys.isError ? keys : null;
  if (failed) return <Failure error={failed.error} retry={() => failed.refetch()} />;
  const signed = signature.data ?? null;
  const published = keys.data ?? [];
  const key = signed ? published.find((found) => found.id === signed.key) : undefined;
  return (
    <section className="verify" aria-labelledby="verify-heading">
      <h2 id="verify-heading">Check it yourself</h2>
      {signed === null ? (
        <p>This receipt carries no signature.</p>
      ) : (
        <>
          <p>
            Download the signed document and run this line. It recomputes floor, equity and verdict from the
            evidence alone and checks the signature; it needs no connection to us.
          </p>
          {key ? (
            <>
              <Copyable text={verifyCommand(file, key.public_key)} what="command" />
              <InTheLog
                id={id}
                number={receipt.number}
                file={file}
                verify={verifyCommand(file, key.public_key)}
              />
            </>
          ) : (
            <p>
              The key that signed it is not among those published today. Use the copy of the key that you
              kept.
            </p>
          )}
          <dl className="terms">
            <Term name="Signed with the key">
              <code>{signed.key}</code>
            </Term>
            {published.map((found) => (
              <Term key={found.id} name={`Public key ${found.id}`}>
                <code className="break">{found.public_key}</code>
              </Term>
            ))}
          </dl>
          <p className="fine">
            Keep the public key apart from the receipt: a receipt proves something only with a key that did
            not come with it.
          </p>
        </>
      )}
    </section>
  );
}

/** On request: the proof is asked for, and verified here. */
function InTheLog(of: { id: string; number: number; file: string; verify: string }) {
  const [asked, setAsked] = useState(false);
  if (!asked)
    return (
      <div className="actions no-print">
        <button type="button" className="button" onClick={() => setAsked(true)}>
          Verify that it is in the audit log
        </button>
      </div>
    );
  return (
    <Suspense fallback={<Skeleton lines={5} height={28} label="Verifying that it is in the audit log" />}>
      <ReceiptProof {...of} />
    </Suspense>
  );
}

function Wide({ label, children }: { label: string; children: ReactNode }) {
  return (
    <section className="table-scroll" tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Term({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
