import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { payoutBatchesQuery, programsQuery } from "../api/queries";
import type { PayoutBatch } from "../api/types";
import { moneyIn } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { PayoutsNav } from "./payouts";
import { ReasonDialog } from "./reason";
import { headerText } from "./reasons";

/** What the firm gives to its bank. */
export default function BankFilesPage() {
  useTitle("Bank files");
  const batches = useQuery(payoutBatchesQuery);
  return (
    <>
      <h1>Bank files</h1>
      <PayoutsNav />
      <p className="lead">
        A file has everything that waits to be paid by the bank in one currency, and each payout is in one
        file. It may be downloaded again; what the bank has paid is then{" "}
        <Link to="/operate/payouts?state=sent">marked as paid</Link>.
      </p>
      <Export />
      {batches.isPending && <Skeleton lines={3} height={28} label="Loading the files" />}
      {batches.isError && !batches.data && <Failure error={batches.error} retry={() => batches.refetch()} />}
      {batches.data?.length === 0 && (
        <Empty title="No file was made yet">
          <p>Make one above once payouts by bank transfer are reserved.</p>
        </Empty>
      )}
      {batches.data && batches.data.length > 0 && <Files batches={batches.data} />}
    </>
  );
}

function Export() {
  const programs = useQuery(programsQuery);
  const [chosen, setChosen] = useState("");
  const [asking, setAsking] = useState(false);
  const queries = useQueryClient();
  const notify = useNotify();
  const currencies = [...new Set(programs.data?.map(({ currency }) => currency))];
  const currency = chosen || (currencies[0] ?? "");
  const make = useMutation({
    mutationFn: (reason: string) => ask(api.POST("/v1/payout-batches", { body: { currency, reason } })),
    onSuccess: () => {
      setAsking(false);
      notify("The file is made. Download it below.", "good");
      void queries.invalidateQueries({ queryKey: payoutBatchesQuery.queryKey });
      void queries.invalidateQueries({ queryKey: ["payout-reviews"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.reset();
    setAsking(true);
  };
  return (
    <>
      <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Make a file">
        <div className="fields">
          <Choice label="Currency" value={currency} onChange={(event) => setChosen(event.target.value)}>
            {currencies.map((code) => (
              <option key={code} value={code}>
                {code}
              </option>
            ))}
          </Choice>
        </div>
        <div className="actions">
          <button type="submit" className="button primary" disabled={currency === ""}>
            Make a file…
          </button>
        </div>
        {programs.isError && <Failure error={programs.error} retry={() => programs.refetch()} />}
      </form>
      {asking && (
        <ReasonDialog
          title={`Put everything in ${currency} into a file?`}
          confirm="Make the file"
          busy={make.isPending}
          refused={make.isError ? asApiError(make.error).detail : null}
          onSay={(reason) => make.mutate(reason)}
          onClose={() => setAsking(false)}
        >
          <p>Every payout in it counts as sent from then on.</p>
        </ReasonDialog>
      )}
    </>
  );
}

type Format = "csv" | "pain001";

function Files({ batches }: { batches: readonly PayoutBatch[] }) {
  const [wanted, setWanted] = useState<{ id: string; format: Format } | null>(null);
  const load = useMutation({
    mutationFn: ({ id, format, reason }: { id: string; format: Format; reason: string }) => {
      const params = { path: { id }, header: { Reason: headerText(reason) } };
      return format === "csv"
        ? askFile(api.GET("/v1/payout-batches/{id}/csv", { params, parseAs: "blob" }), `payouts-${id}.csv`)
        : askFile(
            api.GET("/v1/payout-batches/{id}/pain001", { params, parseAs: "blob" }),
            `payouts-${id}.xml`,
          );
    },
    onSuccess: (file) => {
      save(file);
      setWanted(null);
    },
  });
  const want = (id: string, format: Format) => {
    load.reset();
    setWanted({ id, format });
  };
  return (
    <>
      <section className="table-scroll panel" tabIndex={0} aria-label="Files for the bank">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Made, UTC</th>
              <th scope="col" className="num">
                Payouts
              </th>
              <th scope="col" className="num">
                Amount
              </th>
              <th scope="col">File</th>
              <th scope="col">
                <span className="hidden">Download</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {batches.map((batch) => (
              <tr key={batch.id} data-batch={batch.id}>
                <th scope="row" className="tab">
                  {utcSeconds(batch.created_at)}
                </th>
                <td className="num">{batch.count}</td>
                <td className="num">{moneyIn(batch.amount, batch.currency)}</td>
                <td>
                  <code>{batch.id}</code>
                </td>
                <td className="num">
                  <button type="button" className="button small" onClick={() => want(batch.id, "csv")}>
                    CSV<span className="hidden"> of {utcSeconds(batch.created_at)}</span>
                  </button>{" "}
                  <button type="button" className="button small" onClick={() => want(batch.id, "pain001")}>
                    pain.001<span className="hidden"> of {utcSeconds(batch.created_at)}</span>
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {wanted && (
        <ReasonDialog
          title="Why do you download it?"
          confirm="Download"
          busy={load.isPending}
          refused={load.isError ? asApiError(load.error).detail : null}
          onSay={(reason) => load.mutate({ ...wanted, reason })}
          onClose={() => setWanted(null)}
        >
          <p>
            {wanted.format === "csv" ? "The table" : "The ISO 20022 message"} names traders and their accounts
            at banks.
          </p>
        </ReasonDialog>
      )}
    </>
  );
}
