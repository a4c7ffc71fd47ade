import { useQuery } from "@tanstack/react-query";
import { receiptKeysQuery } from "../api/queries";
import { archiveCommand } from "../api/signature";
import { Copyable } from "./copyable";

/** How anybody checks an archive of somebody's data. */
export function ArchiveCheck({ file }: { file: string }) {
  const keys = useQuery(receiptKeysQuery);
  const key = keys.data?.[0]?.public_key;
  return (
    <div className="verify" role="status">
      <p>
        <b>{file}</b> is in your downloads: a zip of JSON files with a signature. This line checks that
        nothing in it was changed.
      </p>
      {key && <Copyable text={archiveCommand(file, key)} what="command" />}
    </div>
  );
}
