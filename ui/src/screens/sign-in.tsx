import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, Navigate, useNavigate, useSearchParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { ApiError } from "../api/error";
import { meQuery } from "../api/queries";
import type { Person } from "../api/types";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";

const PASSWORD_MIN = 15;

/** Where to go afterwards. Only an own path is followed, so that a crafted link cannot lead to another site. */
function nextPath(search: URLSearchParams): string {
  const next = search.get("next");
  return next?.startsWith("/") && !next.startsWith("//") && !next.includes("\\") ? next : "/challenges";
}

function useEntry(send: () => Promise<Person>, next: string) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: send,
    onSuccess: (person) => {
      queries.setQueryData(meQuery.queryKey, person);
      navigate(next, { replace: true });
    },
  });
}

function FormFailure({ error, fields }: { error: unknown; fields: readonly string[] }) {
  if (!(error instanceof ApiError)) return null;
  // What is said beside a field needs no second place.
  if (
    error.fields.length > 0 &&
    error.fields.every((problem) => fields.includes(problem.pointer.replace(/^[#/]+/, "")))
  )
    return null;
  return (
    <p className="form-error" role="alert">
      {error.detail}
      {error.requestId && error.status >= 500 && (
        <>
          {" "}
          Request <code>{error.requestId}</code>
        </>
      )}
    </p>
  );
}

export function Register() {
  useTitle("Register");
  const [search] = useSearchParams();
  const next = nextPath(search);
  const { data: me } = useQuery(meQuery);
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [tried, setTried] = useState(false);
  const entry = useEntry(
    () => ask(api.POST("/v1/auth/register", { body: { email, password, display_name: name } })),
    next,
  );
  const refused = entry.error instanceof ApiError ? entry.error : null;
  const length = [...password].length;
  const tooShort = length < PASSWORD_MIN;
  if (me && !entry.isPending && !entry.isSuccess) return <Navigate to={next} replace />;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (!tooShort) entry.mutate();
  };
  return (
    <div className="page narrow">
      <h1>Create your account</h1>
      <p className="lead">One account for all your challenges.</p>
      <form className="panel form" onSubmit={submit} noValidate>
        <Field
          label="E-mail"
          type="email"
          name="email"
          autoComplete="email"
          required
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={refused?.field("email") ?? (refused?.code === "email_taken" ? refused.detail : null)}
        />
        <Field
          label="Display name"
          name="display_name"
          autoComplete="nickname"
          required
          hint="Shown on the leaderboard."
          value={name}
          onChange={(event) => setName(event.target.value)}
          error={refused?.field("display_name")}
        />
        <Field
          label="Password"
          type="password"
          name="password"
          autoComplete="new-password"
          required
          hint={
            tooShort
              ? `At least ${PASSWORD_MIN} characters; a short sentence is a good one. ${length} so far.`
              : "Long enough."
          }
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          error={
            tried && tooShort ? `At least ${PASSWORD_MIN} characters are needed.` : refused?.field("password")
          }
        />
        {refused?.code !== "email_taken" && (
          <FormFailure error={entry.error} fields={["email", "display_name", "password"]} />
        )}
        <button type="submit" className="button primary wide" disabled={entry.isPending}>
          {entry.isPending ? "Creating…" : "Create account"}
        </button>
      </form>
      <p className="muted">
        You have one already? <Link to={`/sign-in?next=${encodeURIComponent(next)}`}>Sign in</Link>
      </p>
    </div>
  );
}

export function SignIn() {
  useTitle("Sign in");
  const [search] = useSearchParams();
  const next = nextPath(search);
  const { data: me } = useQuery(meQuery);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const entry = useEntry(() => ask(api.POST("/v1/auth/sign-in", { body: { email, password } })), next);
  const refused = entry.error instanceof ApiError ? entry.error : null;
  if (me && !entry.isPending && !entry.isSuccess) return <Navigate to={next} replace />;
  return (
    <div className="page narrow">
      <h1>Sign in</h1>
      <p className="lead">Continue where you left off.</p>
      <form
        className="panel form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          entry.mutate();
        }}
      >
        <Field
          label="E-mail"
          type="email"
          name="email"
          autoComplete="username"
          required
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={refused?.field("email")}
        />
        <Field
          label="Password"
          type="password"
          name="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          error={refused?.field("password")}
        />
        <FormFailure error={entry.error} fields={["email", "password"]} />
        <button type="submit" className="button primary wide" disabled={entry.isPending}>
          {entry.isPending ? "Signing in…" : "Sign in"}
        </button>
      </form>
      <p className="muted">
        New here? <Link to={`/register?next=${encodeURIComponent(next)}`}>Create an account</Link>
      </p>
    </div>
  );
}
