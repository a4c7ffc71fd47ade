import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { meQuery, releasesQuery } from "../api/queries";
import type { Release } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { instantOf, words } from "./calendar";
import { may } from "./roles";

/** The firm's calendar of releases that move markets. */
export default function ReleasesPage() {
  useTitle("Releases");
  const releases = useQuery(releasesQuery);
  const { data: me } = useQuery(meQuery);
  const editor = may(me, "edit");
  return (
    <>
      <h1>Releases</h1>
      <p className="lead">
        Rules on news look into this calendar. Accounts whose rules ask for it learn of a change within
        moments.
      </p>
      {editor && <NewRelease />}
      {releases.isPending && <Skeleton lines={3} height={28} label="Loading the calendar" />}
      {releases.isError && <Failure error={releases.error} retry={() => releases.refetch()} />}
      {releases.data?.length === 0 && (
        <Empty title="The calendar is empty">
          <p>No release is ahead, and none was within the last day.</p>
        </Empty>
      )}
      {releases.data && releases.data.length > 0 && <List releases={releases.data} editor={editor} />}
    </>
  );
}

interface Draft {
  name: string;
  day: string;
  time: string;
  currencies: string;
  symbols: string;
}

const empty: Draft = { name: "", day: "", time: "", currencies: "", symbols: "" };

function NewRelease() {
  const [draft, setDraft] = useState(empty);
  const [errors, setErrors] = useState<Partial<Record<keyof Draft | "all", string>>>({});
  const queries = useQueryClient();
  const notify = useNotify();
  const add = useMutation({
    mutationFn: (body: Omit<Release, "id">) => ask(api.POST("/v1/releases", { body })),
    onSuccess: (release) => {
      setDraft(empty);
      notify(`${release.name} is in the calendar.`, "good");
      void queries.invalidateQueries({ queryKey: releasesQuery.queryKey });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      const found = {
        name: told.field("name") ?? undefined,
        day: told.field("at") ?? undefined,
        currencies: told.field("currencies") ?? told.field("currencies/0") ?? undefined,
        symbols: told.field("symbols") ?? told.field("symbols/0") ?? undefined,
      };
      setErrors(Object.values(found).some(Boolean) ? found : { all: told.detail });
    },
  });
  const change = (field: keyof Draft) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [field]: event.target.value }));
    setErrors((held) => ({ ...held, [field]: undefined, all: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const at = instantOf(draft.day, draft.time);
    const name = draft.name.trim();
    if (name === "" || at === null) {
      setErrors({
        ...(name === "" ? { name: "Give it a name." } : {}),
        ...(at === null ? { day: "Give a day and a time, both in UTC." } : {}),
      });
      return;
    }
    setErrors({});
    add.mutate({ name, at, currencies: words(draft.currencies), symbols: words(draft.symbols) });
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Add a release">
      <div className="fields">
        <Field
          label="Name"
          value={draft.name}
          onChange={change("name")}
          error={errors.name}
          autoComplete="off"
          placeholder="US non-farm payrolls"
        />
        <Field label="Day, UTC" type="date" value={draft.day} onChange={change("day")} error={errors.day} />
        <Field
          label="Time, UTC"
          type="time"
          value={draft.time}
          onChange={change("time")}
          error={errors.time}
        />
        <Field
          label="Currencies"
          value={draft.currencies}
          onChange={change("currencies")}
          error={errors.currencies}
          autoComplete="off"
          placeholder="USD, EUR"
        />
        <Field
          label="Instruments"
          value={draft.symbols}
          onChange={change("symbols")}
          error={errors.symbols}
          autoComplete="off"
          placeholder="XAUUSD"
        />
      </div>
      {errors.all && (
        <p className="form-error" role="alert">
          {errors.all}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary" disabled={add.isPending}>
          {add.isPending ? "Adding…" : "Add the release"}
        </button>
      </div>
    </form>
  );
}

function List({ releases, editor }: { releases: readonly Release[]; editor: boolean }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const remove = useMutation({
    mutationFn: (id: string) => ask(api.DELETE("/v1/releases/{id}", { params: { path: { id } } })),
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
    onSettled: () => queries.invalidateQueries({ queryKey: releasesQuery.queryKey }),
  });
  const now = new Date().toISOString();
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Calendar">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">When, UTC</th>
            <th scope="col">Release</th>
            <th scope="col">Currencies</th>
            <th scope="col">Instruments</th>
            <th scope="col">
              <span className="hidden">Remove</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {releases.map((release) => (
            <tr key={release.id}>
              <td className="tab">{utcSeconds(release.at)}</td>
              <th scope="row">{release.name}</th>
              <td>{release.currencies.join(", ") || "–"}</td>
              <td>{release.symbols.join(", ") || "–"}</td>
              <td className="num">
                {editor && release.at > now ? (
                  <button
                    type="button"
                    className="button small danger"
                    disabled={remove.isPending}
                    onClick={() => remove.mutate(release.id)}
                  >
                    Take back<span className="hidden"> {release.name}</span>
                  </button>
                ) : release.at > now ? null : (
                  <span className="muted">past</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
