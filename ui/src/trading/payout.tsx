import { type UseQueryResult, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { Link } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { asApiError } from "../api/error";
import { verdictsQuery, versionQuery } from "../api/queries";
import type { Account, Condition, Forecast, PayoutCheck } from "../api/types";
import { dec, decimals, readDecimal, sign, withScale } from "../lib/decimal";
import { money, moneyIn } from "../lib/format";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { CheckIcon, CloseIcon } from "../parts/icons";
import { Failure, Skeleton } from "../parts/states";
import { conditionText, figureText, targetText } from "./ahead";

interface PayoutTabProps {
  account: Account;
  forecast: UseQueryResult<Forecast>;
  active: boolean;
}

const POLL_MS = 800;

type Outcome = { kind: "payout"; amount: string } | { kind: "payout_refusal"; detail: string };

/** Every condition of a payout with its number, and the request. */
export function PayoutTab({ account, forecast, active }: PayoutTabProps) {
  // One that is a moment old stays while it is asked again, even in vain.
  if (forecast.data === undefined)
    return forecast.isError ? (
      <Failure error={forecast.error} retry={() => forecast.refetch()} />
    ) : (
      <Skeleton lines={4} height={22} label="Loading the payout" />
    );
  const check = forecast.data.payout;
  if (!check) return <p className="none">This phase pays nothing out.</p>;
  return <Card account={account} check={check} active={active} />;
}

function Card({ account, check, active }: { account: Account; check: PayoutCheck; active: boolean }) {
  const [asking, setAsking] = useState(false);
  const [outcome, setOutcome] = useState<{ told: Outcome; after: number } | null>(null);
  const version = useQuery(versionQuery(account.program.version));
  const policies = version.data?.phases[account.phase.index]?.policies ?? [];
  const missing = check.conditions.filter((condition) => !condition.met).length;
  return (
    <div className="payout-card">
      <section>
        {outcome && <Answer account={account} told={outcome.told} after={outcome.after} />}
        <dl className="payout-amounts">
          <div>
            <dt>Can be taken out</dt>
            <dd>{moneyIn(check.withdrawable, account.currency)}</dd>
          </div>
          <div>
            <dt>Your share of it</dt>
            <dd>{moneyIn(check.payout, account.currency)}</dd>
          </div>
        </dl>
        {check.warnings.map((warning) => (
          <p key={warning} className="caution">
            {warning}
          </p>
        ))}
        <p className={check.eligible ? "muted" : undefined}>
          {check.eligible
            ? "Every condition holds."
            : `${missing} of ${check.conditions.length} conditions ${missing === 1 ? "does" : "do"} not hold yet. Asking all the same is answered with a refusal and its receipt.`}
        </p>
        {active && (
          <button
            type="button"
            className={check.eligible ? "button primary" : "button"}
            onClick={() => setAsking(true)}
          >
            Ask for a payout…
          </button>
        )}
      </section>
      <section>
        <h3>Conditions</h3>
        <ul className="conditions">
          {check.conditions.map((condition, index) => (
            <ConditionLine key={`${index}-${condition.name}`} condition={condition} />
          ))}
        </ul>
      </section>
      <section>
        <h3>What the program says</h3>
        {version.isError && <Failure error={version.error} retry={() => version.refetch()} />}
        <ul className="sentences">
          {policies.map((sentence) => (
            <li key={sentence}>{sentence}</li>
          ))}
        </ul>
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
      </section>
      {asking && (
        <Request
          account={account}
          check={check}
          onDone={(told, after) => {
            setAsking(false);
            if (told) setOutcome({ told, after });
          }}
        />
      )}
    </div>
  );
}

function ConditionLine({ condition }: { condition: Condition }) {
  return (
    <li className={condition.met ? "met" : "unmet"} data-condition={condition.name}>
      <span className="mark">
        {condition.met ? <CheckIcon size={12} /> : <CloseIcon size={12} />}
        <span className="hidden">{condition.met ? "holds:" : "does not hold:"}</span>
      </span>
      <span>{conditionText(condition)}</span>
      <span className="num">
        <b>{figureText(condition.current)}</b> <small className="muted">{targetText(condition)}</small>
      </span>
    </li>
  );
}

interface RequestProps {
  account: Account;
  check: PayoutCheck;
  onDone: (told: Outcome | null, after: number) => void;
}

function Request({ account, check, onDone }: RequestProps) {
  const some = sign(dec(check.withdrawable)) > 0;
  const [amount, setAmount] = useState(some ? check.withdrawable : "");
  const [error, setError] = useState<string | null>(null);
  const intent = useRef(new Intent());
  const queries = useQueryClient();
  const verdicts = useQuery(verdictsQuery(account.id));
  const ask = useMutation({
    mutationFn: (body: { amount?: string }) =>
      askOnce(intent.current, body, (header) =>
        api.POST("/v1/accounts/{id}/payouts", { params: { path: { id: account.id }, header }, body }),
      ),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = amount.trim() === "" ? null : readDecimal(amount);
    // No amount is finer than those of the account.
    const typed = read === null ? null : withScale(read, decimals(check.withdrawable));
    if (amount.trim() !== "" && (typed === null || sign(typed) <= 0)) {
      setError(
        `Enter an amount above 0 such as ${check.withdrawable}, or nothing for everything that is allowed.`,
      );
      return;
    }
    const after = verdicts.data?.[0]?.number ?? 0;
    ask.mutate(typed === null ? {} : { amount: typed }, {
      onSuccess: (paid) => onDone({ kind: "payout", amount: paid.amount }, after),
      onError: (refused) => {
        const told = asApiError(refused);
        if (told.code === "payout_refused") onDone({ kind: "payout_refusal", detail: told.detail }, after);
        else setError(told.field("amount") ?? told.detail);
      },
      onSettled: () => queries.invalidateQueries({ queryKey: ["accounts", account.id] }),
    });
  };
  return (
    <Dialog title="Ask for a payout" onClose={() => onDone(null, 0)}>
      <form className="form" onSubmit={submit} noValidate>
        <p className="muted">
          {moneyIn(check.withdrawable, account.currency)} can be taken out; your share of all of it is{" "}
          {moneyIn(check.payout, account.currency)}. What leaves the account no longer stands above its
          floors.
        </p>
        <Field
          label={`Amount that leaves the account, ${account.currency}`}
          inputMode="decimal"
          autoComplete="off"
          autoFocus
          value={amount}
          onFocus={(event) => event.target.select()}
          onChange={(event) => {
            setAmount(event.target.value);
            setError(null);
          }}
          error={error}
          hint="Empty means everything that is allowed."
        />
        <div className="actions">
          <button type="submit" className="button primary" disabled={ask.isPending || verdicts.isPending}>
            {ask.isPending ? "Asking…" : "Ask for it"}
          </button>
          <button type="button" className="button" onClick={() => onDone(null, 0)}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** What was answered, with the receipt that proves it as soon as it is written. */
function Answer({ account, told, after }: { account: Account; told: Outcome; after: number }) {
  const isIt = (found: { kind: string; number: number }) => found.number > after && found.kind === told.kind;
  const verdicts = useQuery({
    ...verdictsQuery(account.id),
    refetchInterval: ({ state }) => (state.data?.some(isIt) ? false : POLL_MS),
  });
  const receipt = verdicts.data?.find(isIt);
  return (
    <div className={told.kind === "payout" ? "answer good" : "answer"} role="status">
      <p>
        {told.kind === "payout"
          ? `${money(told.amount)} ${account.currency} left the account.`
          : `The payout was refused. ${told.detail}`}
      </p>
      {receipt ? (
        <Link className="button small" to={`/accounts/${account.id}/receipts/${receipt.number}`}>
          See the receipt
        </Link>
      ) : (
        <span className="muted">The receipt is being written.</span>
      )}
    </div>
  );
}
