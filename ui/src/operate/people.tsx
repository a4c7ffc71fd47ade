import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { meQuery, personKey } from "../api/queries";
import { isId } from "../audit/search";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { ReasonDialog } from "./reason";
import { reasons } from "./reasons";

/** Looks for somebody of the firm. Whom, is never in an address: addresses are kept in histories and logs. */
export default function PeoplePage() {
  useTitle("People");
  const [text, setText] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [asking, setAsking] = useState(false);
  const { data: me } = useQuery(meQuery);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const sought = text.trim();
  const find = useMutation({
    mutationFn: (reason: string) => ask(api.POST("/v1/people/find", { body: { email: sought, reason } })),
    onSuccess: (person, reason) => {
      if (me) {
        reasons.give(me.id, person.id, reason);
        reasons.give(me.id, sought.toLowerCase(), reason);
      }
      queries.setQueryData(personKey(person.id), person);
      navigate(`/operate/people/${person.id}`);
    },
    onError: () => setAsking(true),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (isId(sought)) {
      navigate(`/operate/people/${sought.toLowerCase()}`);
    } else if (/^\S+@\S+$/.test(sought)) {
      find.reset();
      const said = me && reasons.of(me.id, sought.toLowerCase());
      if (said) find.mutate(said);
      else setAsking(true);
    } else {
      setError("Give an e-mail address or the id of a person.");
    }
  };
  const told = find.isError ? asApiError(find.error) : null;
  return (
    <>
      <h1>People</h1>
      <p className="lead">
        Who somebody is and how their data is treated. You say why before you see it; that you looked is an
        entry of the audit log.
      </p>
      <form className="form panel operate-form find" noValidate onSubmit={submit} aria-label="Find somebody">
        <Field
          label="E-mail address or id"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setError(null);
          }}
          error={error}
          autoComplete="off"
          spellCheck={false}
          hint="In any case; the whole address"
        />
        <div className="actions">
          <button type="submit" className="button primary" disabled={find.isPending}>
            {find.isPending ? "Looking…" : "Find"}
          </button>
        </div>
      </form>
      {asking && (
        <ReasonDialog
          title="Why do you look?"
          confirm="Look"
          busy={find.isPending}
          refused={told && (told.status === 404 ? "Nobody has this address." : told.detail)}
          onSay={(reason) => find.mutate(reason)}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}
