import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { groupsQuery, programShelfQuery, programsQuery, taxesQuery } from "../api/queries";
import type {
  CountryTax,
  NewAddon,
  NewPrice,
  NewTax,
  NewTerms,
  OtherPrice,
  ProgramShelf,
  StockedAddon,
} from "../api/types";
import { countries, countryName } from "../lib/countries";
import { readDecimal } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Field } from "../parts/field";
import { More } from "../parts/more";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import {
  type AddonDraft,
  addonOf,
  type ChangeKind,
  changeKinds,
  type Faults,
  faultsOf,
  isRead,
  newAddon,
  numbersOf,
  PERCENT,
  portionText,
} from "./stock";

/** What stands beside the programs: add-ons, other prices, terms, taxes and groups. */
export default function ShelfPage() {
  useTitle("Shelf");
  const { slug } = useParams();
  const navigate = useNavigate();
  const programs = useQuery(programsQuery);
  const chosen = slug ?? programs.data?.[0]?.slug;
  return (
    <>
      <h1>Shelf</h1>
      <p className="lead">
        What buyers can add to a program, what it costs whom, and the tax on it. A change holds for purchases
        from now on; what was bought stays as it was bought.
      </p>
      {programs.isPending && <Skeleton lines={2} height={28} label="Loading the programs" />}
      {programs.isError && <Failure error={programs.error} retry={() => programs.refetch()} />}
      {programs.data?.length === 0 && (
        <Empty title="Nothing is on sale">
          <p>Publish a program first.</p>
        </Empty>
      )}
      {programs.data && chosen !== undefined && (
        <>
          <div className="filters">
            <label className="select">
              <span>Program</span>
              <select value={chosen} onChange={({ target }) => navigate(`/operate/shelf/${target.value}`)}>
                {programs.data.map((program) => (
                  <option key={program.slug} value={program.slug}>
                    {program.name}
                  </option>
                ))}
              </select>
            </label>
          </div>
          <OfProgram key={chosen} slug={chosen} />
        </>
      )}
      <Taxes />
      <Groups />
    </>
  );
}

function OfProgram({ slug }: { slug: string }) {
  const shelf = useQuery(programShelfQuery(slug));
  if (shelf.isPending) return <Skeleton lines={5} height={28} label="Loading the shelf" />;
  if (shelf.isError) return <Failure error={shelf.error} retry={() => shelf.refetch()} />;
  return (
    <>
      <Terms shelf={shelf.data} />
      <Addons shelf={shelf.data} />
      <Prices shelf={shelf.data} />
    </>
  );
}

/** Keeps the shelf that the server answers with, and has everybody who shows it read it anew. */
function useKept(slug: string) {
  const queries = useQueryClient();
  return (shelf: ProgramShelf) => {
    queries.setQueryData(programShelfQuery(slug).queryKey, shelf);
    void queries.invalidateQueries({ queryKey: ["programs", slug] });
  };
}

function Refused({ say }: { say: string | undefined }) {
  if (!say) return null;
  return (
    <p className="form-error" role="alert">
      {say}
    </p>
  );
}

function Terms({ shelf }: { shelf: ProgramShelf }) {
  const [trial, setTrial] = useState(shelf.trial);
  const [fee, setFee] = useState(shelf.reset_fee ?? "");
  const [errors, setErrors] = useState<Faults<"reset_fee">>({});
  const notify = useNotify();
  const keep = useKept(shelf.program);
  const save = useMutation({
    mutationFn: (body: NewTerms) =>
      ask(api.PUT("/v1/shelf/programs/{slug}/terms", { params: { path: { slug: shelf.program } }, body })),
    onSuccess: (kept) => {
      keep(kept);
      notify(`${kept.name} is saved.`, "good");
    },
    onError: (refused) => setErrors(faultsOf(asApiError(refused), ["reset_fee"])),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const value = fee.trim() === "" ? null : readDecimal(fee);
    if (fee.trim() !== "" && value === null) return setErrors({ reset_fee: "Give an amount, or nothing." });
    setErrors({});
    save.mutate({ trial, reset_fee: value });
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Price and terms">
      <h2>{shelf.name}</h2>
      <p className="muted">
        Its price for everybody is <b className="tab">{moneyIn(shelf.fee.amount, shelf.fee.currency)}</b>; it
        changes with a publication.
      </p>
      <div className="fields">
        <Field
          label={`Price of a reset, ${shelf.fee.currency}`}
          inputMode="decimal"
          value={fee}
          onChange={({ target }) => {
            setFee(target.value);
            setErrors({});
          }}
          error={errors.reset_fee}
          autoComplete="off"
          placeholder="not for sale"
        />
      </div>
      <label className="check">
        <input type="checkbox" checked={trial} onChange={({ target }) => setTrial(target.checked)} />
        It is a trial: it costs nothing, and everybody gets one
      </label>
      <Refused say={errors.all} />
      <div className="actions">
        <button type="submit" className="button primary" disabled={save.isPending}>
          {save.isPending ? "Saving…" : "Save"}
        </button>
      </div>
    </form>
  );
}

function Addons({ shelf }: { shelf: ProgramShelf }) {
  const [draft, setDraft] = useState<AddonDraft | null>(null);
  const notify = useNotify();
  const keep = useKept(shelf.program);
  const put = useMutation({
    mutationFn: ({ code, body }: { code: string; body: NewAddon }) =>
      ask(
        api.PUT("/v1/shelf/programs/{slug}/addons/{code}", {
          params: { path: { slug: shelf.program, code } },
          body,
        }),
      ),
    onSuccess: keep,
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
  });
  const edit = (addon: StockedAddon) => {
    const [first, second] = numbersOf(addon.change);
    const { price } = addon;
    setDraft({
      code: addon.code,
      name: addon.name,
      price: price.kind === "percent" ? price.percent : price.amount,
      unit: price.kind === "percent" ? PERCENT : price.currency,
      kind: addon.change.kind,
      first,
      second,
    });
  };
  return (
    <section aria-labelledby="addons-heading">
      <h2 id="addons-heading">Add-ons</h2>
      {shelf.addons.length === 0 ? (
        <p className="muted">Nothing can be added to this program yet.</p>
      ) : (
        <section className="table-scroll panel" tabIndex={0} aria-label="Add-ons of this program">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Code</th>
                <th scope="col">Name</th>
                <th scope="col" className="num">
                  Price
                </th>
                <th scope="col">What it gives</th>
                <th scope="col">State</th>
                <th scope="col">
                  <span className="hidden">Change</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {shelf.addons.map((addon) => (
                <tr key={addon.code}>
                  <th scope="row">
                    <code>{addon.code}</code>
                  </th>
                  <td>{addon.name}</td>
                  <td className="num">{portionText(addon.price)}</td>
                  <td>{addon.effect}</td>
                  <td>
                    {!addon.on_sale ? (
                      <span className="tag">Off sale</span>
                    ) : addon.fits ? (
                      <span className="tag passed">On sale</span>
                    ) : (
                      <span className="tag expired">Changes nothing</span>
                    )}
                  </td>
                  <td className="num row-actions">
                    <button type="button" className="button small" onClick={() => edit(addon)}>
                      Change<span className="hidden"> {addon.name}</span>
                    </button>
                    <button
                      type="button"
                      className="button small"
                      disabled={put.isPending}
                      onClick={() => {
                        const { name, price, change, on_sale } = addon;
                        put.mutate({ code: addon.code, body: { name, price, change, on_sale: !on_sale } });
                      }}
                    >
                      {addon.on_sale ? "Take off sale" : "Put on sale"}
                      <span className="hidden"> {addon.name}</span>
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <AddonForm key={draft?.code ?? ""} shelf={shelf} before={draft} onDone={() => setDraft(null)} />
    </section>
  );
}

const addonFields = Object.keys(newAddon) as (keyof AddonDraft)[];

function AddonForm({
  shelf,
  before,
  onDone,
}: {
  shelf: ProgramShelf;
  before: AddonDraft | null;
  onDone: () => void;
}) {
  const [draft, setDraft] = useState(before ?? newAddon);
  const [errors, setErrors] = useState<Faults<keyof AddonDraft>>({});
  const notify = useNotify();
  const keep = useKept(shelf.program);
  const code = draft.code.trim();
  const save = useMutation({
    mutationFn: (body: NewAddon) =>
      ask(
        api.PUT("/v1/shelf/programs/{slug}/addons/{code}", {
          params: { path: { slug: shelf.program, code } },
          body,
        }),
      ),
    onSuccess: (kept, body) => {
      keep(kept);
      notify(`${body.name} is on sale.`, "good");
      setDraft(newAddon);
      onDone();
    },
    onError: (refused) => setErrors(faultsOf(asApiError(refused), addonFields, { change: "first" })),
  });
  const change = (field: keyof AddonDraft) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [field]: event.target.value }));
    setErrors((held) => ({ ...held, [field]: undefined, all: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = addonOf(draft);
    if (!isRead<NewAddon>(read, "price")) return setErrors(read);
    if (before === null && shelf.addons.some((held) => held.code === code))
      return setErrors({ code: "There is one of this code; change that one." });
    setErrors({});
    save.mutate(read);
  };
  const text = (field: keyof AddonDraft) => ({
    value: draft[field],
    onChange: change(field),
    error: errors[field],
    autoComplete: "off",
  });
  const kind = changeKinds.find((known) => known.kind === draft.kind);
  const units = [...new Set([shelf.fee.currency, ...shelf.prices.map(({ currency }) => currency)])];
  return (
    <form
      className="form panel operate-form"
      onSubmit={submit}
      noValidate
      aria-label={before ? `Change ${before.name}` : "Add an add-on"}
    >
      <div className="fields">
        <Field
          label="Code"
          {...text("code")}
          readOnly={before !== null}
          spellCheck={false}
          placeholder="split90"
        />
        <Field label="Name" {...text("name")} placeholder="90% of every payout" />
        <Field label="Price" inputMode="decimal" {...text("price")} placeholder="20" />
        <Choice label="In" value={draft.unit} onChange={change("unit")}>
          <option value={PERCENT}>% of its price</option>
          {units.map((unit) => (
            <option key={unit} value={unit}>
              {unit}
            </option>
          ))}
        </Choice>
        <Choice
          label="Changes"
          value={draft.kind}
          onChange={({ target }) =>
            setDraft((held) => ({ ...held, kind: target.value as ChangeKind, first: "", second: "" }))
          }
        >
          {changeKinds.map(({ kind, name }) => (
            <option key={kind} value={kind}>
              {name}
            </option>
          ))}
        </Choice>
        <Field label={kind?.first ?? ""} inputMode="decimal" {...text("first")} />
        {kind?.second && <Field label={kind.second} inputMode="numeric" {...text("second")} />}
      </div>
      <Refused say={errors.all} />
      <div className="actions">
        <button type="submit" className="button primary" disabled={save.isPending}>
          {save.isPending ? "Saving…" : before ? "Save the add-on" : "Add the add-on"}
        </button>
        {before && (
          <button type="button" className="button" onClick={onDone}>
            Leave it
          </button>
        )}
      </div>
    </form>
  );
}

function CountryChoice({
  value,
  onChange,
  error,
  all,
}: {
  value: string;
  onChange: (value: string) => void;
  error?: string | undefined;
  all: string;
}) {
  return (
    <Choice label="Country" value={value} error={error} onChange={({ target }) => onChange(target.value)}>
      <option value="">{all}</option>
      {countries.map(({ code, name }) => (
        <option key={code} value={code}>
          {name}
        </option>
      ))}
    </Choice>
  );
}

interface PriceDraft {
  country: string;
  group: string;
  currency: string;
  price: string;
}

function Prices({ shelf }: { shelf: ProgramShelf }) {
  const empty: PriceDraft = { country: "", group: "", currency: shelf.fee.currency, price: "" };
  const [draft, setDraft] = useState(empty);
  const [errors, setErrors] = useState<Faults<keyof PriceDraft>>({});
  const notify = useNotify();
  const keep = useKept(shelf.program);
  const put = useMutation({
    mutationFn: (body: NewPrice) =>
      ask(api.PUT("/v1/shelf/programs/{slug}/prices", { params: { path: { slug: shelf.program } }, body })),
    onSuccess: (kept, body) => {
      keep(kept);
      if (body.price !== null) setDraft(empty);
    },
    onError: (refused, body) => {
      const told = asApiError(refused);
      if (body.price === null) notify(told.detail, "bad");
      else setErrors(faultsOf(told, ["country", "group", "currency", "price"]));
    },
  });
  const change = (field: keyof PriceDraft) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [field]: event.target.value }));
    setErrors((held) => ({ ...held, [field]: undefined, all: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const price = readDecimal(draft.price);
    if (price === null) return setErrors({ price: "Give an amount." });
    setErrors({});
    put.mutate({
      country: draft.country || null,
      group: draft.group.trim() || null,
      currency: draft.currency.trim().toUpperCase(),
      price,
    });
  };
  const text = (field: keyof PriceDraft) => ({
    value: draft[field],
    onChange: change(field),
    error: errors[field],
    autoComplete: "off",
  });
  return (
    <section aria-labelledby="prices-heading">
      <h2 id="prices-heading">Other prices</h2>
      <p className="muted">
        In place of the price for everybody. A price for a group comes before one for a country.
      </p>
      {shelf.prices.length > 0 && (
        <PriceTable prices={shelf.prices} busy={put.isPending} remove={(price) => put.mutate(price)} />
      )}
      <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Set a price">
        <div className="fields">
          <CountryChoice
            value={draft.country}
            error={errors.country}
            onChange={(value) => change("country")({ target: { value } })}
            all="Every country"
          />
          <Field label="Group" {...text("group")} spellCheck={false} placeholder="everybody" />
          <Field label="Currency" {...text("currency")} spellCheck={false} />
          <Field label="Price" inputMode="decimal" {...text("price")} />
        </div>
        <Refused say={errors.all} />
        <div className="actions">
          <button type="submit" className="button primary" disabled={put.isPending}>
            {put.isPending ? "Saving…" : "Set the price"}
          </button>
        </div>
      </form>
    </section>
  );
}

function PriceTable({
  prices,
  busy,
  remove,
}: {
  prices: readonly OtherPrice[];
  busy: boolean;
  remove: (price: NewPrice) => void;
}) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Prices for some buyers">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Country</th>
            <th scope="col">Group</th>
            <th scope="col" className="num">
              Price
            </th>
            <th scope="col">
              <span className="hidden">Remove</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {prices.map(({ country, group, price, currency }) => (
            <tr key={`${country}-${group}-${currency}`}>
              <td>{country ? countryName(country) : "Every country"}</td>
              <td>{group ?? "Everybody"}</td>
              <td className="num">{moneyIn(price, currency)}</td>
              <td className="num">
                <button
                  type="button"
                  className="button small danger"
                  disabled={busy}
                  onClick={() => remove({ country, group, currency, price: null })}
                >
                  Remove
                  <span className="hidden">
                    {" "}
                    the price for {country ? countryName(country) : "every country"}, {group ?? "everybody"},{" "}
                    {currency}
                  </span>
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Taxes() {
  const taxes = useQuery(taxesQuery);
  const [country, setCountry] = useState("");
  const [rate, setRate] = useState("");
  const [included, setIncluded] = useState(true);
  const [errors, setErrors] = useState<Faults<"country" | "rate">>({});
  const queries = useQueryClient();
  const notify = useNotify();
  const put = useMutation({
    mutationFn: async (body: NewTax) => (await ask(api.PUT("/v1/shelf/taxes", { body }))).items,
    onSuccess: (kept, body) => {
      queries.setQueryData(taxesQuery.queryKey, kept);
      void queries.invalidateQueries({ queryKey: ["programs"] });
      if (body.rate !== null) {
        setCountry("");
        setRate("");
      }
    },
    onError: (refused, body) => {
      const told = asApiError(refused);
      if (body.rate === null) notify(told.detail, "bad");
      else setErrors(faultsOf(told, ["country", "rate"]));
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const value = readDecimal(rate);
    if (value === null) return setErrors({ rate: "Give a number of per cent." });
    setErrors({});
    put.mutate({ country: country || null, rate: value, included });
  };
  return (
    <section aria-labelledby="taxes-heading">
      <h2 id="taxes-heading">Taxes</h2>
      <p className="muted">
        On every program, by the country that the buyer says. Where none is set, none is due.
      </p>
      {taxes.isPending && <Skeleton lines={2} height={28} label="Loading the taxes" />}
      {taxes.isError && <Failure error={taxes.error} retry={() => taxes.refetch()} />}
      {taxes.data?.length === 0 && <p className="muted">No tax is set.</p>}
      {taxes.data && taxes.data.length > 0 && (
        <TaxTable taxes={taxes.data} busy={put.isPending} remove={(tax) => put.mutate(tax)} />
      )}
      <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Set a tax">
        <div className="fields">
          <CountryChoice
            value={country}
            onChange={(value) => {
              setCountry(value);
              setErrors({});
            }}
            error={errors.country}
            all="All that have none of their own"
          />
          <Field
            label="Rate, %"
            inputMode="decimal"
            value={rate}
            onChange={({ target }) => {
              setRate(target.value);
              setErrors({});
            }}
            error={errors.rate}
            autoComplete="off"
          />
        </div>
        <label className="check">
          <input type="checkbox" checked={included} onChange={({ target }) => setIncluded(target.checked)} />
          Prices contain it
        </label>
        <Refused say={errors.all} />
        <div className="actions">
          <button type="submit" className="button primary" disabled={put.isPending}>
            {put.isPending ? "Saving…" : "Set the tax"}
          </button>
        </div>
      </form>
    </section>
  );
}

function TaxTable({
  taxes,
  busy,
  remove,
}: {
  taxes: readonly CountryTax[];
  busy: boolean;
  remove: (tax: NewTax) => void;
}) {
  const name = (country: string | null) => (country ? countryName(country) : "All others");
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Taxes by country">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Country</th>
            <th scope="col" className="num">
              Rate
            </th>
            <th scope="col">How</th>
            <th scope="col">
              <span className="hidden">Remove</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {taxes.map(({ country, rate, included }) => (
            <tr key={country ?? ""}>
              <th scope="row">{name(country)}</th>
              <td className="num">{rate}%</td>
              <td>{included ? "In the price" : "On top of the price"}</td>
              <td className="num">
                <button
                  type="button"
                  className="button small danger"
                  disabled={busy}
                  onClick={() => remove({ country, rate: null, included })}
                >
                  Remove<span className="hidden"> the tax of {name(country)}</span>
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Groups() {
  const groups = useInfiniteQuery(groupsQuery);
  const [person, setPerson] = useState("");
  const [group, setGroup] = useState("");
  const [errors, setErrors] = useState<Faults<"person" | "group">>({});
  const queries = useQueryClient();
  const put = useMutation({
    mutationFn: (body: { person: string; group: string | null }) =>
      ask(api.PUT("/v1/shelf/groups", { body })),
    onSuccess: () => {
      setPerson("");
      setGroup("");
      void queries.invalidateQueries({ queryKey: groupsQuery.queryKey });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      setErrors(told.status === 404 ? { person: told.detail } : faultsOf(told, ["person", "group"]));
    },
  });
  const all = groups.data?.pages.flatMap((page) => page.items) ?? [];
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const faults = {
      ...(person.trim() === "" && { person: "Give a person's id." }),
      ...(group.trim() === "" && { group: "Give the group a name." }),
    };
    setErrors(faults);
    if (Object.keys(faults).length === 0) put.mutate({ person: person.trim(), group: group.trim() });
  };
  return (
    <section aria-labelledby="groups-heading">
      <h2 id="groups-heading">Groups</h2>
      <p className="muted">Who buys at the prices of a group. Nobody belongs to more than one.</p>
      {groups.isPending && <Skeleton lines={2} height={28} label="Loading the groups" />}
      {groups.isError && <Failure error={groups.error} retry={() => groups.refetch()} />}
      {groups.data && all.length === 0 && <p className="muted">Nobody belongs to a group.</p>}
      {all.length > 0 && (
        <section className="table-scroll panel" tabIndex={0} aria-label="Who belongs to which group">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Person</th>
                <th scope="col">Group</th>
                <th scope="col">
                  <span className="hidden">Remove</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {all.map((member) => (
                <tr key={member.person}>
                  <th scope="row">
                    <code>{member.person}</code>
                  </th>
                  <td>{member.group}</td>
                  <td className="num">
                    <button
                      type="button"
                      className="button small danger"
                      disabled={put.isPending}
                      onClick={() => put.mutate({ person: member.person, group: null })}
                    >
                      Remove<span className="hidden"> {member.person}</span>
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <More pages={groups} shown={all.length} />
      <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Put into a group">
        <div className="fields">
          <Field
            label="Person's id"
            value={person}
            onChange={({ target }) => {
              setPerson(target.value);
              setErrors((held) => ({ ...held, person: undefined, all: undefined }));
            }}
            error={errors.person}
            autoComplete="off"
            spellCheck={false}
          />
          <Field
            label="Group"
            value={group}
            onChange={({ target }) => {
              setGroup(target.value);
              setErrors((held) => ({ ...held, group: undefined, all: undefined }));
            }}
            error={errors.group}
            autoComplete="off"
            spellCheck={false}
            placeholder="friends"
          />
        </div>
        <Refused say={errors.all} />
        <div className="actions">
          <button type="submit" className="button primary" disabled={put.isPending}>
            {put.isPending ? "Saving…" : "Put into the group"}
          </button>
        </div>
      </form>
    </section>
  );
}
