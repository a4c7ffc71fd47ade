import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { identityQuery } from "../api/queries";
import type { DocumentKind, IdentityCheck } from "../api/types";
import {
  documentKinds,
  fileFault,
  kindWord,
  MOST_DOCUMENTS,
  mayShow,
  missing,
  sizeText,
  standingText,
  standingTone,
  standingWord,
  TELLING_BYTES,
} from "../lib/identity";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";

const WATCHED_MS = 5_000;

/** Whether it is known who one is, and what one shows for it. */
export function IdentityPage() {
  useTitle("Your identity");
  const check = useQuery({
    ...identityQuery,
    refetchInterval: ({ state }) => (state.data?.standing === "submitted" ? WATCHED_MS : false),
  });
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/payouts">Payouts</Link>
      </p>
      <h1>Your identity</h1>
      <p className="lead">
        A firm that pays has to know whom. Your documents are sealed under a key of your own; whoever of the
        firm opens one says why, and that is written down. They go when you are erased.
      </p>
      {check.isPending && <Skeleton lines={5} height={28} label="Loading how you stand" />}
      {check.isError && !check.data && <Failure error={check.error} retry={() => check.refetch()} />}
      {check.data && <Standing check={check.data} />}
    </div>
  );
}

function Standing({ check }: { check: IdentityCheck }) {
  const lacks = mayShow(check) ? missing(check) : null;
  return (
    <>
      <div className="panel payout-state" role="status">
        <p>
          <span className={`tag ${standingTone(check.standing)}`} data-standing={check.standing}>
            {standingWord(check.standing)}
          </span>{" "}
          <strong>{standingText(check.standing)}</strong>
        </p>
        {check.reason && <p className="break">Why: {check.reason}</p>}
        {lacks && <p>What is missing: {lacks}</p>}
        {check.standing === "submitted" && check.submitted_at && (
          <p className="muted tab">Handed in {utcSeconds(check.submitted_at)} UTC</p>
        )}
        {check.standing === "verified" && check.expires_at && (
          <p className="muted tab">It counts until {utcSeconds(check.expires_at)} UTC</p>
        )}
        {check.standing === "started" && <Submit ready={lacks === null} />}
      </div>
      <Documents check={check} />
      {mayShow(check) && <Upload />}
    </>
  );
}

function Submit({ ready }: { ready: boolean }) {
  const queries = useQueryClient();
  const submit = useMutation({
    mutationFn: () => ask(api.POST("/v1/me/identity/submission")),
    onSuccess: (check) => queries.setQueryData(identityQuery.queryKey, check),
  });
  return (
    <>
      {submit.isError && (
        <p className="form-error" role="alert">
          {asApiError(submit.error).detail}
        </p>
      )}
      <div className="actions">
        <button
          type="button"
          className="button primary"
          disabled={!ready || submit.isPending}
          onClick={() => submit.mutate()}
        >
          {submit.isPending ? "Handing in…" : "These are all: hand them in"}
        </button>
      </div>
    </>
  );
}

function Documents({ check }: { check: IdentityCheck }) {
  if (check.documents.length === 0) return null;
  return (
    <section aria-labelledby="documents-heading">
      <h2 id="documents-heading">What you have shown</h2>
      <div className="table-scroll panel" tabIndex={0} role="region" aria-label="Table of your documents">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Document</th>
              <th scope="col">File</th>
              <th scope="col" className="num">
                Size
              </th>
              <th scope="col">Shown, UTC</th>
            </tr>
          </thead>
          <tbody>
            {check.documents.map((document) => (
              <tr key={document.id} data-document={document.kind}>
                <th scope="row">{kindWord(document.kind)}</th>
                <td>{document.media_type}</td>
                <td className="num">{sizeText(document.size)}</td>
                <td className="tab">{utcSeconds(document.uploaded_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Upload() {
  const [kind, setKind] = useState<DocumentKind>("passport");
  const [error, setError] = useState<string | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const queries = useQueryClient();
  const notify = useNotify();
  const upload = useMutation({
    mutationFn: async (file: File) => {
      const fault = fileFault(file.size, new Uint8Array(await file.slice(0, TELLING_BYTES).arrayBuffer()));
      if (fault) throw new Error(fault);
      return ask(
        api.POST("/v1/me/identity/documents", {
          params: { query: { kind } },
          headers: { "Content-Type": "application/octet-stream" },
          // The bytes go as they are; the generated type knows them as a list of numbers.
          body: [],
          bodySerializer: () => file,
        }),
      );
    },
    onSuccess: (document) => {
      if (input.current) input.current.value = "";
      notify(`${kindWord(document.kind)}: ${sizeText(document.size)} were taken.`, "good");
      void queries.invalidateQueries({ queryKey: identityQuery.queryKey });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      setError(told.fields[0]?.detail ?? told.detail);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const file = input.current?.files?.[0];
    if (!file) return setError("Choose a file.");
    setError(null);
    upload.mutate(file);
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Show a document">
      <h2>Show a document</h2>
      <div className="fields">
        <Choice
          label="What it is"
          value={kind}
          onChange={(event) =>
            setKind(documentKinds.find((known) => known === event.target.value) ?? "passport")
          }
        >
          {documentKinds.map((known) => (
            <option key={known} value={known}>
              {kindWord(known)}
            </option>
          ))}
        </Choice>
        <Field
          label="File"
          type="file"
          className="file-field"
          ref={input}
          accept="image/jpeg,image/png,application/pdf"
          onChange={() => setError(null)}
          error={error}
          hint={`A JPEG, a PNG or a PDF of at most 5 MiB; at most ${MOST_DOCUMENTS} documents.`}
        />
      </div>
      <div className="actions">
        <button type="submit" className="button primary" disabled={upload.isPending}>
          {upload.isPending ? "Sending…" : "Show it"}
        </button>
      </div>
    </form>
  );
}
