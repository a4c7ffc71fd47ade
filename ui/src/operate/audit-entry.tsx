import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link, useParams } from "react-router-dom";
import { save, saveText } from "../api/download";
import { meQuery } from "../api/queries";
import type { AuditLogEntry, ProvenEntry } from "../api/types";
import { fromHex } from "../audit/bytes";
import type { Check } from "../audit/checks";
import { entryQuery, logQuery } from "../audit/queries";
import { addressOf, exportCommand, exportFile, reasonOf, wholeIn } from "../audit/search";
import { utcExact } from "../lib/time";
import { useTitle } from "../lib/title";
import { Checks } from "../parts/checks";
import { Copyable } from "../parts/copyable";
import { Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { AuditNav } from "./audit";
import { may } from "./roles";
import { whole } from "./work";

/** One entry and the proof that it is in the log. */
export default function AuditEntryPage() {
  const { index: text = "" } = useParams();
  const index = wholeIn(text);
  useTitle(index === null ? "Entry" : `Entry ${whole(index)}`);
  const found = useQuery({ ...entryQuery(index ?? 0), enabled: index !== null });
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/audit">Audit log</Link>
      </p>
      <h1>Entry {index === null ? text : whole(index)}</h1>
      <AuditNav />
      {index === null && <p className="form-error">Entries are counted in whole numbers from 0.</p>}
      {index !== null && found.isPending && (
        <Skeleton lines={8} height={28} label="Loading and verifying the entry" />
      )}
      {found.isError && !found.data && <Failure error={found.error} retry={() => found.refetch()} />}
      {found.data && (
        <>
          <Facts entry={found.data.proven.entry} />
          <h2>Verified in this browser</h2>
          <Proof proven={found.data.proven} checks={found.data.checks} />
          <Elsewhere proven={found.data.proven} />
        </>
      )}
    </>
  );
}

function Facts({ entry }: { entry: AuditLogEntry }) {
  const { data: me } = useQuery(meQuery);
  const people = may(me, "people");
  const reason = reasonOf(entry);
  return (
    <>
      <dl className="terms panel entry">
        <Term name="When">
          <time className="tab" dateTime={entry.at}>
            {utcExact(entry.at)}
          </time>
        </Term>
        <Term name="What">{entry.action}</Term>
        <Term name="Who">
          <Actor id={entry.actor} />
          {entry.actor && (
            <>
              {" "}
              · <Link to={addressOf({ actor: entry.actor })}>all of theirs</Link>
              {people && (
                <>
                  {" "}
                  · <Link to={`/operate/people/${entry.actor}`}>who it is</Link>
                </>
              )}
            </>
          )}
        </Term>
        <Term name="To what">
          {entry.object_kind} {entry.object !== "" && <code className="break">{entry.object}</code>}
          {entry.object !== "" && (
            <>
              {" "}
              ·{" "}
              <Link to={addressOf({ object_kind: entry.object_kind, object: entry.object })}>
                all about it
              </Link>
            </>
          )}
          {entry.object_kind === "person" && people && (
            <>
              {" "}
              · <Link to={`/operate/people/${entry.object}`}>who it is</Link>
            </>
          )}
        </Term>
        {reason !== null && <Term name="Why">{reason}</Term>}
        <Term name="Request">
          {entry.request_id ? (
            <>
              <code className="break">{entry.request_id}</code> ·{" "}
              <Link to={addressOf({ request: entry.request_id })}>all that it did</Link>
            </>
          ) : (
            "–"
          )}
        </Term>
        <Term name="Row">
          {entry.source} {entry.id}
        </Term>
        <Term name="State before">{entry.before ? <code className="break">{entry.before}</code> : "–"}</Term>
        <Term name="State after">{entry.after ? <code className="break">{entry.after}</code> : "–"}</Term>
        <Term name="Hash in the tree">
          <code className="break">{entry.hash}</code>
        </Term>
      </dl>
      <section>
        <h2>Detail, as it is hashed</h2>
        {entry.detail === "" ? (
          <p className="muted">None.</p>
        ) : (
          <div className="bytes">
            <pre tabIndex={0}>{entry.detail}</pre>
          </div>
        )}
      </section>
    </>
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

function Proof({ proven, checks }: { proven: ProvenEntry; checks: readonly Check[] }) {
  const { index } = proven.entry;
  const bytes = fromHex(proven.bytes);
  return (
    <>
      <Checks
        checks={checks}
        label="What was verified"
        said={{
          holds:
            proven.proof === null
              ? "It is what was hashed. No checkpoint covers it yet; one does within seconds."
              : "This entry is in the log that was signed.",
          refused: "This is not what was signed.",
          unchecked: "Not everything could be verified here.",
        }}
      />
      <div className="actions">
        {proven.proof !== null && (
          <button
            type="button"
            className="button"
            onClick={() => saveText(`entry-${index}.tlog-proof`, proven.proof ?? "")}
          >
            Download the proof
          </button>
        )}
        {bytes && (
          <button
            type="button"
            className="button"
            onClick={() => save({ name: `entry-${index}.bin`, blob: new Blob([bytes]) })}
          >
            Download the entry's bytes
          </button>
        )}
      </div>
    </>
  );
}

/** How anybody verifies it without this page. */
function Elsewhere({ proven }: { proven: ProvenEntry }) {
  const { index } = proven.entry;
  const { data: log } = useQuery({ ...logQuery, refetchInterval: false });
  const first = log?.served[0];
  if (proven.proof === null || !first) return null;
  const file = exportFile(index, index + 1);
  return (
    <section className="verify">
      <h2>Verify it without us</h2>
      <p>
        <a href={`/v1/audit/export?from=${index}&to=${index}`} download={file}>
          Export this entry
        </a>{" "}
        and run this line with the key that you keep. It needs no connection to us. The export is an entry of
        its own.
      </p>
      <Copyable
        text={exportCommand({ first: index, end: index + 1, key: first.key, trusted: null })}
        what="command"
      />
    </section>
  );
}
