import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { api, askOnce, Intent } from "../api/client";
import { asApiError } from "../api/error";
import { versionQuery } from "../api/queries";
import type { Account } from "../api/types";
import { promotedOnRequest } from "./on-request";

/** Asks for the next phase where the program wants to be asked; nothing elsewhere. */
export function AskForNextPhase({ account }: { account: Account }) {
  const version = useQuery(versionQuery(account.program.version));
  const intent = useRef(new Intent());
  const queries = useQueryClient();
  const promote = useMutation({
    mutationFn: () =>
      askOnce(intent.current, {}, (header) =>
        api.POST("/v1/accounts/{id}/promotion", { params: { path: { id: account.id }, header } }),
      ),
    onSettled: () => queries.invalidateQueries({ queryKey: ["accounts", account.id] }),
  });
  if (account.status !== "active" || !version.data) return null;
  if (!promotedOnRequest(version.data.canonical_json, account.phase.index)) return null;
  const open = account.objectives.filter((objective) => !objective.met);
  return (
    <div className="next-phase">
      <p className="muted">
        {open.length === 0
          ? "Everything is reached. The phase ends when you ask for it."
          : `You ask for the next phase yourself, once ${open.map((objective) => objective.label.toLowerCase()).join(" and ")} ${open.length === 1 ? "is" : "are"} reached.`}
      </p>
      <button
        type="button"
        className="button primary"
        disabled={account.held || open.length > 0 || promote.isPending || promote.isSuccess}
        onClick={() => promote.mutate()}
      >
        {promote.isPending ? "Asking…" : "Ask for the next phase"}
      </button>
      {promote.isError && (
        <p className="form-error" role="alert">
          {asApiError(promote.error).detail}
        </p>
      )}
    </div>
  );
}
