import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useNavigate } from "react-router-dom";
import { identityQueueQuery } from "../api/queries";
import { isId } from "../audit/search";
import { standingTone, standingWord } from "../lib/identity";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";

/** Whose documents wait. */
export default function IdentityReviewsPage() {
  useTitle("Identity reviews");
  const queue = useQuery(identityQueueQuery);
  return (
    <>
      <h1>Identity</h1>
      <p className="lead">
        Whose documents wait for somebody of the firm, the oldest first. Nobody decides about themselves.
      </p>
      {queue.isPending && <Skeleton lines={4} height={28} label="Loading who waits" />}
      {queue.isError && !queue.data && <Failure error={queue.error} retry={() => queue.refetch()} />}
      {queue.data?.length === 0 && (
        <Empty title="Nobody waits">
          <p>Whoever hands in documents appears here.</p>
        </Empty>
      )}
      {queue.data && queue.data.length > 0 && (
        <section className="table-scroll panel" tabIndex={0} aria-label="Who waits">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Handed in, UTC</th>
                <th scope="col">State</th>
                <th scope="col">Person</th>
              </tr>
            </thead>
            <tbody>
              {queue.data.map((check) => (
                <tr key={check.person_id} data-person={check.person_id}>
                  <th scope="row" className="tab">
                    {check.submitted_at ? utcSeconds(check.submitted_at) : "–"}
                  </th>
                  <td>
                    <span className={`tag ${standingTone(check.standing)}`}>
                      {standingWord(check.standing)}
                    </span>
                  </td>
                  <td>
                    <Link to={`/operate/identity/${check.person_id}`}>
                      <code>{check.person_id}</code>
                    </Link>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <Find />
    </>
  );
}

function Find() {
  const [text, setText] = useState("");
  const [error, setError] = useState<string | null>(null);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const id = text.trim().toLowerCase();
    if (isId(id)) navigate(`/operate/identity/${id}`);
    else setError("Give the id of a person.");
  };
  return (
    <form
      className="form panel operate-form find"
      noValidate
      onSubmit={submit}
      aria-label="Look at somebody else's"
    >
      <Field
        label="Id of a person"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setError(null);
        }}
        error={error}
        autoComplete="off"
        spellCheck={false}
        hint="Also of somebody who was decided about"
      />
      <div className="actions">
        <button type="submit" className="button">
          Look
        </button>
      </div>
    </form>
  );
}
