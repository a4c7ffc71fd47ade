import type { ReactNode } from "react";
import { Link } from "react-router-dom";
import { asApiError } from "../api/error";

/** Grey lines in the place of what is loading, with the height the content will have. */
export function Skeleton({
  lines = 3,
  height = 16,
  label = "Loading",
}: {
  lines?: number;
  height?: number;
  label?: string;
}) {
  return (
    <div className="skeleton" role="status" aria-label={label}>
      {Array.from({ length: lines }, (_, line) => (
        <span key={line} style={{ height }} />
      ))}
    </div>
  );
}

/** A failure with what can be done about it. The request id leads the operator to the log line. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { title, detail, requestId, status, code } = asApiError(error);
  return (
    <div className="state failure" role="alert">
      <h2>{status === 404 ? "Not found" : title}</h2>
      <p>{detail}</p>
      <div className="actions">
        {retry && status !== 404 && (
          <button type="button" className="button" onClick={retry}>
            Try again
          </button>
        )}
        {status === 401 && (
          <Link className="button" to={`/sign-in?next=${encodeURIComponent(location.pathname)}`}>
            Sign in
          </Link>
        )}
        {status === 404 && (
          <Link className="button" to="/">
            To the programs
          </Link>
        )}
      </div>
      <p className="fine">
        Code <code>{code}</code>
        {requestId && (
          <>
            {" "}
            · request <code>{requestId}</code>
          </>
        )}
      </p>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="state">
      <h2>{title}</h2>
      {children}
    </div>
  );
}
