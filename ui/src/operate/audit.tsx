import { useInfiniteQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, NavLink, useNavigate, useSearchParams } from "react-router-dom";
import type { AuditLogEntry } from "../api/types";
import { entriesQuery } from "../audit/queries";
import { addressOf, fieldOf, instantIn, isId, reasonOf, type Search, searchOf } from "../audit/search";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { More } from "../parts/more";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { whole } from "./work";

/** Around each screen of the audit log. */
export function AuditNav() {
  return (
    <nav className="subnav" aria-label="Audit log">
      <NavLink to="/operate/audit" end>
        Entries
      </NavLink>
      <NavLink to="/operate/audit/checkpoints">Checkpoints</NavLink>
      <NavLink to="/operate/audit/export">Export</NavLink>
    </nav>
  );
}

/** Who did what, the newest first. */
export default function AuditPage() {
  useTitle("Audit log");
  const [address] = useSearchParams();
  const search = searchOf(address);
  const pages = useInfiniteQuery(entriesQuery(search));
  const entries = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const narrowed = Object.keys(search).length > 0;
  return (
    <>
      <h1>Audit log</h1>
      <AuditNav />
      <p className="lead">
        Every act, command and verdict of this firm, as it was written with its effect. What you export here
        is an entry as well.
      </p>
      <SearchForm key={address.toString()} search={search} />
      {pages.isPending && <Skeleton lines={8} height={28} label="Loading the entries" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && entries.length === 0 && !pages.hasNextPage && (
        <Empty title={narrowed ? "No entry is like that" : "The log has no entries yet"}>
          {narrowed && (
            <Link className="button" to="/operate/audit">
              Show all entries
            </Link>
          )}
        </Empty>
      )}
      {pages.data && entries.length === 0 && pages.hasNextPage && (
        <p className="muted" role="status">
          Nothing among the newest entries. Load more to look further back.
        </p>
      )}
      {entries.length > 0 && <Entries entries={entries} />}
      <More pages={pages} shown={entries.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

const beginnings = [
  "account.",
  "audit.",
  "command.",
  "job.",
  "message.",
  "privacy.",
  "program.",
  "purchase.",
  "queue.",
  "release.",
  "verdict.",
  "webhook.",
];
const kinds = ["account", "checkpoint", "job", "person", "program", "purchase", "release", "webhook"];

function SearchForm({ search }: { search: Search }) {
  const [draft, setDraft] = useState(search);
  const [faults, setFaults] = useState<{ actor?: string; request?: string }>({});
  const navigate = useNavigate();
  const change = (name: keyof Search) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [name]: event.target.value }));
    setFaults((held) => ({ ...held, [name]: undefined }));
  };
  const changeTime = (name: "since" | "until") => (event: { target: { value: string } }) =>
    setDraft((held) => ({ ...held, [name]: instantIn(event.target.value) }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wrong = (text = "") => text.trim() !== "" && !isId(text.trim());
    if (wrong(draft.actor)) setFaults({ actor: "This is no id of a person." });
    else if (wrong(draft.request)) setFaults({ request: "This is no id of a request." });
    else navigate(addressOf(draft));
  };
  return (
    <form
      className="form panel operate-form"
      onSubmit={submit}
      noValidate
      aria-label="Search the entries"
      role="search"
    >
      <div className="fields">
        <Field
          label="Action"
          list="audit-actions"
          value={draft.action ?? ""}
          onChange={change("action")}
          autoComplete="off"
          spellCheck={false}
          hint="As command.place, or all that begin alike: command."
        />
        <Field
          label="Kind of object"
          list="audit-kinds"
          value={draft.object_kind ?? ""}
          onChange={change("object_kind")}
          autoComplete="off"
          spellCheck={false}
        />
        <Field
          label="Object"
          value={draft.object ?? ""}
          onChange={change("object")}
          autoComplete="off"
          spellCheck={false}
          hint="Its id"
        />
        <Field
          label="Who"
          value={draft.actor ?? ""}
          onChange={change("actor")}
          error={faults.actor}
          autoComplete="off"
          spellCheck={false}
          hint="The id of a person"
        />
        <Field
          label="Request"
          value={draft.request ?? ""}
          onChange={change("request")}
          error={faults.request}
          autoComplete="off"
          spellCheck={false}
          hint="As an answer carried it in X-Request-Id"
        />
        <Field
          label="From, UTC"
          type="datetime-local"
          step={1}
          defaultValue={fieldOf(search.since)}
          onChange={changeTime("since")}
        />
        <Field
          label="Before, UTC"
          type="datetime-local"
          step={1}
          defaultValue={fieldOf(search.until)}
          onChange={changeTime("until")}
        />
      </div>
      <datalist id="audit-actions">
        {beginnings.map((action) => (
          <option key={action} value={action} />
        ))}
      </datalist>
      <datalist id="audit-kinds">
        {kinds.map((kind) => (
          <option key={kind} value={kind} />
        ))}
      </datalist>
      <div className="actions">
        <button type="submit" className="button primary">
          Search
        </button>
        {Object.keys(search).length > 0 && (
          <Link className="button" to="/operate/audit">
            Show all
          </Link>
        )}
      </div>
    </form>
  );
}

function Entries({ entries }: { entries: readonly AuditLogEntry[] }) {
  return (
    <section className="table-scroll panel work" tabIndex={0} aria-label="Entries">
      <table className="data">
        <thead>
          <tr>
            <th scope="col" className="num">
              Entry
            </th>
            <th scope="col">When, UTC</th>
            <th scope="col">What</th>
            <th scope="col">To what</th>
            <th scope="col">Who</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={entry.index} data-entry={entry.index}>
              <th scope="row" className="num">
                <Link to={`/operate/audit/entries/${entry.index}`}>{whole(entry.index)}</Link>
              </th>
              <td className="tab">{utcSeconds(entry.at)}</td>
              <td>{entry.action}</td>
              <td>
                {entry.object_kind} {entry.object !== "" && <code>{entry.object}</code>}
              </td>
              <td>
                <Actor id={entry.actor} />
              </td>
              <td className="error">{reasonOf(entry) ?? "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
