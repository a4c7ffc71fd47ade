import { useMutation } from "@tanstack/react-query";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { useTitle } from "../lib/title";
import { Failure } from "../parts/states";

/** Ends mails of one kind, for whoever comes from the link of a mail. Opening the page alone changes nothing. */
export function UnsubscribePage() {
  const { token = "" } = useParams();
  useTitle("Mails");
  const end = useMutation({
    mutationFn: () => ask(api.POST("/v1/unsubscribe/{token}", { params: { path: { token } } })),
  });
  return (
    <div className="page narrow">
      <h1>Mails</h1>
      {end.isError && <Failure error={end.error} retry={() => end.mutate()} />}
      {end.data ? (
        <p className="lead" role="status">
          You get no more mails about “{end.data.label}”. The application still tells you.
        </p>
      ) : (
        <p className="lead">You can end the mails of this kind without signing in.</p>
      )}
      <div className="actions">
        {!end.data && (
          <button
            type="button"
            className="button primary"
            disabled={end.isPending}
            onClick={() => end.mutate()}
          >
            {end.isPending ? "Ending…" : "No more of these mails"}
          </button>
        )}
        <Link className="button" to="/notifications/preferences">
          Choose in detail
        </Link>
      </div>
    </div>
  );
}
