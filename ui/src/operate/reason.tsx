import { type FormEvent, type ReactNode, useState } from "react";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { reasonProblem } from "./reasons";

/** Asks why, before somebody's data is shown or decided about. */
export function ReasonDialog({
  title,
  children,
  before = "",
  confirm,
  danger = false,
  typed,
  busy = false,
  refused = null,
  onSay,
  onClose,
}: {
  title: string;
  children?: ReactNode;
  /** What was said before, to be kept or changed. */
  before?: string;
  confirm: string;
  danger?: boolean;
  /** What has to be typed as well, where nothing can be undone. */
  typed?: { label: string; text: string };
  busy?: boolean;
  refused?: string | null;
  onSay: (reason: string) => void;
  onClose: () => void;
}) {
  const [reason, setReason] = useState(before);
  const [written, setWritten] = useState("");
  const [error, setError] = useState<{ reason?: string; typed?: string }>({});
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const why = reasonProblem(reason);
    const other = typed && written.trim() !== typed.text ? `Type exactly: ${typed.text}` : null;
    setError({ ...(why && { reason: why }), ...(other && { typed: other }) });
    if (!why && !other) onSay(reason.trim());
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="form" noValidate onSubmit={submit}>
        {children}
        <Field
          label="Reason"
          value={reason}
          onChange={(event) => {
            setReason(event.target.value);
            setError((held) => ({ ...held, reason: undefined }));
          }}
          error={error.reason}
          autoComplete="off"
          hint="Written into the audit log for good, also after an erasure: a ticket's number, not a name."
        />
        {typed && (
          <Field
            label={typed.label}
            value={written}
            onChange={(event) => {
              setWritten(event.target.value);
              setError((held) => ({ ...held, typed: undefined }));
            }}
            error={error.typed}
            autoComplete="off"
            spellCheck={false}
          />
        )}
        {refused && (
          <p className="form-error" role="alert">
            {refused}
          </p>
        )}
        <div className="actions">
          <button type="submit" className={`button ${danger ? "danger" : "primary"}`} disabled={busy}>
            {busy ? "One moment…" : confirm}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
