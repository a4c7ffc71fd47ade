import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { meQuery, preferencesQuery } from "../api/queries";
import type { Preference } from "../api/types";
import { useTitle } from "../lib/title";
import { may } from "../operate/roles";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";

/** How one wants to be told. Every change is kept at once. */
export function PreferencesPage() {
  useTitle("Notification preferences");
  const preferences = useQuery(preferencesQuery);
  const { data: me } = useQuery(meQuery);
  // Only who looks after them is told of them.
  const concerning = (held: Preference) => held.group !== "operations" || may(me, "webhooks");
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/notifications">Notifications</Link>
      </p>
      <h1>What you are told</h1>
      <p className="lead">
        What ends an account or moves money is always told in the application. Changes are kept at once.
      </p>
      {preferences.isPending && <Skeleton lines={6} height={36} label="Loading your choices" />}
      {preferences.isError && <Failure error={preferences.error} retry={() => preferences.refetch()} />}
      {preferences.data && <Choices preferences={preferences.data.filter(concerning)} />}
    </div>
  );
}

function Choices({ preferences }: { preferences: readonly Preference[] }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const choose = useMutation({
    mutationFn: ({ group, in_app, mail }: Preference) =>
      ask(api.PUT("/v1/notifications/preferences", { body: { items: [{ group, in_app, mail }] } })),
    onMutate: (wish) => {
      queries.setQueryData(preferencesQuery.queryKey, (held) =>
        held?.map((one) => (one.group === wish.group ? wish : one)),
      );
    },
    onError: (refused) => {
      notify(asApiError(refused).detail, "bad");
      void queries.invalidateQueries({ queryKey: preferencesQuery.queryKey });
    },
    onSuccess: (kept) => queries.setQueryData(preferencesQuery.queryKey, kept.items),
  });
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Choices">
      <table className="data choices">
        <thead>
          <tr>
            <th scope="col">About</th>
            <th scope="col">In the application</th>
            <th scope="col">By mail</th>
          </tr>
        </thead>
        <tbody>
          {preferences.map((held) => (
            <tr key={held.group}>
              <th scope="row">{held.label}</th>
              <td>
                <label className="check">
                  <input
                    type="checkbox"
                    checked={held.in_app}
                    disabled={held.mandatory}
                    onChange={(event) => choose.mutate({ ...held, in_app: event.target.checked })}
                  />
                  <span className="hidden">{held.label}: in the application</span>
                  {held.mandatory && <span className="muted">always</span>}
                </label>
              </td>
              <td>
                <label className="check">
                  <input
                    type="checkbox"
                    checked={held.mail}
                    onChange={(event) => choose.mutate({ ...held, mail: event.target.checked })}
                  />
                  <span className="hidden">{held.label}: by mail</span>
                </label>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
