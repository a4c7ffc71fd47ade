import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useNavigate } from "react-router-dom";
import { api, ask } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { meQuery } from "../api/queries";
import type { Person } from "../api/types";
import { wordFor } from "../lib/format";
import { useTitle } from "../lib/title";
import { reasons } from "../operate/reasons";
import { ArchiveCheck } from "../parts/archive";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { Failure } from "../parts/states";

/** What is stored about oneself, and what one may ask of it. */
export default function YourDataPage() {
  useTitle("Your data");
  const { data: me } = useQuery(meQuery);
  if (!me) return null;
  return (
    <div className="page">
      <h1>Your data</h1>
      <p className="lead">
        Who you are is stored under a key of your own, apart from what you traded. Whoever of the firm looks
        at it says why, and that is written down.
      </p>
      <dl className="terms panel entry">
        <div>
          <dt>Display name</dt>
          <dd>{me.display_name}</dd>
        </div>
        <div>
          <dt>E-mail</dt>
          <dd className="break">{me.email}</dd>
        </div>
        <div>
          <dt>Id</dt>
          <dd>
            <code className="break">{me.id}</code>
          </dd>
        </div>
        <div>
          <dt>Roles</dt>
          <dd>{me.roles.map(wordFor).join(", ")}</dd>
        </div>
      </dl>
      <p>
        <Link to="/notifications/preferences">Choose what you are told, and how</Link>
      </p>
      <p>
        <Link to="/identity">Show who you are, for payouts</Link>
      </p>
      <Everything id={me.id} />
      <Erasure me={me} />
    </div>
  );
}

function Everything({ id }: { id: string }) {
  const [file, setFile] = useState<string | null>(null);
  const load = useMutation({
    mutationFn: () => askFile(api.GET("/v1/me/export", { parseAs: "blob" }), `export-${id}.zip`),
    onSuccess: (archive) => {
      save(archive);
      setFile(archive.name);
    },
  });
  return (
    <section className="verify">
      <h2>Everything about you</h2>
      <p>
        One signed archive: your profile, and every row about you as it is stored. Its file{" "}
        <code>profile.json</code> also says in which region your data lies, whether it is restricted, and
        whether it is under a legal hold.
      </p>
      <div className="actions">
        <button
          type="button"
          className="button primary"
          disabled={load.isPending}
          onClick={() => load.mutate()}
        >
          {load.isPending ? "Collecting…" : "Download everything"}
        </button>
      </div>
      {load.isError && <Failure error={load.error} retry={() => load.mutate()} />}
      {file && <ArchiveCheck file={file} />}
    </section>
  );
}

const goes = [
  "Your name and e-mail address, wherever they are stored. Backups hold them under a key that no longer exists.",
  "Notifications, mails and what you chose about them.",
  "Your sessions: you are signed out everywhere.",
];
const stays = [
  [
    "Purchases, accounts, orders, fills, verdicts and receipts, under an id that names nobody",
    "They are records of a business, which the law wants kept (GDPR article 17(3)(b) and (e)).",
  ],
  [
    "The audit log, with your id and without your name",
    "It proves that nothing was rewritten; it is kept for 7 years.",
  ],
  ["That you were erased, and when", "So that a restored backup erases you again."],
] as const;

function Erasure({ me }: { me: Person }) {
  const [asking, setAsking] = useState(false);
  return (
    <section className="erasure">
      <h2>Be erased</h2>
      <div className="columns">
        <div>
          <h3>What goes</h3>
          <ul className="plain">
            {goes.map((what) => (
              <li key={what}>{what}</li>
            ))}
          </ul>
        </div>
        <div>
          <h3>What stays, and why</h3>
          <ul className="plain">
            {stays.map(([what, why]) => (
              <li key={what}>
                {what}. <span className="muted">{why}</span>
              </li>
            ))}
          </ul>
        </div>
      </div>
      <p>
        It cannot be undone: running challenges are lost to you, because nobody can tell that they were yours.
        It is refused while a payout is under way, and while a court, a regulator or a dispute needs the data.
      </p>
      <div className="actions">
        <button type="button" className="button danger" onClick={() => setAsking(true)}>
          Erase me
        </button>
      </div>
      {asking && <EraseDialog me={me} onClose={() => setAsking(false)} />}
    </section>
  );
}

function EraseDialog({ me, onClose }: { me: Person; onClose: () => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<{ email?: string; password?: string }>({});
  const queries = useQueryClient();
  const navigate = useNavigate();
  const erase = useMutation({
    mutationFn: () => ask(api.POST("/v1/me/erasure", { body: { password } })),
    onSuccess: () => {
      navigate("/erased", { replace: true });
      queries.clear();
      reasons.forgetAll();
      queries.setQueryData(meQuery.queryKey, null);
    },
  });
  const told = erase.isError ? asApiError(erase.error) : null;
  const wrong = told?.code === "wrong_credentials" ? told.detail : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const typed = email.trim().toLowerCase() === me.email.toLowerCase();
    setError({
      ...(!typed && { email: `Type exactly: ${me.email}` }),
      ...(password === "" && { password: "Give your password." }),
    });
    if (typed && password !== "") erase.mutate();
  };
  return (
    <Dialog title="Erase you for good?" onClose={onClose}>
      <form className="form" noValidate onSubmit={submit}>
        <p>Download everything about you first: afterwards nobody can give it to you.</p>
        <Field
          label={`Type your e-mail address, ${me.email}`}
          value={email}
          onChange={(event) => {
            setEmail(event.target.value);
            setError((held) => ({ ...held, email: undefined }));
          }}
          error={error.email}
          autoComplete="off"
          spellCheck={false}
        />
        <Field
          label="Password"
          type="password"
          value={password}
          onChange={(event) => {
            setPassword(event.target.value);
            setError((held) => ({ ...held, password: undefined }));
          }}
          error={error.password ?? wrong}
          autoComplete="current-password"
        />
        {told && !wrong && (
          <p className="form-error" role="alert">
            {told.detail}
          </p>
        )}
        <div className="actions">
          <button type="submit" className="button danger" disabled={erase.isPending}>
            {erase.isPending ? "Erasing…" : "Erase me for good"}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
