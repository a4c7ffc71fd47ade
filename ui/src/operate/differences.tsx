import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, NavLink, useNavigate, useSearchParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { differencesQuery } from "../api/money-queries";
import { meQuery } from "../api/queries";
import type { ReconciliationDifference, ResolutionOf } from "../api/types";
import { signed } from "../lib/format";
import { utcExact } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { More } from "../parts/more";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { oneOf, saidIn, withQuery } from "./address";
import { useDo } from "./asking";
import { apart, sideText } from "./books";
import {
  kindWord,
  type Remedy,
  type ResolutionFaults,
  remediesOf,
  remedyWords,
  resolutionOf,
  standings,
  standingWords,
  subjectName,
  subjects,
  unsettled,
} from "./compare";
import { Expander } from "./expander";
import { may } from "./roles";

const KEY = ["reconciliation"] as const;
const HOME = "/operate/reconciliation";

/** Around each screen of the comparison. */
export function ReconciliationNav() {
  return (
    <nav className="subnav" aria-label="Comparison of the books">
      <NavLink to={HOME} end>
        Differences
      </NavLink>
      <NavLink to={`${HOME}/runs`}>Runs</NavLink>
    </nav>
  );
}

/** Where our books and others differ. */
export default function DifferencesPage() {
  useTitle("Reconciliation");
  const [address] = useSearchParams();
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  const said = saidIn(address, ["with", "state", "mine"]);
  const subject = oneOf(said.with, subjects);
  // What is still to be looked at, if nothing else is said.
  const state = said.state === "all" ? undefined : (oneOf(said.state, standings) ?? "open");
  const mine = said.mine !== undefined;
  const asked = { with: subject, state, owner: mine ? me?.id : undefined };
  const pages = useInfiniteQuery({ ...differencesQuery(asked), enabled: !mine || me != null });
  const found = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const change = (changed: Record<string, string | undefined>) =>
    navigate(withQuery(HOME, { ...said, ...changed }));
  return (
    <>
      <h1>Reconciliation</h1>
      <ReconciliationNav />
      <p className="lead">
        Where our books say something else than the providers, or than our own records. The same difference
        keeps its id however often it is found, and vanishes by itself once the books agree.
      </p>
      <div className="filters" role="search" aria-label="Which differences">
        <label className="select">
          With
          <select
            value={subject ?? ""}
            onChange={({ target }) => change({ with: target.value || undefined })}
          >
            <option value="">All</option>
            {subjects.map((word) => (
              <option key={word} value={word}>
                {subjectName(word)}
              </option>
            ))}
          </select>
        </label>
        <label className="select">
          State
          <select value={state ?? "all"} onChange={({ target }) => change({ state: target.value })}>
            {standings.map((word) => (
              <option key={word} value={word}>
                {standingWords[word][0]}
              </option>
            ))}
            <option value="all">All</option>
          </select>
        </label>
        <label className="check">
          <input
            type="checkbox"
            checked={mine}
            onChange={({ target }) =>
              // Nobody has an open one in hand.
              change(
                target.checked
                  ? { mine: "1", state: state === "open" ? "assigned" : said.state }
                  : { mine: undefined },
              )
            }
          />
          In my hand
        </label>
        <a className="button small" href={withQuery("/v1/reconciliation/differences/csv", asked)} download>
          Download as CSV
        </a>
      </div>
      {pages.isPending && <Skeleton lines={5} height={28} label="Loading the differences" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && found.length === 0 && (
        <Empty
          title={
            state === "open" && !subject && !mine ? "No difference is open" : "No difference is like that"
          }
        >
          {state === "open" ? (
            <p>
              See in the <Link to={`${HOME}/runs`}>runs</Link> when the books were compared last.
            </p>
          ) : (
            <Link className="button" to={withQuery(HOME, { state: "all" })}>
              Show all differences
            </Link>
          )}
        </Empty>
      )}
      {found.length > 0 && <h2 className="hidden">The differences</h2>}
      {found.length > 0 && <Differences found={found} />}
      <More pages={pages} shown={found.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

function Differences({ found }: { found: readonly ReconciliationDifference[] }) {
  return (
    <section className="table-scroll panel work" tabIndex={0} aria-label="Differences">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">What</th>
            <th scope="col">With</th>
            <th scope="col">Name</th>
            <th scope="col" className="num">
              Ours
            </th>
            <th scope="col" className="num">
              Theirs
            </th>
            <th scope="col" className="num">
              Theirs less ours
            </th>
            <th scope="col">Currency</th>
            <th scope="col">State</th>
            <th scope="col">Owner</th>
            <th scope="col">
              <span className="hidden">Take or resolve</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {found.map((difference) => (
            <Row key={difference.id} difference={difference} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ difference }: { difference: ReconciliationDifference }) {
  const [open, setOpen] = useState(false);
  const [resolving, setResolving] = useState(false);
  const { data: me } = useQuery(meQuery);
  const { id, name, currency, ours, theirs } = difference;
  const assign = useDo(
    (owner: string | null) =>
      ask(
        api.POST("/v1/reconciliation/differences/{id}/assign", { params: { path: { id } }, body: { owner } }),
      ),
    (_, owner) => (owner === null ? `${name} is in nobody's hand.` : `${name} is in your hand.`),
    KEY,
  );
  const state = oneOf(difference.state, standings);
  const [word, tone] = state ? standingWords[state] : [difference.state, ""];
  const more = apart(ours, theirs);
  const acts = may(me, "money") && unsettled(difference) && me != null;
  const details = `difference-${id}`;
  return (
    <>
      <tr data-difference={id}>
        <th scope="row">
          <Expander open={open} controls={details} onToggle={() => setOpen(!open)} about={name}>
            {kindWord(difference.kind)}
          </Expander>
        </th>
        <td>{subjectName(difference.with)}</td>
        <td>
          {difference.family} <code>{name}</code>
        </td>
        <td className="num">{sideText(ours)}</td>
        <td className="num">{sideText(theirs)}</td>
        <td className="num">{more === null ? "–" : signed(more)}</td>
        <td>{currency}</td>
        <td>
          <span className={`tag ${tone}`}>{word}</span>
        </td>
        <td>
          {difference.owner === null ? (
            <span className="muted">Nobody</span>
          ) : (
            <Actor id={difference.owner} />
          )}
        </td>
        <td className="num">
          {acts && (
            <span className="row-actions">
              {difference.owner === me.id ? (
                <button
                  type="button"
                  className="button small"
                  disabled={assign.isPending}
                  onClick={() => assign.mutate(null)}
                >
                  Give back<span className="hidden"> {name}</span>
                </button>
              ) : (
                <button
                  type="button"
                  className="button small"
                  disabled={assign.isPending}
                  onClick={() => assign.mutate(me.id)}
                >
                  Assign to me<span className="hidden">: {name}</span>
                </button>
              )}
              <button type="button" className="button small" onClick={() => setResolving(true)}>
                Resolve<span className="hidden"> {name}</span>
              </button>
            </span>
          )}
          {resolving && <Resolve difference={difference} onClose={() => setResolving(false)} />}
        </td>
      </tr>
      {open && (
        <tr className="details" id={details}>
          <td colSpan={10}>
            <Facts difference={difference} />
          </td>
        </tr>
      )}
    </>
  );
}

function Facts({ difference }: { difference: ReconciliationDifference }) {
  const facts = [
    ["Difference", difference.id],
    ["Run that looked last", difference.run],
    ["About", difference.about],
    ["Entry that was posted", difference.posting],
  ] as const;
  return (
    <div className="work-details">
      <dl className="work-facts">
        {facts.map(
          ([name, value]) =>
            value !== null && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>
                  <code>{value}</code>
                </dd>
              </div>
            ),
        )}
        <div>
          <dt>Found first</dt>
          <dd className="tab">{utcExact(difference.first_seen_at)}</dd>
        </div>
        <div>
          <dt>Found last</dt>
          <dd className="tab">{utcExact(difference.last_seen_at)}</dd>
        </div>
        {difference.resolved_at && (
          <div>
            <dt>{difference.state === "vanished" ? "Vanished" : "Resolved"}</dt>
            <dd className="tab">{utcExact(difference.resolved_at)}</dd>
          </div>
        )}
        {difference.resolved_by && (
          <div>
            <dt>By</dt>
            <dd>
              <Actor id={difference.resolved_by} />
            </dd>
          </div>
        )}
      </dl>
      {difference.resolution && (
        <div>
          <h3>Why it is none</h3>
          <p>{difference.resolution}</p>
        </div>
      )}
    </div>
  );
}

function Resolve({ difference, onClose }: { difference: ReconciliationDifference; onClose: () => void }) {
  const [remedy, setRemedy] = useState<Remedy>("accept");
  const [reason, setReason] = useState("");
  const [entry, setEntry] = useState("");
  const [faults, setFaults] = useState<ResolutionFaults>({});
  const queries = useQueryClient();
  const notify = useNotify();
  const { id, name } = difference;
  const resolve = useMutation({
    mutationFn: (body: ResolutionOf) => send(id, body),
    onSuccess: () => {
      notify(`${name} is resolved.`, "good");
      onClose();
    },
    onSettled: () => queries.invalidateQueries({ queryKey: KEY }),
  });
  const told = resolve.isError ? asApiError(resolve.error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = resolutionOf({ remedy, reason, entry });
    setFaults("faults" in read ? read.faults : {});
    if ("body" in read) resolve.mutate(read.body);
  };
  const field = told?.field("reason") ?? told?.field("entry");
  return (
    <Dialog title="Resolve the difference" onClose={onClose}>
      <form className="form" noValidate onSubmit={submit}>
        <p>
          {kindWord(difference.kind)}: {difference.family} <code className="break">{name}</code>, ours{" "}
          {sideText(difference.ours)}, theirs {sideText(difference.theirs)} {difference.currency}. It can be
          resolved once; it is found again only if its amounts change.
        </p>
        <Choice
          label="What is done"
          value={remedy}
          onChange={({ target }) => setRemedy(oneOf(target.value, remediesOf(difference)) ?? "accept")}
        >
          {remediesOf(difference).map((word) => (
            <option key={word} value={word}>
              {remedyWords[word]}
            </option>
          ))}
        </Choice>
        {remedy === "reverse_entry" && (
          <Field
            label="Entry that is taken back"
            value={entry}
            onChange={({ target }) => {
              setEntry(target.value);
              setFaults(({ reason: held }) => (held ? { reason: held } : {}));
            }}
            error={faults.entry ?? told?.field("entry")}
            autoComplete="off"
            spellCheck={false}
            hint="Its id, as the lines of an account show it"
          />
        )}
        <Field
          label="Reason"
          value={reason}
          onChange={({ target }) => {
            setReason(target.value);
            setFaults(({ entry: held }) => (held ? { entry: held } : {}));
          }}
          error={faults.reason ?? told?.field("reason")}
          autoComplete="off"
          hint="Written into the audit log for good."
        />
        {told && !field && (
          <p className="form-error" role="alert">
            {told.detail}
          </p>
        )}
        <div className="actions">
          <button type="submit" className="button primary" disabled={resolve.isPending}>
            {resolve.isPending ? "One moment…" : "Resolve it"}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function send(id: string, body: ResolutionOf) {
  return ask(api.POST("/v1/reconciliation/differences/{id}/resolve", { params: { path: { id } }, body }));
}
