import { useMutation, useQuery } from "@tanstack/react-query";
import { useRef } from "react";
import { Link, useParams } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { programQuery } from "../api/queries";
import type { Program } from "../api/types";
import { moneyIn } from "../lib/format";
import { useTitle } from "../lib/title";
import { Failure, Skeleton } from "../parts/states";
import { Phases, Terms } from "./program";

export function Checkout() {
  const { slug = "" } = useParams();
  const program = useQuery(programQuery(slug));
  useTitle("Confirm your purchase");
  return (
    <div className="page">
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link to="/">Programs</Link> <span aria-hidden="true">/</span>{" "}
        <Link to={`/programs/${slug}`}>{program.data?.name ?? slug}</Link> <span aria-hidden="true">/</span>{" "}
        Checkout
      </nav>
      {program.isPending && <Skeleton lines={5} height={48} label="Loading the program" />}
      {program.isError && <Failure error={program.error} retry={() => program.refetch()} />}
      {program.data && <Confirmation program={program.data} />}
    </div>
  );
}

function Confirmation({ program }: { program: Program }) {
  const intent = useRef(new Intent());
  const buy = useMutation({
    mutationFn: () => {
      const body = { program: program.slug, version: program.version };
      return askOnce(intent.current, body, (header) =>
        api.POST("/v1/purchases", { body, params: { header } }),
      );
    },
    // The hosted payment page is outside this application.
    onSuccess: (purchase) => window.location.assign(purchase.checkout_url),
  });
  return (
    <div className="split">
      <div>
        <h1>Confirm your purchase</h1>
        <p className="lead">
          You are buying <strong>{program.name}</strong>. These rules decide over the account; read them
          before you pay.
        </p>
        <Phases phases={program.phases} />
      </div>
      <aside className="panel buy-box" aria-label="Order summary">
        <h2>Summary</h2>
        <Terms program={program} />
        <div className="version">
          <span className="muted">Terms version</span>
          <code>{program.version}</code>
          <p className="fine">
            The account keeps exactly this version. Its hash is on every receipt, and the{" "}
            <Link to={`/terms/${program.version}`}>full terms</Link> stay readable under it.
          </p>
        </div>
        <p className="total">
          <span>To pay</span>
          <strong>{moneyIn(program.fee, program.fee_currency)}</strong>
        </p>
        <button
          type="button"
          className="button primary wide"
          disabled={buy.isPending || buy.isSuccess}
          onClick={() => buy.mutate()}
        >
          {buy.isPending || buy.isSuccess ? "Opening the payment page…" : "Continue to payment"}
        </button>
        {buy.isError && <Failure error={buy.error} retry={() => buy.mutate()} />}
        <p className="fine">You pay on a hosted page. Card data never reaches this site.</p>
      </aside>
    </div>
  );
}
