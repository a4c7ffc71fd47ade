import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { dossierQuery, meQuery } from "../api/queries";
import type { Dossier, PayoutAttempt, PayoutCheck, Person } from "../api/types";
import { isId } from "../audit/search";
import { moneyIn, wordFor } from "../lib/format";
import { isStanding, standingTone, standingWord } from "../lib/identity";
import { methodWord, newPayee, type PayeeFaults, payeeFaults, payeeOf, payeeText } from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { CheckIcon, CloseIcon } from "../parts/icons";
import { useNotify } from "../parts/notify";
import { PayeeFields, PayoutEvents, PayoutTag } from "../parts/payout";
import { Empty, Failure, Skeleton } from "../parts/states";
import { conditionText, figureText, targetText } from "../trading/ahead";
import { agreedText, type PayoutAction, possible } from "./payout-work";
import { Queue } from "./payouts";
import { ReasonDialog } from "./reason";
import { headerText, reasons } from "./reasons";
import { may } from "./roles";

/** One payout as whoever decides looks at it. */
export default function PayoutReviewPage() {
  const { id = "" } = useParams();
  const { data: me } = useQuery(meQuery);
  useTitle("Payout review");
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/payouts">Payouts</Link>
      </p>
      <h1>Payout</h1>
      {!isId(id) && <Empty title="This is no id of a payout" />}
      {isId(id) && me && <OnePayout key={id} id={id} me={me} />}
    </>
  );
}

function OnePayout({ id, me }: { id: string; me: Person }) {
  const [reason, setReason] = useState(() => reasons.of(me.id, id));
  const [asking, setAsking] = useState(reason === null);
  const dossier = useQuery({ ...dossierQuery(id, headerText(reason ?? "")), enabled: reason !== null });
  if (reason === null)
    return (
      <>
        <Empty title="Say why you look">
          <p>Whom a payout goes to is shown once the reason is written down.</p>
          <button type="button" className="button" onClick={() => setAsking(true)}>
            Say why
          </button>
        </Empty>
        {asking && (
          <ReasonDialog
            title="Why do you look?"
            confirm="Look"
            onSay={(said) => {
              reasons.give(me.id, id, said);
              setReason(said);
              setAsking(false);
            }}
            onClose={() => setAsking(false)}
          />
        )}
      </>
    );
  if (dossier.isPending) return <Skeleton lines={8} height={28} label="Loading the payout" />;
  if (dossier.isError) return <Failure error={dossier.error} retry={() => dossier.refetch()} />;
  return (
    <>
      <div className="actions">
        {/* Each look is written down, so that the page does not look by itself. */}
        <button
          type="button"
          className="button small"
          disabled={dossier.isFetching}
          onClick={() => dossier.refetch()}
        >
          {dossier.isFetching ? "Reading…" : "Read it anew"}
        </button>
      </div>
      <Everything dossier={dossier.data} me={me} reason={reason} />
    </>
  );
}

function Everything({ dossier, me, reason }: { dossier: Dossier; me: Person; reason: string }) {
  return (
    <>
      <Decision dossier={dossier} me={me} reason={reason} />
      <Facts dossier={dossier} me={me} />
      <p className="fine">You look because of: {reason}. It is in the audit log.</p>
      <Reviews dossier={dossier} me={me} />
      <Conditions title="Conditions now" check={dossier.now} />
      <Conditions title="Conditions when it was asked for" check={dossier.at_request} />
      <Attempts attempts={dossier.attempts} currency={dossier.payout.currency} />
      <section aria-labelledby="payout-history">
        <h2 id="payout-history">What has happened</h2>
        <PayoutEvents events={dossier.events} />
      </section>
      <section aria-labelledby="others-heading">
        <h2 id="others-heading">The trader's other payouts</h2>
        {dossier.others.length === 0 ? (
          <p className="muted">None.</p>
        ) : (
          <Queue payouts={dossier.others} label="Table of other payouts" />
        )}
      </section>
      <section aria-labelledby="sign-ins-heading">
        <h2 id="sign-ins-heading">When the trader signed in, UTC</h2>
        {dossier.sign_ins.length === 0 ? (
          <p className="muted">Nothing is known of it.</p>
        ) : (
          <ul className="plain tab">
            {dossier.sign_ins.map((at, index) => (
              <li key={index}>{utcSeconds(at)}</li>
            ))}
          </ul>
        )}
      </section>
    </>
  );
}

function Facts({ dossier, me }: { dossier: Dossier; me: Person }) {
  const { payout, payee, identity } = dossier;
  return (
    <dl className="terms panel entry">
      <Term name="Leaves the account">
        <span className="tab">{moneyIn(payout.amount, payout.currency)}</span>
      </Term>
      <Term name="Trader's share">
        <span className="tab">{moneyIn(payout.share, payout.currency)}</span>
        {payout.verdict === null && <small> as expected until it is taken</small>}
      </Term>
      <Term name="How it is sent">{methodWord(payout.method)}</Term>
      <Term name="Goes to">
        {payee ? <span className="break">{payeeText(payee)}</span> : <span className="muted">Erased</span>}
      </Term>
      <Term name="Identity">
        {isStanding(identity) ? (
          <span className={`tag ${standingTone(identity)}`}>{standingWord(identity)}</span>
        ) : (
          wordFor(identity)
        )}{" "}
        <Link to={`/operate/identity/${dossier.person_id}`}>See what was shown</Link>
      </Term>
      <Term name="Trader">
        <PersonLink id={dossier.person_id} me={me} />
      </Term>
      <Term name="Program">{payout.program}</Term>
      <Term name="Account">
        {may(me, "judge") ? (
          <Link to={`/operate/accounts/${payout.account_id}`}>
            <code className="break">{payout.account_id}</code>
          </Link>
        ) : (
          <code className="break">{payout.account_id}</code>
        )}
      </Term>
      {payout.verdict !== null && <Term name="Verdict">Number {payout.verdict}</Term>}
      <Term name="Asked for">
        <span className="tab">{utcSeconds(payout.requested_at)} UTC</span>
      </Term>
    </dl>
  );
}

function PersonLink({ id, me }: { id: string; me: Person }) {
  return (
    <>
      {may(me, "people") ? (
        <Link to={`/operate/people/${id}`}>
          <code className="break">{id}</code>
        </Link>
      ) : (
        <code className="break">{id}</code>
      )}
      {id === me.id && " (you)"}
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

/** Four eyes: who has agreed, and why. */
function Reviews({ dossier, me }: { dossier: Dossier; me: Person }) {
  return (
    <section aria-labelledby="reviews-heading">
      <h2 id="reviews-heading">Who has looked</h2>
      <p>{agreedText(dossier)}</p>
      {dossier.reviews.length > 0 && (
        <ol className="panel timeline" aria-label="Reviews">
          {dossier.reviews.map((review) => (
            <li key={`${review.reviewer_id}-${review.at}`}>
              <b className="break">{review.reason}</b>
              <span className={`tag ${review.approves ? "passed" : "failed"}`}>
                {review.approves ? "Agreed" : "Did not agree"}
              </span>
              <small className="muted tab">
                {utcSeconds(review.at)} UTC, <PersonLink id={review.reviewer_id} me={me} />
              </small>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Conditions({ title, check }: { title: string; check: PayoutCheck | null }) {
  return (
    <section>
      <h2>{title}</h2>
      {check === null ? (
        <p className="muted">
          They are not known: the amount has left the account, or the engine does not answer.
        </p>
      ) : (
        <div className="panel dossier-check">
          <p>
            <span className={`tag ${check.eligible ? "passed" : "failed"}`}>
              {check.eligible ? "Every condition holds" : "A condition does not hold"}
            </span>
          </p>
          <ul className="conditions">
            {check.conditions.map((condition, index) => (
              <li key={index} className={condition.met ? "met" : "unmet"} data-condition={condition.name}>
                <span className="mark">
                  {condition.met ? <CheckIcon size={12} /> : <CloseIcon size={12} />}
                  <span className="hidden">{condition.met ? "holds:" : "does not hold:"}</span>
                </span>
                <span>{conditionText(condition)}</span>
                <span className="num">
                  <b>{figureText(condition.current)}</b>{" "}
                  <small className="muted">{targetText(condition)}</small>
                </span>
              </li>
            ))}
          </ul>
          {check.warnings.map((warning) => (
            <p key={warning} className="caution">
              {warning}
            </p>
          ))}
          <details className="numbers">
            <summary>Every number on the way</summary>
            <dl>
              {check.figures.map((figure) => (
                <div key={figure.name}>
                  <dt>{figure.label}</dt>
                  <dd>{figureText(figure.value)}</dd>
                </div>
              ))}
            </dl>
          </details>
        </div>
      )}
    </section>
  );
}

function Attempts({ attempts, currency }: { attempts: readonly PayoutAttempt[]; currency: string }) {
  if (attempts.length === 0) return null;
  return (
    <section aria-labelledby="attempts-heading">
      <h2 id="attempts-heading">Attempts to send it</h2>
      <div className="table-scroll panel" tabIndex={0} role="region" aria-label="Table of attempts">
        <table className="data">
          <thead>
            <tr>
              <th scope="col" className="num">
                No.
              </th>
              <th scope="col">How</th>
              <th scope="col">State</th>
              <th scope="col" className="num">
                Amount
              </th>
              <th scope="col" className="num">
                Cost
              </th>
              <th scope="col">Reference</th>
              <th scope="col">Said</th>
              <th scope="col">Began, UTC</th>
            </tr>
          </thead>
          <tbody>
            {attempts.map((attempt) => (
              <tr key={attempt.number}>
                <th scope="row" className="num">
                  {attempt.number}
                </th>
                <td>{methodWord(attempt.method)}</td>
                <td>{wordFor(attempt.state)}</td>
                <td className="num">{moneyIn(attempt.amount, currency)}</td>
                <td className="num">{attempt.fee ?? "–"}</td>
                <td>
                  <code>{attempt.reference ?? attempt.batch_id ?? "–"}</code>
                </td>
                <td>{attempt.reason ?? "–"}</td>
                <td className="tab">{utcSeconds(attempt.first_asked_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const labels: Record<PayoutAction, string> = {
  approve: "Approve",
  reject: "Reject",
  paid: "Mark as paid",
  returned: "Mark as returned",
  again: "Send once more",
};

/** Where it stands, and what may be done about it. */
function Decision({ dossier, me, reason }: { dossier: Dossier; me: Person; reason: string }) {
  const [doing, setDoing] = useState<PayoutAction | null>(null);
  const { payout } = dossier;
  const { actions, hindered } = possible(dossier, me);
  return (
    <div className="panel payout-state">
      <p role="status">
        <PayoutTag state={payout.state} /> <strong>{moneyIn(payout.amount, payout.currency)}</strong>
        {payout.reason && <span className="break"> What was said: {payout.reason}</span>}
      </p>
      {dossier.blocks.map((block) => (
        <p key={block.cause} className="caution">
          Nothing is sent to this trader for now: {block.reason} <code className="break">{block.cause}</code>
        </p>
      ))}
      {hindered && <p className="muted">{hindered}</p>}
      {actions.length > 0 && (
        <div className="actions">
          {actions.map((action) => (
            <button
              key={action}
              type="button"
              className={`button ${action === "approve" ? "primary" : action === "reject" || action === "returned" ? "danger" : ""}`}
              onClick={() => setDoing(action)}
            >
              {labels[action]}…
            </button>
          ))}
        </div>
      )}
      {doing && (
        <Doing key={doing} what={doing} dossier={dossier} reason={reason} onClose={() => setDoing(null)} />
      )}
    </div>
  );
}

function Doing({
  what,
  dossier,
  reason,
  onClose,
}: {
  what: PayoutAction;
  dossier: Dossier;
  reason: string;
  onClose: () => void;
}) {
  const { payout } = dossier;
  const [reference, setReference] = useState("");
  const [referenceFault, setReferenceFault] = useState<string | null>(null);
  const [elsewhere, setElsewhere] = useState(false);
  const [payee, setPayee] = useState(newPayee);
  const [faults, setFaults] = useState<PayeeFaults>({});
  const queries = useQueryClient();
  const notify = useNotify();
  const act = useMutation({
    mutationFn: (said: string) => {
      const params = { path: { id: payout.id } };
      const body = { reason: said };
      switch (what) {
        case "approve":
          return ask(api.POST("/v1/payout-reviews/{id}/approval", { params, body }));
        case "reject":
          return ask(api.POST("/v1/payout-reviews/{id}/rejection", { params, body }));
        case "returned":
          return ask(api.POST("/v1/payout-reviews/{id}/return", { params, body }));
        case "paid": {
          const paid = { ...body, reference: reference.trim() };
          return ask(api.POST("/v1/payout-reviews/{id}/payment", { params, body: paid }));
        }
        case "again": {
          const read = elsewhere ? payeeOf(payee) : null;
          const again = { ...body, ...(read && "payee" in read && { payee: read.payee }) };
          return ask(api.POST("/v1/payout-reviews/{id}/new-attempt", { params, body: again }));
        }
      }
    },
    onSuccess: () => {
      notify("It is done, and in the audit log.", "good");
      onClose();
    },
    onError: (refused) => {
      const told = asApiError(refused);
      setFaults(payeeFaults(told));
      setReferenceFault(told.field("reference"));
    },
    // What somebody else did in the meantime is read anew as well.
    onSettled: () => queries.invalidateQueries({ queryKey: ["payout-reviews"] }),
  });
  const say = (said: string) => {
    if (what === "paid" && reference.trim() === "")
      return setReferenceFault("Give the reference under which it was paid.");
    const read = what === "again" && elsewhere ? payeeOf(payee) : null;
    if (read && "faults" in read) return setFaults(read.faults);
    act.mutate(said);
  };
  const dialog = {
    busy: act.isPending,
    refused: act.isError ? asApiError(act.error).detail : null,
    onSay: say,
    onClose,
  };
  const amount = moneyIn(payout.amount, payout.currency);
  const share = moneyIn(payout.share, payout.currency);
  switch (what) {
    case "approve":
      if (payout.state === "payee_in_review")
        return (
          <ReasonDialog {...dialog} before={reason} title="Approve where it goes?" confirm="Approve">
            <p>
              {share} are sent there once everybody who has to has agreed. {agreedText(dossier)}
            </p>
          </ReasonDialog>
        );
      return (
        <ReasonDialog {...dialog} before={reason} title="Approve the payout?" confirm="Approve">
          <p>
            {amount} leave the trading account once everybody who has to has agreed; {share} are sent to the
            trader. {agreedText(dossier)}
          </p>
        </ReasonDialog>
      );
    case "reject":
      if (payout.state === "payee_in_review")
        return (
          <ReasonDialog {...dialog} danger title="Reject where it goes?" confirm="Reject">
            <p>Nothing is sent there. {share} stay owed to the trader, who does not read the reason.</p>
          </ReasonDialog>
        );
      return (
        <ReasonDialog {...dialog} danger title="Reject the payout?" confirm="Reject">
          <p>Nothing leaves the account. The trader reads the reason, too.</p>
        </ReasonDialog>
      );
    case "returned":
      return (
        <ReasonDialog {...dialog} danger title="Did it come back?" confirm="Mark as returned">
          <p>{share} are owed to the trader again, and may be sent once more. The trader reads the reason.</p>
        </ReasonDialog>
      );
    case "paid":
      return (
        <ReasonDialog {...dialog} before={reason} title="Was it paid?" confirm="Mark as paid">
          <p>{share} have reached the trader.</p>
          <Field
            label="The bank's reference"
            value={reference}
            maxLength={200}
            autoComplete="off"
            spellCheck={false}
            onChange={(event) => {
              setReference(event.target.value);
              setReferenceFault(null);
            }}
            error={referenceFault}
          />
        </ReasonDialog>
      );
    case "again":
      return (
        <ReasonDialog {...dialog} before={reason} title="Send it once more?" confirm="Send once more">
          <p>{share} are kept back again and sent in a new attempt.</p>
          <label className="check">
            <input
              type="checkbox"
              checked={elsewhere}
              onChange={(event) => setElsewhere(event.target.checked)}
            />
            To somewhere else than before
          </label>
          {elsewhere && (
            <PayeeFields
              draft={payee}
              faults={faults}
              onChange={(field, value) => {
                setPayee((held) => ({ ...held, [field]: value }));
                setFaults((held) => ({ ...held, [field]: undefined }));
              }}
            />
          )}
        </ReasonDialog>
      );
  }
}
