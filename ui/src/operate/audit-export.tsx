import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { saveText } from "../api/download";
import { asApiError } from "../api/error";
import type { Log } from "../audit/checks";
import type { Memory } from "../audit/memory";
import { logQuery, seenNote } from "../audit/queries";
import { exportCommand, exportFile, trustedFile, wholeIn } from "../audit/search";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Copyable } from "../parts/copyable";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Skeleton } from "../parts/states";
import { AuditNav } from "./audit";
import { NoLog } from "./checkpoints";
import { whole } from "./work";

/** A part of the log as a file that anybody verifies. */
export default function AuditExportPage() {
  useTitle("Export of the audit log");
  // Where the log ended when the page was opened; it goes on growing.
  const log = useQuery({ ...logQuery, refetchInterval: false });
  return (
    <>
      <h1>Export</h1>
      <AuditNav />
      <p className="lead">
        One file with this firm's entries, and of others' the hashes alone. Anybody verifies it without the
        database and without us. That you exported is an entry of the log.
      </p>
      {log.isPending && <Skeleton lines={5} height={28} label="Loading how long the log is" />}
      {log.isError && !log.data && <NoLog error={log.error} retry={() => log.refetch()} />}
      {log.data && <Export log={log.data} memory={log.data.memory} />}
    </>
  );
}

function Export({ log, memory }: { log: Log; memory: Memory | null }) {
  const [size] = useState(log.newest.size);
  const [from, setFrom] = useState("0");
  const [to, setTo] = useState(String(size - 1));
  const [trusted, setTrusted] = useState("");
  const [first, last] = [wholeIn(from), wholeIn(to)];
  const wrong = (value: number | null) =>
    value === null || value >= size ? `Give an entry from 0 to ${whole(size - 1)}.` : null;
  const backward = first !== null && last !== null && first > last ? "It ends before it begins." : null;
  const key = log.served[0]?.key;
  const good = !wrong(first) && !wrong(last) && !backward && first !== null && last !== null && key;
  const query = new URLSearchParams({ from: String(first), to: String(last), ...(trusted && { trusted }) });
  return (
    <>
      <form
        className="form panel operate-form"
        noValidate
        aria-label="Which part of the log"
        onSubmit={(event) => event.preventDefault()}
      >
        <div className="fields">
          <Field
            label="From entry"
            inputMode="numeric"
            value={from}
            onChange={(event) => setFrom(event.target.value)}
            error={wrong(first)}
            autoComplete="off"
          />
          <Field
            label="Up to and with entry"
            inputMode="numeric"
            value={to}
            onChange={(event) => setTo(event.target.value)}
            error={wrong(last) ?? backward}
            autoComplete="off"
          />
          <div className="field">
            <label htmlFor="export-trusted">Shows that it continues</label>
            <select
              id="export-trusted"
              value={trusted}
              onChange={(event) => setTrusted(event.target.value)}
              aria-describedby="export-trusted-hint"
            >
              <option value="">Nothing that was seen before</option>
              {memory?.seen
                .filter((seen) => Number(seen.size) <= size)
                .map((seen) => (
                  <option key={seen.size} value={seen.size}>
                    {whole(Number(seen.size))} entries, {utcSeconds(seen.at)} UTC
                  </option>
                ))}
            </select>
            <p className="field-hint" id="export-trusted-hint">
              A checkpoint that this browser saw
            </p>
          </div>
        </div>
        {good && (
          <div className="actions">
            <a
              className="button primary"
              href={`/v1/audit/export?${query}`}
              download={exportFile(first, last + 1)}
            >
              Download the export
            </a>
            {trusted !== "" && <Trusted size={trusted} memory={memory} />}
          </div>
        )}
      </form>
      {good && (
        <section className="verify">
          <h2>Verify it without us</h2>
          <p>
            Run this line where the file lies. It ends with 0 if the file is what was signed; else it names
            the entry or the checkpoint that is not. Put the key that you keep in the place of ours, and add{" "}
            <code>--witness KEY</code> for each witness that has to have signed.
          </p>
          <Copyable
            text={exportCommand({ first, end: last + 1, key, trusted: trusted || null })}
            what="command"
          />
        </section>
      )}
    </>
  );
}

/** The checkpoint that the export is to continue, as a file for the command. */
function Trusted({ size, memory }: { size: string; memory: Memory | null }) {
  const notify = useNotify();
  const root = memory?.seen.find((seen) => seen.size === size)?.root ?? "";
  const load = useMutation({
    mutationFn: () => seenNote(size, root),
    onSuccess: (note) => saveText(trustedFile(size), note),
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
  });
  return (
    <button type="button" className="button" disabled={load.isPending} onClick={() => load.mutate()}>
      Download that checkpoint
    </button>
  );
}
