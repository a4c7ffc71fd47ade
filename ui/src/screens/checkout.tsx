import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useRef, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { ApiError } from "../api/error";
import { paymentPage } from "../api/payment";
import { programQuery, quoteQuery, resetOfferQuery, shelfQuery, versionQuery } from "../api/queries";
import type { OfferedAddon, Phase, Purchase } from "../api/types";
import { countries } from "../lib/countries";
import { dec, sign } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Field } from "../parts/field";
import { PaymentMethods, usePaymentMethod } from "../parts/pay";
import { PriceLines } from "../parts/price";
import { Empty, Failure, Skeleton } from "../parts/states";
import {
  type Basket,
  type CheckoutField,
  couponCode,
  couponProblem,
  emptyBasket,
  fieldOf,
  type Goods,
  orderOf,
  toggled,
} from "./basket";
import { Changes, Phases, Terms } from "./program";

export function Checkout() {
  const { slug = "" } = useParams();
  const [search] = useSearchParams();
  const reset = search.get("reset");
  useTitle("Confirm your purchase");
  return (
    <div className="page">
      {reset === null ? <OfProgram slug={slug} /> : <OfReset slug={slug} challenge={reset} />}
    </div>
  );
}

function Crumbs({ slug, name }: { slug: string; name: string }) {
  return (
    <nav className="crumbs" aria-label="Breadcrumb">
      <Link to="/">Programs</Link> <span aria-hidden="true">/</span>{" "}
      <Link to={`/programs/${slug}`}>{name}</Link> <span aria-hidden="true">/</span> Checkout
    </nav>
  );
}

function OfProgram({ slug }: { slug: string }) {
  const program = useQuery(programQuery(slug));
  return (
    <>
      <Crumbs slug={slug} name={program.data?.name ?? slug} />
      {program.isPending && <Skeleton lines={5} height={48} label="Loading the program" />}
      {program.isError && <Failure error={program.error} retry={() => program.refetch()} />}
      {program.data && (
        <Confirmation
          goods={{ slug, version: program.data.version, resetOf: null }}
          name={program.data.name}
          phases={program.data.phases}
          terms={
            <div className="panel terms-box">
              <Terms program={program.data} />
            </div>
          }
        />
      )}
    </>
  );
}

/** A failed challenge once more: with the rules that it was bought with, whatever is on sale now. */
function OfReset({ slug, challenge }: { slug: string; challenge: string }) {
  const offer = useQuery(resetOfferQuery(challenge));
  const version = offer.data?.program.version;
  const kept = useQuery({ ...versionQuery(version ?? ""), enabled: version !== undefined });
  const failed = offer.isError ? offer : kept.isError ? kept : null;
  if (failed) return <Failure error={failed.error} retry={() => failed.refetch()} />;
  if (!offer.data || !kept.data) return <Skeleton lines={5} height={48} label="Loading the challenge" />;
  if (offer.data.fee === null)
    return (
      <Empty title="This challenge cannot begin anew">
        <p>It has begun anew already, it has not failed, or resets of its program are not for sale.</p>
        <Link className="button" to="/challenges">
          My challenges
        </Link>
      </Empty>
    );
  const { program, included } = offer.data;
  return (
    <>
      <Crumbs slug={program.slug || slug} name={program.name} />
      <Confirmation
        goods={{ slug: program.slug, version: program.version, resetOf: challenge }}
        name={program.name}
        phases={kept.data.phases}
        terms={
          <p className="panel terms-box muted">
            The challenge begins anew, by the rules that it was bought with.
            {included > 0 && ` Resets left of those you bought with it: ${included}.`}
          </p>
        }
      />
    </>
  );
}

function Confirmation({
  goods,
  name,
  phases,
  terms,
}: {
  goods: Goods;
  name: string;
  phases: readonly Phase[];
  terms: ReactNode;
}) {
  return (
    <div className="split">
      <div>
        <h1>{goods.resetOf ? "Begin anew" : "Confirm your purchase"}</h1>
        <p className="lead">
          You are buying <strong>{goods.resetOf ? `a reset of ${name}` : name}</strong>. These rules decide
          over the account; read them before you pay.
        </p>
        {terms}
        <Phases phases={phases} />
      </div>
      <Order goods={goods} />
    </div>
  );
}

function Order({ goods }: { goods: Goods }) {
  const [basket, setBasket] = useState<Basket>(emptyBasket);
  const order = orderOf(goods, basket);
  const shelf = useQuery({
    ...shelfQuery(goods.slug, basket.country, basket.currency),
    placeholderData: keepPreviousData,
  });
  const quote = useQuery({ ...quoteQuery(order), placeholderData: keepPreviousData });
  const payment = usePaymentMethod();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const intent = useRef(new Intent());
  // A purchase that was made and whose page could not be opened is not made twice.
  const made = useRef<{ order: string; purchase: Purchase } | null>(null);
  const buy = useMutation({
    mutationFn: async () => {
      const text = JSON.stringify(order);
      if (made.current?.order !== text) {
        const purchase = await askOnce(intent.current, order, (header) =>
          api.POST("/v1/purchases", { body: order, params: { header } }),
        );
        made.current = { order: text, purchase };
      }
      const { purchase } = made.current;
      // Nobody pays another price than they have seen.
      const asSeen = purchase.fee === quote.data?.total && purchase.state === "awaiting_payment";
      const method = asSeen ? payment.method : null;
      return { purchase, page: method && (await paymentPage(purchase.id, method)) };
    },
    onSuccess: ({ purchase, page }) => {
      // A challenge begins anew once.
      if (goods.resetOf) queries.removeQueries({ queryKey: resetOfferQuery(goods.resetOf).queryKey });
      // The hosted payment page is outside this application.
      if (page !== null) window.location.assign(page);
      else navigate(`/purchases/${purchase.id}${purchase.state === "paid" ? "?outcome=paid" : ""}`);
    },
    onError: (refused) => {
      if (refused instanceof ApiError && refused.code === "program_changed")
        void queries.invalidateQueries({ queryKey: ["programs"] });
    },
  });
  const change = (next: Basket) => {
    buy.reset();
    setBasket(next);
  };
  const refused = buy.error ?? (quote.isPlaceholderData ? null : quote.error);
  const told = refused instanceof ApiError ? fieldOf(refused) : null;
  const at = (field: CheckoutField) => (told?.field === field ? told.say : null);
  const current = quote.data && !quote.isPlaceholderData && !quote.isError;
  const free = current && sign(dec(quote.data.total)) === 0;
  const busy = buy.isPending || buy.isSuccess;
  // What is chosen stays to be chosen away again, whatever the shelf says now.
  const currencies =
    shelf.data?.currencies ?? (basket.currency ? ["the program's own", basket.currency] : []);
  return (
    <aside className="panel buy-box" aria-label="Order summary">
      <h2>Summary</h2>
      {!goods.resetOf && (shelf.data || basket.addons.length > 0) && (
        <Addons
          addons={shelf.data?.addons ?? []}
          currency={shelf.data?.currency ?? ""}
          chosen={basket.addons}
          error={at("addons")}
          toggle={(code) => change(toggled(basket, code))}
        />
      )}
      {shelf.isError && at("currency") === null && at("country") === null && (
        <Failure error={shelf.error} retry={() => shelf.refetch()} />
      )}
      <Choice
        label="Your country"
        value={basket.country}
        onChange={({ target }) => change({ ...basket, country: target.value })}
        error={at("country")}
        hint="Prices and tax may depend on it."
        autoComplete="country"
      >
        <option value="">Not said</option>
        {countries.map(({ code, name }) => (
          <option key={code} value={code}>
            {name}
          </option>
        ))}
      </Choice>
      {(currencies.length > 1 || basket.currency !== "") && (
        <Choice
          label="Pay in"
          value={basket.currency}
          onChange={({ target }) => change({ ...basket, currency: target.value })}
          error={at("currency")}
        >
          {currencies.map((code, index) => (
            <option key={code} value={index === 0 ? "" : code}>
              {code}
            </option>
          ))}
        </Choice>
      )}
      <Coupons goods={goods} basket={basket} error={at("coupon")} change={change} />
      <PaymentMethods {...payment} />
      {quote.isPending && <Skeleton lines={2} height={20} label="Working out the price" />}
      {quote.data && !quote.isError && (
        <PriceLines
          lines={quote.data.lines}
          taxIncluded={quote.data.tax_included}
          total={quote.data.total}
          currency={quote.data.currency}
          totalLabel="To pay"
          stale={quote.isPlaceholderData}
        />
      )}
      <button
        type="button"
        className="button primary wide"
        disabled={busy || !current || !(free || payment.method)}
        onClick={() => buy.mutate()}
      >
        {busy
          ? free
            ? "Opening your account…"
            : "Opening the payment page…"
          : free
            ? "Open the account"
            : "Continue to payment"}
      </button>
      {refused && !told && (
        <Failure error={refused} retry={() => (buy.isError ? buy.mutate() : quote.refetch())} />
      )}
      <p className="fine">
        {free
          ? "Nothing is to be paid."
          : "You pay on a hosted page. Card data never reaches this site. Nothing is charged before."}
      </p>
      <div className="version">
        <span className="muted">Terms version</span>
        <code>{goods.version}</code>
        <p className="fine">
          The account keeps exactly this version{basket.addons.length > 0 && " with what you add to it"}. Its
          hash is on every receipt, and the <Link to={`/terms/${goods.version}`}>full terms</Link> stay
          readable under it.
        </p>
      </div>
    </aside>
  );
}

function Addons({
  addons,
  currency,
  chosen,
  error,
  toggle,
}: {
  addons: readonly OfferedAddon[];
  currency: string;
  chosen: readonly string[];
  error: string | null;
  toggle: (code: string) => void;
}) {
  const gone = chosen.filter((code) => addons.every((addon) => addon.code !== code));
  if (addons.length === 0 && gone.length === 0) return null;
  return (
    <fieldset className="choices" aria-describedby={error ? "addons-error" : undefined}>
      <legend>Add to it</legend>
      {addons.map(({ code, name, effect, price, changes }) => (
        <div key={code} className="addon">
          <label className="check">
            <input
              type="checkbox"
              checked={chosen.includes(code)}
              aria-describedby={`addon-${code}`}
              onChange={() => toggle(code)}
            />
            <span>{name}</span>
            <b className="tab">+{moneyIn(price, currency)}</b>
          </label>
          <p className="fine" id={`addon-${code}`}>
            {effect}
          </p>
          {changes.length > 0 && (
            <details>
              <summary>
                What it changes<span className="hidden"> with {name}</span>
              </summary>
              <Changes changes={changes} />
            </details>
          )}
        </div>
      ))}
      {gone.map((code) => (
        <label key={code} className="check">
          <input type="checkbox" checked onChange={() => toggle(code)} />
          <span>
            <code>{code}</code> is not for sale like this
          </span>
        </label>
      ))}
      {error && (
        <p className="field-error" id="addons-error" role="alert">
          {error}
        </p>
      )}
    </fieldset>
  );
}

/** Coupons are added one by one: one that does not hold says so here and never gets into the basket. */
function Coupons({
  goods,
  basket,
  error,
  change,
}: {
  goods: Goods;
  basket: Basket;
  error: string | null;
  change: (basket: Basket) => void;
}) {
  const [typed, setTyped] = useState("");
  const [own, setOwn] = useState<string | null>(null);
  const queries = useQueryClient();
  const add = useMutation({
    mutationFn: (next: Basket) => queries.fetchQuery(quoteQuery(orderOf(goods, next))),
    onSuccess: (_, next) => {
      setTyped("");
      change(next);
    },
    onError: (refused) => {
      setOwn((refused instanceof ApiError && fieldOf(refused)?.say) || refused.message);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const problem = couponProblem(typed, basket.coupons);
    setOwn(problem);
    if (problem === null) add.mutate({ ...basket, coupons: [...basket.coupons, couponCode(typed)] });
  };
  return (
    <form className="coupons" noValidate onSubmit={submit} aria-label="Add a coupon">
      {basket.coupons.length > 0 && (
        <ul aria-label="Your coupons">
          {basket.coupons.map((code) => (
            <li key={code}>
              <span className="tag passed">{code}</span>
              <button
                type="button"
                className="button small"
                onClick={() => change({ ...basket, coupons: basket.coupons.filter((held) => held !== code) })}
              >
                Remove<span className="hidden"> the coupon {code}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      <div className="coupon-line">
        <Field
          label="Coupon"
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setOwn(null);
          }}
          error={own ?? error}
          autoComplete="off"
          autoCapitalize="characters"
          spellCheck={false}
        />
        <button type="submit" className="button" disabled={add.isPending}>
          {add.isPending ? "Looking…" : "Apply"}
        </button>
      </div>
    </form>
  );
}
