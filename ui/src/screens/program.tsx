import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router-dom";
import { programQuery } from "../api/queries";
import type { Program } from "../api/types";
import { moneyIn, short, wordFor } from "../lib/format";
import { useTitle } from "../lib/title";
import { Failure, Skeleton } from "../parts/states";

export function ProgramPage() {
  const { slug = "" } = useParams();
  const program = useQuery(programQuery(slug));
  useTitle(program.data?.name ?? "Program");
  return (
    <div className="page">
      {program.isPending && <Skeleton lines={5} height={48} label="Loading the program" />}
      {program.isError && <Failure error={program.error} retry={() => program.refetch()} />}
      {program.data && <Details program={program.data} />}
    </div>
  );
}

function Details({ program }: { program: Program }) {
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link to="/">Programs</Link> <span aria-hidden="true">/</span> {program.name}
      </nav>
      <div className="split">
        <div>
          <h1>{program.name}</h1>
          <p className="lead">{program.summary}</p>
          <Phases program={program} />
        </div>
        <aside className="panel buy-box" aria-label="Terms in short">
          <p className="size">
            {short(program.initial_balance)} <small>{program.currency}</small>
          </p>
          <Terms program={program} />
          <Link className="button primary wide" to={`/programs/${program.slug}/checkout`}>
            Buy for {moneyIn(program.fee, program.fee_currency)}
          </Link>
          <VersionNote version={program.version} />
        </aside>
      </div>
    </>
  );
}

export function Phases({ program }: { program: Program }) {
  return (
    <>
      {program.phases.map((phase, index) => (
        <section key={phase.name} className="phase">
          <h2>
            <span className="step" aria-hidden="true">
              {index + 1}
            </span>
            {phase.name}
          </h2>
          <dl className="rule-list panel">
            {phase.rules.map((rule) => (
              <div key={rule.kind + rule.sentence}>
                <dt>{wordFor(rule.kind)}</dt>
                <dd>{rule.sentence}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </>
  );
}

export function Terms({ program }: { program: Program }) {
  return (
    <dl className="terms">
      <div>
        <dt>Fee</dt>
        <dd>{moneyIn(program.fee, program.fee_currency)}</dd>
      </div>
      <div>
        <dt>Leverage</dt>
        <dd>{program.leverage}</dd>
      </div>
      <div>
        <dt>Commission per lot</dt>
        <dd>{moneyIn(program.commission_per_lot, program.currency)}</dd>
      </div>
      <div>
        <dt>Daily reset</dt>
        <dd>
          {program.reset.time} <small>{program.reset.zone}</small>
        </dd>
      </div>
      <div>
        <dt>Instruments</dt>
        <dd>{program.instruments.join(", ")}</dd>
      </div>
    </dl>
  );
}

export function VersionNote({ version }: { version: string }) {
  return (
    <p className="fine">
      These terms are version <code title={version}>{version.slice(0, 12)}</code>. An account keeps the
      version it was bought with, whatever the firm publishes later.
    </p>
  );
}
