import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router-dom";
import { differenceQuery, programQuery, shelfQuery, versionsQuery } from "../api/queries";
import type { Phase, Program, ProgramChange } from "../api/types";
import { moneyIn, short } from "../lib/format";
import { utcSeconds } from "../lib/time";
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
          <Phases phases={program.phases} />
          <Versions program={program} />
        </div>
        <aside className="panel buy-box" aria-label="Terms in short">
          <p className="size">
            {short(program.initial_balance)} <small>{program.currency}</small>
          </p>
          <Terms program={program} />
          <OnShelf program={program} />
          <VersionNote version={program.version} />
        </aside>
      </div>
    </>
  );
}

/** What can be bought with it, and what it costs whoever looks. */
function OnShelf({ program }: { program: Program }) {
  const shelf = useQuery(shelfQuery(program.slug));
  const { price, currency } = shelf.data ?? { price: program.fee, currency: program.fee_currency };
  const trial = shelf.data?.trial ?? false;
  const tax = shelf.data?.tax;
  return (
    <>
      {shelf.data && shelf.data.addons.length > 0 && (
        <section aria-labelledby="addons-heading">
          <h2 id="addons-heading">You can add</h2>
          <ul className="addon-list">
            {shelf.data.addons.map((addon) => (
              <li key={addon.code}>
                <span>{addon.name}</span>
                <b className="tab">+{moneyIn(addon.price, currency)}</b>
                <span className="fine">{addon.effect}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      {shelf.isPending && <Skeleton lines={1} height={20} label="Loading the price" />}
      <Link className="button primary wide" to={`/programs/${program.slug}/checkout`}>
        {trial ? "Start the free trial" : `Buy for ${moneyIn(price, currency)}`}
      </Link>
      {trial && <p className="fine">Everybody has one trial of this program.</p>}
      {tax && !trial && (
        <p className="fine">
          {tax.included ? `Includes ${tax.rate}% tax.` : `${tax.rate}% tax comes on top.`}
        </p>
      )}
    </>
  );
}

/** Every rule and every policy of each phase, as sentences. */
export function Phases({ phases }: { phases: readonly Phase[] }) {
  return (
    <>
      {phases.map((phase, index) => (
        <section key={`${index}-${phase.name}`} className="phase">
          <h2>
            <span className="step" aria-hidden="true">
              {index + 1}
            </span>
            {phase.name}
          </h2>
          <dl className="rule-list panel">
            {phase.rules.map((rule) => (
              <div key={rule.kind + rule.sentence}>
                <dt>{rule.label}</dt>
                <dd>{rule.sentence}</dd>
              </div>
            ))}
            {phase.policies.length > 0 && (
              <div>
                <dt>What else holds</dt>
                <dd>
                  <ul className="sentences">
                    {phase.policies.map((sentence) => (
                      <li key={sentence}>{sentence}</li>
                    ))}
                  </ul>
                </dd>
              </div>
            )}
          </dl>
        </section>
      ))}
    </>
  );
}

/** Every version that was ever on sale, and what distinguishes each from the one that is. */
function Versions({ program }: { program: Program }) {
  const versions = useQuery(versionsQuery(program.slug));
  return (
    <section className="versions" aria-labelledby="versions-heading">
      <h2 id="versions-heading">Versions</h2>
      <p className="muted">A published version never changes. An account keeps the one it was bought with.</p>
      {versions.isPending && <Skeleton lines={2} height={28} label="Loading the versions" />}
      {versions.isError && <Failure error={versions.error} retry={() => versions.refetch()} />}
      {versions.data && (
        <ol className="panel version-list">
          {versions.data.map((published, index) => (
            <li key={`${published.version}-${published.at}`}>
              <div className="version-line">
                <Link to={`/terms/${published.version}`}>
                  <code title={published.version}>{published.version.slice(0, 12)}</code>
                </Link>
                <span>
                  {published.name}, {moneyIn(published.fee, published.fee_currency)}
                </span>
                <span className="muted">{utcSeconds(published.at)} UTC</span>
                {index === 0 && <span className="tag active">on sale</span>}
              </div>
              {published.version !== program.version && (
                <WhatChanged slug={program.slug} from={published.version} to={program.version} />
              )}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function WhatChanged({ slug, from, to }: { slug: string; from: string; to: string }) {
  const [open, setOpen] = useState(false);
  const difference = useQuery({ ...differenceQuery(slug, from, to), enabled: open });
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What changed since then</summary>
      {open && difference.isPending && <Skeleton lines={2} label="Comparing the versions" />}
      {difference.isError && <Failure error={difference.error} retry={() => difference.refetch()} />}
      {difference.data?.length === 0 && <p className="muted">Nothing: only the price or the place.</p>}
      {difference.data && difference.data.length > 0 && <Changes changes={difference.data} />}
    </details>
  );
}

/** What distinguishes two programs, in the order of their phases. */
export function Changes({ changes }: { changes: readonly ProgramChange[] }) {
  return (
    <ul className="changes">
      {changes.map((change, index) => (
        <li key={`${index}-${change.place}`}>
          <b>{change.place}</b>
          {change.before === null ? (
            <span className="muted">Nothing before.</span>
          ) : (
            <del>
              <span className="hidden">Before: </span>
              {change.before}
            </del>
          )}
          {change.after === null ? (
            <span className="muted">No longer said.</span>
          ) : (
            <ins>
              <span className="hidden">After: </span>
              {change.after}
            </ins>
          )}
        </li>
      ))}
    </ul>
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
      These terms are version{" "}
      <Link to={`/terms/${version}`}>
        <code title={version}>{version.slice(0, 12)}</code>
      </Link>
      . An account keeps the version it was bought with, whatever the firm publishes later.
    </p>
  );
}
