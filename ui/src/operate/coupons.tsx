import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { couponsQuery, programsQuery } from "../api/queries";
import type { Coupon, NewCoupon } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { More } from "../parts/more";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import {
  type CouponDraft,
  couponLimits,
  couponOf,
  couponState,
  type Faults,
  faultsOf,
  isRead,
  newCoupon,
  PERCENT,
  portionText,
} from "./stock";

/** What lets buyers pay less. */
export default function CouponsPage() {
  useTitle("Coupons");
  const coupons = useInfiniteQuery(couponsQuery);
  const all = coupons.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <h1>Coupons</h1>
      <p className="lead">
        A buyer types the code. What a coupon lets off never changes; one that is disabled is never valid
        again, and what was bought with it stays.
      </p>
      <Add />
      {coupons.isPending && <Skeleton lines={3} height={28} label="Loading the coupons" />}
      {coupons.isError && <Failure error={coupons.error} retry={() => coupons.refetch()} />}
      {coupons.data && all.length === 0 && (
        <Empty title="No coupons">
          <p>Add the first one above.</p>
        </Empty>
      )}
      {all.length > 0 && <List coupons={all} />}
      <More pages={coupons} shown={all.length} />
    </>
  );
}

/** Where the form shows what the server says of its fields. */
const places = { starts_at: "startDay", ends_at: "endDay" } as const;
const fields = Object.keys(newCoupon) as (keyof CouponDraft)[];

function Add() {
  const [draft, setDraft] = useState(newCoupon);
  const [errors, setErrors] = useState<Faults<keyof CouponDraft>>({});
  const programs = useQuery(programsQuery);
  const queries = useQueryClient();
  const notify = useNotify();
  const currencies = [...new Set(programs.data?.map(({ fee_currency }) => fee_currency))];
  const add = useMutation({
    mutationFn: (body: NewCoupon) => ask(api.POST("/v1/shelf/coupons", { body })),
    onSuccess: (coupon) => {
      setDraft(newCoupon);
      notify(`${coupon.code} lets off ${portionText(coupon.off)}.`, "good");
      void queries.invalidateQueries({ queryKey: couponsQuery.queryKey });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      // A code that there is, or a person that there is not.
      const taken = told.code === "conflict" && (told.detail.includes("person") ? "only_person" : "code");
      setErrors(taken ? { [taken]: told.detail } : faultsOf(told, fields, places));
    },
  });
  const change = (field: keyof CouponDraft) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [field]: event.target.value }));
    setErrors((held) => ({ ...held, [field]: undefined, all: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const leastUnit = draft.leastUnit || (currencies[0] ?? "");
    const read = couponOf({ ...draft, leastUnit });
    if (!isRead<NewCoupon>(read, "off")) return setErrors(read);
    setErrors({});
    add.mutate(read);
  };
  const text = (field: keyof CouponDraft) => ({
    value: String(draft[field]),
    onChange: change(field),
    error: errors[field],
    autoComplete: "off",
  });
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Add a coupon">
      <div className="fields">
        <Field label="Code" {...text("code")} spellCheck={false} placeholder="SPRING" />
        <Field label="Lets off" inputMode="decimal" {...text("off")} placeholder="10" />
        <Choice label="Of" value={draft.unit} onChange={change("unit")}>
          <option value={PERCENT}>per cent</option>
          {currencies.map((code) => (
            <option key={code} value={code}>
              {code}
            </option>
          ))}
        </Choice>
        <Field label="Uses in all" inputMode="numeric" {...text("most_uses")} placeholder="no limit" />
        <Field
          label="Uses per person"
          inputMode="numeric"
          {...text("most_per_person")}
          placeholder="no limit"
        />
      </div>
      <details>
        <summary>When, where and for whom</summary>
        <div className="fields">
          <Field label="From day, UTC" type="date" {...text("startDay")} />
          <Field label="From time, UTC" type="time" {...text("startTime")} />
          <Field label="Until day, UTC" type="date" {...text("endDay")} />
          <Field label="Until time, UTC" type="time" {...text("endTime")} />
          <Field
            label="Programs"
            {...text("programs")}
            spellCheck={false}
            placeholder="all"
            hint={programs.data && `Of: ${programs.data.map(({ slug }) => slug).join(", ")}`}
          />
          <Field label="At least" inputMode="decimal" {...text("least")} placeholder="any price" />
          {draft.unit === PERCENT && currencies.length > 1 && (
            <Choice
              label="At least in"
              value={draft.leastUnit || currencies[0]}
              onChange={change("leastUnit")}
            >
              {currencies.map((code) => (
                <option key={code} value={code}>
                  {code}
                </option>
              ))}
            </Choice>
          )}
          <Field
            label="Only for"
            {...text("only_person")}
            spellCheck={false}
            placeholder="everybody"
            hint="A person's id"
          />
        </div>
      </details>
      <label className="check">
        <input
          type="checkbox"
          checked={draft.stackable}
          onChange={({ target }) => setDraft((held) => ({ ...held, stackable: target.checked }))}
        />
        Others may be used with it
      </label>
      {errors.all && (
        <p className="form-error" role="alert">
          {errors.all}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary" disabled={add.isPending}>
          {add.isPending ? "Adding…" : "Add the coupon"}
        </button>
      </div>
    </form>
  );
}

const tones = {
  Valid: "passed",
  "Not yet": "running",
  "Used up": "expired",
  Over: "expired",
  Disabled: "failed",
};

function List({ coupons }: { coupons: readonly Coupon[] }) {
  const [asked, setAsked] = useState<string | null>(null);
  const now = new Date().toISOString();
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Coupons">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Code</th>
            <th scope="col" className="num">
              Lets off
            </th>
            <th scope="col">State</th>
            <th scope="col" className="num">
              Used
            </th>
            <th scope="col">Holds</th>
            <th scope="col">From, UTC</th>
            <th scope="col">Until, UTC</th>
            <th scope="col">
              <span className="hidden">Disable</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {coupons.map((coupon) => {
            const state = couponState(coupon, now);
            return (
              <tr key={coupon.code}>
                <th scope="row">
                  <code>{coupon.code}</code>
                </th>
                <td className="num">{portionText(coupon.off)}</td>
                <td>
                  <span className={`tag ${tones[state]}`}>{state}</span>
                </td>
                <td className="num">
                  {coupon.used}
                  {coupon.most_uses !== null && <span className="muted"> of {coupon.most_uses}</span>}
                </td>
                <td>{couponLimits(coupon)}</td>
                <td className="tab">{coupon.starts_at ? utcSeconds(coupon.starts_at) : "–"}</td>
                <td className="tab">{coupon.ends_at ? utcSeconds(coupon.ends_at) : "–"}</td>
                <td className="num">
                  {!coupon.disabled && (
                    <button
                      type="button"
                      className="button small danger"
                      onClick={() => setAsked(coupon.code)}
                    >
                      Disable<span className="hidden"> {coupon.code}</span>
                    </button>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {asked && <Disable code={asked} onClose={() => setAsked(null)} />}
    </section>
  );
}

function Disable({ code, onClose }: { code: string; onClose: () => void }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const disable = useMutation({
    mutationFn: () => ask(api.DELETE("/v1/shelf/coupons/{code}", { params: { path: { code } } })),
    onSuccess: () => {
      notify(`${code} is no longer valid.`, "good");
      void queries.invalidateQueries({ queryKey: couponsQuery.queryKey });
      onClose();
    },
  });
  return (
    <Dialog title={`Disable ${code}`} onClose={onClose}>
      <div className="form">
        <p>Nobody can use it any more, and it cannot be enabled again.</p>
        {disable.isError && (
          <p className="form-error" role="alert">
            {asApiError(disable.error).detail}
          </p>
        )}
        <div className="actions">
          <button
            type="button"
            className="button danger"
            disabled={disable.isPending}
            onClick={() => disable.mutate()}
          >
            {disable.isPending ? "One moment…" : "Disable the coupon"}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </div>
    </Dialog>
  );
}
