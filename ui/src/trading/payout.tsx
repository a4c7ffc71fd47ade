import {
  keepPreviousData,
  type UseQueryResult,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Link } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { asApiError } from "../api/error";
import { payoutCheckQuery, payoutsQuery, versionQuery } from "../api/queries";
import type { Account, Condition, Forecast, Payout, PayoutCheck, PayoutRequest } from "../api/types";
import { dec, sign } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import {
  isOver,
  newPayee,
  openOf,
  type PayeeDraft,
  type PayeeFaults,
  type PayeeField,
  payeeFaults,
  payeeOf,
  payoutAmount,
  stateNext,
} from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { CheckIcon, CloseIcon } from "../parts/icons";
import { PayeeFields, PayoutTag } from "../parts/payout";
import { Failure, Skeleton } from "../parts/states";
import { MOVES_MS } from "../screens/payouts";
import { conditionText, figureText, targetText } from "./ahead";

interface PayoutTabProps {
  account: Account;
  forecast: UseQueryResult<Forecast>;
  active: boolean;
}

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
  const version = useQuery(versionQuery(account.program.version));
  const payouts = useInfiniteQuery({
    ...payoutsQuery,
    refetchInterval: ({ state }) =>
      state.data?.pages.some((page) => page.items.some(({ state }) => !isOver(state))) ? MOVES_MS : false,
  });
  const own = (payouts.data?.pages.flatMap((page) => page.items) ?? []).filter(
    ({ account_id }) => account_id === account.id,
  );
  const open = openOf(own, account.id);
  const policies = version.data?.phases[account.phase.index]?.policies ?? [];
  const missing = check.conditions.filter((condition) => !condition.met).length;
  return (
    <div className="payout-card">
      <section>
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
        {open && <UnderWay payout={open} />}
        {check.warnings.map((warning) => (
          <p key={warning} className="caution">
            {warning}
          </p>
        ))}
        <p className={check.eligible ? "muted" : undefined}>
          {check.eligible
            ? "Every condition holds."
            : `${missing} of ${check.conditions.length} conditions ${missing === 1 ? "does" : "do"} not hold yet. Asking all the same is refused with the reasons.`}
        </p>
        {active && !account.held && !open && (
          <button
            type="button"
            className={check.eligible ? "button primary" : "button"}
            onClick={() => setAsking(true)}
          >
            Ask for a payout…
          </button>
        )}
        <Earlier payouts={own.filter(({ id }) => id !== open?.id)} />
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
      {asking && <Request account={account} check={check} onClose={() => setAsking(false)} />}
    </div>
  );
}

/** The one that was asked for and is not over: another one may be asked for after it. */
function UnderWay({ payout }: { payout: Payout }) {
  return (
    <div className="answer good" role="status">
      <p>
        <PayoutTag state={payout.state} /> <b>{moneyIn(payout.amount, payout.currency)}</b>{" "}
        {stateNext(payout.state)}
      </p>
      <Link className="button small" to={`/payouts/${payout.id}`}>
        See where it stands
      </Link>
      {payout.state === "awaiting_identity" && (
        <Link className="button small primary" to="/identity">
          Show who you are
        </Link>
      )}
    </div>
  );
}

/** So many earlier ones stand beside the conditions. */
const MOST_EARLIER = 5;

function Earlier({ payouts }: { payouts: readonly Payout[] }) {
  if (payouts.length === 0) return null;
  return (
    <div className="earlier">
      <h3>Earlier payouts of this account</h3>
      <ul>
        {payouts.slice(0, MOST_EARLIER).map((payout) => (
          <li key={payout.id}>
            <Link className="tab" to={`/payouts/${payout.id}`}>
              {utcSeconds(payout.requested_at)}
            </Link>
            <span className="num">{moneyIn(payout.amount, payout.currency)}</span>
            <PayoutTag state={payout.state} />
          </li>
        ))}
      </ul>
      <Link to="/payouts">All payouts</Link>
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

/** A text as it was a moment ago: what is typed is not asked about letter by letter. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 300);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

interface RequestProps {
  account: Account;
  check: PayoutCheck;
  onClose: () => void;
}

function Request({ account, check, onClose }: RequestProps) {
  const some = sign(dec(check.withdrawable)) > 0;
  const [amount, setAmount] = useState(some ? check.withdrawable : "");
  const [payee, setPayee] = useState<PayeeDraft>(newPayee);
  const [error, setError] = useState<string | null>(null);
  const [faults, setFaults] = useState<PayeeFaults>({});
  const [refused, setRefused] = useState<string | null>(null);
  const intent = useRef(new Intent());
  const queries = useQueryClient();
  const ask = useMutation({
    mutationFn: (body: PayoutRequest) =>
      askOnce(intent.current, body, (header) =>
        api.POST("/v1/accounts/{id}/payouts", { params: { path: { id: account.id }, header }, body }),
      ),
    onSuccess: onClose,
    onError: (thrown) => {
      const told = asApiError(thrown);
      const payeeSays = payeeFaults(told);
      const amountSays = told.field("amount");
      setFaults(payeeSays);
      setError(amountSays);
      if (!amountSays && Object.keys(payeeSays).length === 0) setRefused(told.detail);
    },
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: ["payouts"] });
      void queries.invalidateQueries({ queryKey: ["accounts", account.id] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const typed = payoutAmount(amount, check.withdrawable);
    const read = payeeOf(payee);
    setRefused(null);
    setError(
      typed === null
        ? `Enter an amount above 0 such as ${check.withdrawable}, or nothing for everything that is allowed.`
        : null,
    );
    setFaults("faults" in read ? read.faults : {});
    if (typed === null || "faults" in read) return;
    ask.mutate({ ...(typed !== "" && { amount: typed }), payee: read.payee });
  };
  return (
    <Dialog title="Ask for a payout" onClose={onClose}>
      <form className="form" onSubmit={submit} noValidate>
        <p className="muted">
          {moneyIn(check.withdrawable, account.currency)} can be taken out. The firm's people look at what you
          ask for; the amount leaves the account once they let it go, and you may take it back until then.
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
            setRefused(null);
          }}
          error={error}
          hint="Empty means everything that is allowed."
        />
        <Precheck account={account} typed={payoutAmount(amount, check.withdrawable)} />
        <PayeeFields
          draft={payee}
          faults={faults}
          onChange={(field: PayeeField, value) => {
            setPayee((held) => ({ ...held, [field]: value }));
            setFaults((held) => ({ ...held, [field]: undefined }));
          }}
        />
        {refused && (
          <p className="form-error" role="alert">
            {refused}
          </p>
        )}
        <div className="actions">
          <button type="submit" className="button primary" disabled={ask.isPending}>
            {ask.isPending ? "Asking…" : "Ask for it"}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** What the program says to the amount that is typed, before it is asked for. */
function Precheck({ account, typed }: { account: Account; typed: string | null }) {
  const settled = useSettled(typed ?? "");
  const check = useQuery({
    ...payoutCheckQuery(account.id, settled),
    enabled: typed !== null,
    placeholderData: keepPreviousData,
  });
  if (typed === null) return null;
  if (check.isError) return <p className="field-error">{asApiError(check.error).detail}</p>;
  if (!check.data) return <Skeleton lines={2} height={16} label="Looking at the amount" />;
  const unmet = check.data.conditions.filter(({ met }) => !met);
  const current = settled === typed && !check.isPlaceholderData;
  return (
    <div className={check.data.eligible ? "answer good" : "answer"} role="status" aria-busy={!current}>
      <p>
        Your share: <b className="tab">{moneyIn(check.data.payout, account.currency)}</b>.{" "}
        {check.data.eligible ? "Every condition holds." : "It would be refused:"}
      </p>
      {unmet.length > 0 && (
        <ul className="conditions">
          {unmet.map((condition, index) => (
            <ConditionLine key={`${index}-${condition.name}`} condition={condition} />
          ))}
        </ul>
      )}
      {check.data.warnings.map((warning) => (
        <p key={warning}>{warning}</p>
      ))}
    </div>
  );
}
