import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { asApiError } from "../api/error";
import { Dialog } from "../parts/dialog";
import { useNotify } from "../parts/notify";

/** Does something to the work, says so, and has everything read anew that may have changed by it. */
export function useDo<T, V>(
  act: (what: V) => Promise<T>,
  say: (done: T, what: V) => string,
  reads: readonly string[] = ["operations"],
) {
  const queries = useQueryClient();
  const notify = useNotify();
  return useMutation({
    mutationFn: act,
    onSuccess: (done, what) => notify(say(done, what), "good"),
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
    onSettled: () => queries.invalidateQueries({ queryKey: reads }),
  });
}

/** A button that asks before it does something. */
export function Asking({
  label,
  about,
  title,
  children,
  confirm,
  danger,
  busy,
  onConfirm,
}: {
  label: string;
  about: string;
  title: string;
  children: ReactNode;
  confirm: string;
  danger?: boolean;
  busy: boolean;
  onConfirm: () => void;
}) {
  const [asking, setAsking] = useState(false);
  return (
    <>
      <button
        type="button"
        className={`button small${danger ? " danger" : ""}`}
        disabled={busy}
        onClick={() => setAsking(true)}
      >
        {label}
        <span className="hidden"> {about}</span>
      </button>
      {asking && (
        <Dialog title={title} onClose={() => setAsking(false)}>
          <div className="form">
            <div>{children}</div>
            <div className="actions">
              <button
                type="button"
                className="button primary"
                onClick={() => {
                  setAsking(false);
                  onConfirm();
                }}
              >
                {confirm}
              </button>
              <button type="button" className="button" onClick={() => setAsking(false)}>
                Leave it
              </button>
            </div>
          </div>
        </Dialog>
      )}
    </>
  );
}
