import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { identityReviewQuery, meQuery } from "../api/queries";
import type { IdentityCheck, IdentityDocument, Person } from "../api/types";
import { isId } from "../audit/search";
import { documentFile, kindWord, sizeText, standingTone, standingWord } from "../lib/identity";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { ReasonDialog } from "./reason";
import { headerText, reasonProblem, reasons } from "./reasons";
import { may } from "./roles";

/** What somebody has shown of themselves, and the decision about it. */
export default function IdentityReviewPage() {
  const { id = "" } = useParams();
  const { data: me } = useQuery(meQuery);
  useTitle("Identity review");
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/identity">Identity</Link>
      </p>
      <h1>Identity</h1>
      {!isId(id) && <Empty title="This is no id of a person" />}
      {isId(id) && me && <Review key={id} id={id} me={me} />}
    </>
  );
}

function Review({ id, me }: { id: string; me: Person }) {
  const check = useQuery(identityReviewQuery(id));
  if (check.isPending) return <Skeleton lines={6} height={28} label="Loading what was shown" />;
  if (check.isError)
    return asApiError(check.error).status === 404 ? (
      <Empty title="This person has shown nothing">
        <p>Nobody of this firm with this id has begun to show who they are.</p>
      </Empty>
    ) : (
      <Failure error={check.error} retry={() => check.refetch()} />
    );
  return (
    <>
      <Facts check={check.data} me={me} />
      <Documents check={check.data} me={me} />
      <Decision check={check.data} me={me} />
    </>
  );
}

function Term({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Facts({ check, me }: { check: IdentityCheck; me: Person }) {
  return (
    <dl className="terms panel entry">
      <Term name="State">
        <span className={`tag ${standingTone(check.standing)}`} data-standing={check.standing}>
          {standingWord(check.standing)}
        </span>
      </Term>
      <Term name="Person">
        {may(me, "people") ? (
          <Link to={`/operate/people/${check.person_id}`}>
            <code className="break">{check.person_id}</code>
          </Link>
        ) : (
          <code className="break">{check.person_id}</code>
        )}
        {check.person_id === me.id && " (you)"}
      </Term>
      {check.submitted_at && (
        <Term name="Handed in">
          <span className="tab">{utcSeconds(check.submitted_at)} UTC</span>
        </Term>
      )}
      {check.decided_at && (
        <Term name="Decided">
          <span className="tab">{utcSeconds(check.decided_at)} UTC</span>
        </Term>
      )}
      {check.expires_at && (
        <Term name="Counts until">
          <span className="tab">{utcSeconds(check.expires_at)} UTC</span>
        </Term>
      )}
      {check.reason && (
        <Term name="Refused because">
          <span className="break">{check.reason}</span>
        </Term>
      )}
    </dl>
  );
}

function Documents({ check, me }: { check: IdentityCheck; me: Person }) {
  const [asked, setAsked] = useState<IdentityDocument | null>(null);
  const id = check.person_id;
  const load = useMutation({
    mutationFn: ({ document, reason }: { document: IdentityDocument; reason: string }) => {
      const params = { path: { id, document: document.id }, header: { Reason: headerText(reason) } };
      const path = "/v1/identity-reviews/{id}/documents/{document}";
      return askFile(api.GET(path, { params, parseAs: "blob" }), documentFile(document));
    },
    onSuccess: (file, { reason }) => {
      reasons.give(me.id, id, reason);
      save(file);
      setAsked(null);
    },
  });
  return (
    <section aria-labelledby="documents-heading">
      <h2 id="documents-heading">What was shown</h2>
      {check.documents.length === 0 ? (
        <p className="muted">Nothing is there: nothing was shown, or the person was erased.</p>
      ) : (
        <>
          <p className="muted">
            A document is saved and not shown on this page. Delete it where you saved it once you have
            decided.
          </p>
          <div className="table-scroll panel" tabIndex={0} role="region" aria-label="Table of documents">
            <table className="data">
              <thead>
                <tr>
                  <th scope="col">Document</th>
                  <th scope="col">File</th>
                  <th scope="col" className="num">
                    Size
                  </th>
                  <th scope="col">Shown, UTC</th>
                  <th scope="col">
                    <span className="hidden">Open</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {check.documents.map((document) => (
                  <tr key={document.id} data-document={document.kind}>
                    <th scope="row">{kindWord(document.kind)}</th>
                    <td>{document.media_type}</td>
                    <td className="num">{sizeText(document.size)}</td>
                    <td className="tab">{utcSeconds(document.uploaded_at)}</td>
                    <td className="num">
                      <button
                        type="button"
                        className="button small"
                        onClick={() => {
                          load.reset();
                          setAsked(document);
                        }}
                      >
                        Download<span className="hidden"> {kindWord(document.kind)}</span>
                      </button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {asked && (
        <ReasonDialog
          title="Why do you look?"
          before={reasons.of(me.id, id) ?? ""}
          confirm="Download"
          busy={load.isPending}
          refused={load.isError ? asApiError(load.error).detail : null}
          onSay={(reason) => load.mutate({ document: asked, reason })}
          onClose={() => setAsked(null)}
        />
      )}
    </section>
  );
}

function Decision({ check, me }: { check: IdentityCheck; me: Person }) {
  const [doing, setDoing] = useState<"verify" | "refuse" | null>(null);
  const [because, setBecause] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const queries = useQueryClient();
  const notify = useNotify();
  const id = check.person_id;
  const decide = useMutation({
    mutationFn: (reason: string) => {
      const body =
        doing === "verify"
          ? { verified: true, reason }
          : { verified: false, refused_because: because.trim(), reason };
      return ask(api.POST("/v1/identity-reviews/{id}/decision", { params: { path: { id } }, body }));
    },
    onSuccess: (decided) => {
      queries.setQueryData(identityReviewQuery(id).queryKey, decided);
      setDoing(null);
      notify("It is decided, and in the audit log.", "good");
    },
    onError: (refused) => setFault(asApiError(refused).field("refused_because")),
    // Payouts may wait for it.
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: ["identity-reviews"] });
      void queries.invalidateQueries({ queryKey: ["payout-reviews"] });
    },
  });
  if (check.standing !== "submitted") return null;
  if (id === me.id) return <p className="muted">Nobody decides about themselves.</p>;
  const begin = (what: "verify" | "refuse") => {
    decide.reset();
    setFault(null);
    setDoing(what);
  };
  const dialog = {
    before: reasons.of(me.id, id) ?? "",
    busy: decide.isPending,
    refused: decide.isError ? asApiError(decide.error).detail : null,
    onClose: () => setDoing(null),
  };
  return (
    <section aria-labelledby="decision-heading">
      <h2 id="decision-heading">Is it they?</h2>
      <div className="actions">
        <button type="button" className="button primary" onClick={() => begin("verify")}>
          Verify…
        </button>
        <button type="button" className="button danger" onClick={() => begin("refuse")}>
          Refuse…
        </button>
      </div>
      {doing === "verify" && (
        <ReasonDialog
          {...dialog}
          title="Is it known who it is?"
          confirm="Verify"
          onSay={(reason) => decide.mutate(reason)}
        >
          <p>Their payouts go on to a review. It counts for two years.</p>
        </ReasonDialog>
      )}
      {doing === "refuse" && (
        <ReasonDialog
          {...dialog}
          title="Is it not enough?"
          confirm="Refuse"
          danger
          onSay={(reason) => {
            const wrong = reasonProblem(because);
            setFault(wrong);
            if (!wrong) decide.mutate(reason);
          }}
        >
          <Field
            label="What is not enough"
            value={because}
            onChange={(event) => {
              setBecause(event.target.value);
              setFault(null);
            }}
            error={fault}
            autoComplete="off"
            hint="The person reads it, and shows everything anew."
          />
        </ReasonDialog>
      )}
    </section>
  );
}
