import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { meQuery, programsQuery } from "../api/queries";
import type { Program, Rule } from "../api/types";
import { moneyIn, short } from "../lib/format";
import { useTitle } from "../lib/title";
import { ArrowIcon } from "../parts/icons";
import { Empty, Failure, Skeleton } from "../parts/states";

export function Catalogue() {
  useTitle("Programs");
  const programs = useQuery(programsQuery);
  const { data: me } = useQuery(meQuery);
  return (
    <div className="page">
      <section className="hero">
        <div>
          <h1>Trading challenges with rules you can check</h1>
          <p>
            Every rule is tested on every price, and every verdict comes with a receipt: the exact quotes, the
            floor and the arithmetic behind it.
          </p>
        </div>
        {me ? (
          <Link className="button" to="/challenges">
            My challenges <ArrowIcon size={14} />
          </Link>
        ) : (
          <Link className="button primary" to="/register">
            Create an account
          </Link>
        )}
      </section>
      {programs.isPending && <Skeleton lines={3} height={180} label="Loading programs" />}
      {programs.isError && <Failure error={programs.error} retry={() => programs.refetch()} />}
      {programs.data?.length === 0 && (
        <Empty title="No programs are on sale">
          <p>
            The firm has not published a program yet. Look again later, or see who leads on the leaderboard.
          </p>
          <Link className="button" to="/leaderboard">
            Leaderboard
          </Link>
        </Empty>
      )}
      {programs.data && programs.data.length > 0 && (
        <>
          <section aria-labelledby="programs-heading">
            <h2 id="programs-heading" className="hidden">
              Programs
            </h2>
            <ul className="cards">
              {programs.data.map((program) => (
                <ProgramCard key={program.slug} program={program} />
              ))}
            </ul>
          </section>
          <Comparison programs={programs.data} />
        </>
      )}
    </div>
  );
}

function ProgramCard({ program }: { program: Program }) {
  const first = program.phases[0];
  return (
    <li className="card">
      <header>
        <h3>
          <Link to={`/programs/${program.slug}`}>{program.name}</Link>
        </h3>
        <p className="size">
          {short(program.initial_balance)} <small>{program.currency}</small>
        </p>
        <p className="muted">{program.summary}</p>
      </header>
      <ul className="phase-line" aria-label="Phases">
        {program.phases.map((phase, index) => (
          <li key={phase.name}>
            <span aria-hidden="true">{index + 1}</span>
            {phase.name}
          </li>
        ))}
      </ul>
      <ul className="rules">
        {first?.rules.map((rule) => (
          <li key={rule.kind + rule.sentence}>{rule.sentence}</li>
        ))}
      </ul>
      <footer>
        <p>
          <span className="muted">Fee</span> <strong>{moneyIn(program.fee, program.fee_currency)}</strong>
        </p>
        <Link className="button primary" to={`/programs/${program.slug}`}>
          Details<span className="hidden"> of {program.name}</span>
        </Link>
      </footer>
    </li>
  );
}

const compared: readonly [Rule["kind"], string][] = [
  ["profit_target", "Profit target"],
  ["daily_loss", "Daily loss"],
  ["max_loss", "Maximum loss"],
];

function limitText(rule: Rule | undefined, currency: string) {
  if (!rule?.limit) return "–";
  const { percent, amount } = rule.limit;
  return (
    <>
      {percent && <span>{percent} %</span>}
      {amount && <small>{` ${short(amount)} ${currency}`}</small>}
    </>
  );
}

function Comparison({ programs }: { programs: readonly Program[] }) {
  const cells = (render: (program: Program) => React.ReactNode) =>
    programs.map((program) => <td key={program.slug}>{render(program)}</td>);
  const phases = Math.max(...programs.map((program) => program.phases.length));
  return (
    <section aria-labelledby="compare-heading">
      <h2 id="compare-heading">Side by side</h2>
      <section className="table-scroll panel" tabIndex={0} aria-label="Comparison of programs">
        <table className="compare">
          <thead>
            <tr>
              <th scope="col">Program</th>
              {programs.map((program) => (
                <th scope="col" key={program.slug}>
                  <Link to={`/programs/${program.slug}`}>{program.name}</Link>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">Initial balance</th>
              {cells((program) => moneyIn(program.initial_balance, program.currency))}
            </tr>
            <tr>
              <th scope="row">Fee</th>
              {cells((program) => moneyIn(program.fee, program.fee_currency))}
            </tr>
            {Array.from({ length: phases }, (_, index) =>
              compared.map(([kind, label]) => (
                <tr key={`${index}-${kind}`} className={kind === "profit_target" ? "group" : undefined}>
                  <th scope="row">
                    {label} <small>phase {index + 1}</small>
                  </th>
                  {cells((program) =>
                    limitText(
                      program.phases[index]?.rules.find((rule) => rule.kind === kind),
                      program.currency,
                    ),
                  )}
                </tr>
              )),
            )}
            <tr className="group">
              <th scope="row">Leverage</th>
              {cells((program) => program.leverage)}
            </tr>
            <tr>
              <th scope="row">Commission per lot</th>
              {cells((program) => moneyIn(program.commission_per_lot, program.currency))}
            </tr>
            <tr>
              <th scope="row">Daily reset</th>
              {cells((program) => (
                <>
                  {program.reset.time} <small>{program.reset.zone}</small>
                </>
              ))}
            </tr>
            <tr>
              <th scope="row">Instruments</th>
              {cells((program) => (
                <span className="wrap">{program.instruments.join(", ")}</span>
              ))}
            </tr>
          </tbody>
        </table>
      </section>
    </section>
  );
}
