import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate, useParams } from "react-router-dom";
import { asApiError } from "../api/error";
import { certificateQuery } from "../api/queries";
import type { Certificate } from "../api/types";
import { moneyIn } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";

/** What a certificate proves, for whoever has its code. */
export function CertificatePage() {
  const { code = "" } = useParams();
  useTitle("Certificate");
  return (
    <div className="page">
      <h1>Certificate</h1>
      <p className="lead">
        Every certificate has a verification code. Whoever has it reads here what this firm stands for.
      </p>
      <Find key={code} code={code} />
      {code !== "" && <Found code={code} />}
    </div>
  );
}

function Find({ code }: { code: string }) {
  const [text, setText] = useState(code);
  const [error, setError] = useState<string | null>(null);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const typed = text.replace(/\s+/g, "").toLowerCase();
    if (/^[0-9a-f]{32}$/.test(typed)) navigate(`/certificates/${typed}`);
    else setError("A code has 32 digits and letters from a to f.");
  };
  return (
    <form className="form panel operate-form" noValidate onSubmit={submit} aria-label="Verify a certificate">
      <Field
        label="Verification code"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setError(null);
        }}
        error={error}
        autoComplete="off"
        spellCheck={false}
      />
      <div className="actions">
        <button type="submit" className="button primary">
          Verify
        </button>
      </div>
    </form>
  );
}

function Found({ code }: { code: string }) {
  const found = useQuery(certificateQuery(code));
  if (found.isPending) return <Skeleton lines={4} height={28} label="Looking for the certificate" />;
  if (found.isError)
    return asApiError(found.error).status === 404 ? (
      <Empty title="There is no such certificate">
        <p>This firm has made none with this code. Compare it with the paper.</p>
      </Empty>
    ) : (
      <Failure error={found.error} retry={() => found.refetch()} />
    );
  return <Proven certificate={found.data} />;
}

function Proven({ certificate }: { certificate: Certificate }) {
  const { amount, currency, phase } = certificate;
  return (
    <dl className="terms panel entry">
      <div>
        <dt>Proves</dt>
        <dd>
          <span className="tag passed">Genuine</span>{" "}
          {amount !== null && currency !== null && (
            <>
              A payout of <b className="tab">{moneyIn(amount, currency)}</b>
            </>
          )}
          {phase !== null && <>That the phase “{phase}” was passed</>}
        </dd>
      </div>
      <div>
        <dt>Trader</dt>
        <dd>{certificate.trader}</dd>
      </div>
      <div>
        <dt>Program</dt>
        <dd>{certificate.program}</dd>
      </div>
      <div>
        <dt>Firm</dt>
        <dd>{certificate.firm}</dd>
      </div>
      <div>
        <dt>When</dt>
        <dd className="tab">{utcSeconds(certificate.at)} UTC</dd>
      </div>
    </dl>
  );
}
