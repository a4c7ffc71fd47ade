import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router-dom";
import { versionQuery } from "../api/queries";
import type { KeptVersion } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Failure, Skeleton } from "../parts/states";
import { Phases } from "./program";

/** One version for good: what an account was bought with, whatever the firm sells today. */
export function TermsPage() {
  const { hash = "" } = useParams();
  const version = useQuery(versionQuery(hash));
  useTitle(version.data ? `Terms of ${version.data.name}` : "Terms");
  return (
    <div className="page">
      {version.isPending && <Skeleton lines={5} height={48} label="Loading the terms" />}
      {version.isError && <Failure error={version.error} retry={() => version.refetch()} />}
      {version.data && <Kept version={version.data} />}
    </div>
  );
}

function Kept({ version }: { version: KeptVersion }) {
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link to="/">Programs</Link> <span aria-hidden="true">/</span> Terms of {version.name}
      </nav>
      <div className="split">
        <div>
          <h1>Terms of {version.name}</h1>
          <p className="lead">{version.summary}</p>
          <Phases phases={version.phases} />
        </div>
        <aside className="panel buy-box" aria-label="This version">
          <h2>This version</h2>
          <dl className="terms">
            <div>
              <dt>First on sale</dt>
              <dd>{utcSeconds(version.first_at)} UTC</dd>
            </div>
          </dl>
          <div className="version">
            <span className="muted">Hash, SHA-256 over the text below</span>
            <code>{version.version}</code>
          </div>
          <p className="fine">
            An account that was bought with this version is judged by it, whatever is on sale today.
          </p>
        </aside>
      </div>
      <details className="panel canonical">
        <summary>The text that was hashed</summary>
        <pre tabIndex={0}>
          <code>{version.canonical_json}</code>
        </pre>
      </details>
    </>
  );
}
