import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { disputeQuery, evidenceQuery } from "../api/money-queries";
import { meQuery } from "../api/queries";
import type { Dispute, DisputeAnswer, DisputeDetail } from "../api/types";
import { moneyIn, wordFor } from "../lib/format";
import { utcExact, utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Dialog } from "../parts/dialog";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { answerable, answerText, explanationProblem, MOST_EXPLANATION, sizeText } from "./contested";
import { AnswerBy, DisputesNav, DisputeTag } from "./disputes";
import { ReasonDialog } from "./reason";
import { may } from "./roles";
import { whole } from "./work";

const KEY = ["disputes"];

/** One dispute: how it stands, what would be handed in, and the answer. */
export default function DisputePage() {
  const { id = "" } = useParams();
  useTitle("Dispute");
  const found = useQuery({
    ...disputeQuery(id),
    // Until it is known whether the provider has the answer.
    refetchInterval: ({ state }) =>
      state.data?.answers.some((answer) => answer.state === "asked") ? 5_000 : false,
  });
  const { data: me } = useQuery(meQuery);
  const acts = may(me, "money");
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/disputes">Disputes</Link>
      </p>
      {found.isPending && <Skeleton lines={6} height={28} label="Loading the dispute" />}
      {found.isError && !found.data && <Failure error={found.error} retry={() => found.refetch()} />}
      {found.data && (
        <>
          <h1 className="break">
            {found.data.dispute.known_as} <DisputeTag dispute={found.data.dispute} />
          </h1>
          <DisputesNav />
          <Facts dispute={found.data.dispute} people={may(me, "people")} />
          {found.data.dispute.payouts_held_since && (
            <Held dispute={found.data.dispute} acts={acts} since={found.data.dispute.payouts_held_since} />
          )}
          <Answers answers={found.data.answers} />
          {acts ? (
            <>
              <Explanation key={found.data.dispute.explanation ?? ""} detail={found.data} />
              <Evidence key={`evidence ${found.data.dispute.explanation}`} id={id} />
              {answerable(found.data) && <Answer dispute={found.data.dispute} />}
            </>
          ) : (
            <p className="muted">
              What would be handed in says who the buyer is. Seeing it and answering are for the firm's
              finance people and admins.
            </p>
          )}
        </>
      )}
    </>
  );
}

function Facts({ dispute, people }: { dispute: Dispute; people: boolean }) {
  return (
    <dl className="terms entry panel">
      <Fact name="Amount">
        <span className="tab">{moneyIn(dispute.amount, dispute.currency)}</span>
      </Fact>
      <Fact name="Fee">
        {dispute.fee === null ? (
          "None yet"
        ) : (
          <span className="tab">{moneyIn(dispute.fee, dispute.currency)}</span>
        )}
      </Fact>
      <Fact name="Reason">{wordFor(dispute.reason)}</Fact>
      <Fact name="Answer by, UTC">
        <span className="tab">
          <AnswerBy dispute={dispute} />
        </span>
      </Fact>
      <Fact name="Inquiry">{dispute.inquiry ? "Yes: the money is still the firm's" : "No"}</Fact>
      <Fact name="Provider">{dispute.provider}</Fact>
      <Fact name="Payment">
        <code>{dispute.payment}</code>
      </Fact>
      <Fact name="Purchase">
        <code>{dispute.purchase_id}</code>
      </Fact>
      <Fact name="Buyer">
        {people ? (
          <Link to={`/operate/people/${dispute.person_id}`}>{dispute.person_id}</Link>
        ) : (
          <code>{dispute.person_id}</code>
        )}
      </Fact>
      <Fact name="Opened">{utcExact(dispute.opened_at)}</Fact>
      <Fact name="Changed last">{utcExact(dispute.changed_at)}</Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="break">{children}</dd>
    </div>
  );
}

function Held({ dispute, acts, since }: { dispute: Dispute; acts: boolean; since: string }) {
  const [asking, setAsking] = useState(false);
  const queries = useQueryClient();
  const notify = useNotify();
  const { id } = dispute;
  const release = useMutation({
    mutationFn: (reason: string) =>
      ask(api.POST("/v1/disputes/{id}/release", { params: { path: { id } }, body: { reason } })),
    onSuccess: () => {
      notify("Payouts to the buyer go on.", "good");
      setAsking(false);
    },
    onSettled: () => queries.invalidateQueries({ queryKey: KEY }),
  });
  return (
    <>
      <p className="caution">
        Nothing is paid out to the buyer since {utcSeconds(since)} UTC because of this dispute.
      </p>
      {acts && (
        <p className="actions">
          <button type="button" className="button" onClick={() => setAsking(true)}>
            Let payouts go on
          </button>
        </p>
      )}
      {asking && (
        <ReasonDialog
          title="Let payouts to the buyer go on?"
          confirm="Let them go on"
          danger
          busy={release.isPending}
          refused={release.isError ? asApiError(release.error).detail : null}
          onSay={(reason) => release.mutate(reason)}
          onClose={() => setAsking(false)}
        >
          <p>The buyer is paid again in spite of the dispute. It cannot be held again by hand.</p>
        </ReasonDialog>
      )}
    </>
  );
}

function Answers({ answers }: { answers: readonly DisputeAnswer[] }) {
  return (
    <>
      <h2>What was answered</h2>
      {answers.length === 0 ? (
        <p className="muted">Nothing.</p>
      ) : (
        <section className="table-scroll panel" tabIndex={0} aria-label="What was answered">
          <table className="data">
            <thead>
              <tr>
                <th scope="col" className="num">
                  Number
                </th>
                <th scope="col">Answer</th>
                <th scope="col">State</th>
                <th scope="col">When, UTC</th>
                <th scope="col">Who</th>
                <th scope="col">SHA-256 of what was handed in</th>
                <th scope="col">What the provider said</th>
              </tr>
            </thead>
            <tbody>
              {answers.map((answer) => {
                const { what, standing } = answerText(answer);
                return (
                  <tr key={answer.number}>
                    <th scope="row" className="num">
                      {answer.number}
                    </th>
                    <td>{what}</td>
                    <td>
                      <span className={`tag ${standing[1]}`}>{standing[0]}</span>
                    </td>
                    <td className="tab">{utcSeconds(answer.at)}</td>
                    <td>
                      <Actor id={answer.by} />
                    </td>
                    <td>{answer.sha256 ? <code>{answer.sha256}</code> : "–"}</td>
                    <td>{answer.said ?? "–"}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}

function Explanation({ detail }: { detail: DisputeDetail }) {
  const { id, explanation } = detail.dispute;
  const [text, setText] = useState(explanation ?? "");
  const [error, setError] = useState<string | null>(null);
  const queries = useQueryClient();
  const notify = useNotify();
  const keep = useMutation({
    mutationFn: (said: string | null) =>
      ask(
        api.PUT("/v1/disputes/{id}/explanation", { params: { path: { id } }, body: { explanation: said } }),
      ),
    onSuccess: ({ explanation: kept }) => {
      notify(kept === null ? "Our own sentence is handed in." : "The explanation is kept.", "good");
    },
    onError: (refused) => {
      const told = asApiError(refused);
      setError(told.field("explanation") ?? told.detail);
    },
    onSettled: () => queries.invalidateQueries({ queryKey: KEY }),
  });
  if (!answerable(detail))
    return explanation === null ? null : (
      <>
        <h2>Explanation</h2>
        <p className="break">{explanation}</p>
      </>
    );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wrong = explanationProblem(text);
    setError(wrong);
    if (!wrong) keep.mutate(text.trim() || null);
  };
  const described = `${error ? "explanation-error " : ""}explanation-hint`;
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Explanation">
      <div className="field">
        <label htmlFor="explanation">Why the payment is right</label>
        <textarea
          id="explanation"
          rows={5}
          value={text}
          onChange={({ target }) => {
            setText(target.value);
            setError(null);
          }}
          aria-invalid={error ? true : undefined}
          aria-describedby={described}
        />
        {error && (
          <p className="field-error" id="explanation-error" role="alert">
            {error}
          </p>
        )}
        <p className="field-hint" id="explanation-hint">
          Handed in with the evidence. Our own sentence, if empty. At most {whole(MOST_EXPLANATION)}{" "}
          characters.
        </p>
      </div>
      <div className="actions">
        <button type="submit" className="button" disabled={keep.isPending}>
          {keep.isPending ? "Saving…" : "Keep the explanation"}
        </button>
      </div>
    </form>
  );
}

function Evidence({ id }: { id: string }) {
  const [wanted, setWanted] = useState(false);
  const notify = useNotify();
  const load = useMutation({
    mutationFn: () =>
      askFile(
        api.GET("/v1/disputes/{id}/evidence.zip", { params: { path: { id } }, parseAs: "blob" }) as Promise<{
          data?: Blob;
          error?: unknown;
          response: Response;
        }>,
        `dispute-${id}.zip`,
      ),
    onSuccess: (file) => {
      save(file);
      notify(`${file.name} is in your downloads.`, "good");
    },
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
  });
  return (
    <>
      <h2>Evidence</h2>
      <p className="muted">
        What would be handed in now, from the firm's own records. It says who the buyer is: that you looked,
        or downloaded it, is written into the audit log.
      </p>
      <div className="actions">
        {!wanted && (
          <button type="button" className="button" onClick={() => setWanted(true)}>
            Look at the evidence
          </button>
        )}
        <button type="button" className="button" disabled={load.isPending} onClick={() => load.mutate()}>
          {load.isPending ? "Packing…" : "Download as zip"}
        </button>
      </div>
      {wanted && <Bundle id={id} />}
    </>
  );
}

function Bundle({ id }: { id: string }) {
  const found = useQuery(evidenceQuery(id));
  if (found.isError) return <Failure error={found.error} retry={() => found.refetch()} />;
  if (!found.data) return <Skeleton lines={6} height={20} label="Gathering the evidence" />;
  const evidence = found.data;
  const facts = [
    ["Product", evidence.product],
    ["Service began", evidence.service_date],
    ["Buyer", evidence.buyer_name],
    ["Buyer's e-mail", evidence.buyer_email],
    ["SHA-256 of all of it", evidence.sha256],
  ] as const;
  return (
    <section className="panel pad evidence" aria-label="What would be handed in">
      <dl className="terms entry">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="break">{value ?? <span className="muted">Not known</span>}</dd>
          </div>
        ))}
      </dl>
      <h3>Explanation</h3>
      <p className="break">{evidence.explanation}</p>
      <h3>Activity</h3>
      <section className="bytes" tabIndex={0} aria-label="Activity">
        <pre>{evidence.activity}</pre>
      </section>
      <h3>Documents</h3>
      {evidence.documents.length === 0 ? (
        <p className="muted">None.</p>
      ) : (
        <ul>
          {evidence.documents.map((file) => (
            <li key={file.name}>
              <code className="break">{file.name}</code>{" "}
              <span className="muted">
                {wordFor(file.kind)}, {file.media_type}, {sizeText(file.bytes)}
              </span>
            </li>
          ))}
        </ul>
      )}
      <div className="actions">
        <button
          type="button"
          className="button small"
          disabled={found.isFetching}
          onClick={() => found.refetch()}
        >
          {found.isFetching ? "Gathering…" : "Gather it anew"}
        </button>
      </div>
    </section>
  );
}

function Answer({ dispute }: { dispute: Dispute }) {
  const [asking, setAsking] = useState<"submit" | "concede" | null>(null);
  const params = { path: { id: dispute.id } };
  const queries = useQueryClient();
  const notify = useNotify();
  const answer = useMutation({
    mutationFn: (how: "submit" | "concede") =>
      ask(
        how === "submit"
          ? api.POST("/v1/disputes/{id}/submit", { params })
          : api.POST("/v1/disputes/{id}/concede", { params }),
      ),
    onSuccess: ({ answers }) => {
      const last = answers.at(-1);
      const { what, standing } = answerText(last ?? { kind: "evidence", state: "asked" });
      notify(`${what}: ${standing[0].toLowerCase()}.`, last?.state === "failed" ? "bad" : "good");
      setAsking(null);
    },
    // Also after a failure: whether it was written down stands in the dispute.
    onSettled: () => queries.invalidateQueries({ queryKey: KEY }),
  });
  const open = (how: "submit" | "concede") => {
    answer.reset();
    setAsking(how);
  };
  return (
    <>
      <h2>Answer</h2>
      <p className="muted">There is one answer. Neither can be taken back.</p>
      <div className="actions">
        <button type="button" className="button primary" onClick={() => open("submit")}>
          Hand in the evidence
        </button>
        <button type="button" className="button danger" onClick={() => open("concede")}>
          Give in
        </button>
      </div>
      {asking && (
        <Confirm
          title={asking === "submit" ? "Hand in the evidence?" : "Give in to the buyer?"}
          confirm={asking === "submit" ? "Hand it in for good" : "Give in for good"}
          danger={asking === "concede"}
          busy={answer.isPending}
          refused={answer.isError ? asApiError(answer.error).detail : null}
          onConfirm={() => answer.mutate(asking)}
          onClose={() => setAsking(null)}
        >
          {asking === "submit" ? (
            <p>
              The provider gets what the firm's records say now, with the explanation as it was kept last. It
              is handed in once; nothing can be added later.
            </p>
          ) : (
            <p>
              The buyer keeps {moneyIn(dispute.amount, dispute.currency)}, and no evidence can be handed in
              any more.
            </p>
          )}
        </Confirm>
      )}
    </>
  );
}

function Confirm({
  title,
  confirm,
  danger,
  busy,
  refused,
  children,
  onConfirm,
  onClose,
}: {
  title: string;
  confirm: string;
  danger: boolean;
  busy: boolean;
  refused: string | null;
  children: ReactNode;
  onConfirm: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="form">
        {children}
        {refused && (
          <p className="form-error" role="alert">
            {refused}
          </p>
        )}
        <div className="actions">
          <button
            type="button"
            className={`button ${danger ? "danger" : "primary"}`}
            disabled={busy}
            onClick={onConfirm}
          >
            {busy ? "One moment…" : confirm}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </div>
    </Dialog>
  );
}
