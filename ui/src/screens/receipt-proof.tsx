import { useQuery } from "@tanstack/react-query";
import { receiptProofQuery } from "../audit/queries";
import { Checks } from "../parts/checks";
import { Copyable } from "../parts/copyable";
import { Failure, Skeleton } from "../parts/states";

/** Whether a receipt's verdict is in the audit log, verified in this browser. */
export default function ReceiptProof({
  id,
  number,
  file,
  verify,
}: {
  id: string;
  number: number;
  /** The receipt's file. */
  file: string;
  /** The line that verifies the receipt alone. */
  verify: string;
}) {
  const found = useQuery(receiptProofQuery(id, number));
  if (found.isError && !found.data) return <Failure error={found.error} retry={() => found.refetch()} />;
  if (!found.data) return <Skeleton lines={5} height={28} label="Verifying that it is in the audit log" />;
  const { checks, proven, key } = found.data;
  const proof = file.replace(/\.json$/, "-proof.json");
  return (
    <>
      <Checks
        checks={checks}
        label="What was verified of the log"
        said={{
          holds:
            proven.proof === null
              ? "The verdict is an entry. No checkpoint covers it yet; one does within seconds."
              : "The verdict is in the audit log, and the log is the one that this browser knows.",
          refused: "The audit log has something else than it should.",
          unchecked: "Not everything could be verified here.",
        }}
      />
      {proven.proof !== null && key && (
        <>
          <p>
            <a href={`/v1/accounts/${id}/receipts/${number}/proof`} download={proof}>
              Download the proof
            </a>{" "}
            and keep the log's first key apart from it. This line checks receipt and proof together.
          </p>
          <Copyable text={`${verify} --proof ${proof} --audit-key ${key}`} what="command with the proof" />
        </>
      )}
    </>
  );
}
