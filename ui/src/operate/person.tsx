import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { meQuery, personKey, personQuery } from "../api/queries";
import type { Subject } from "../api/types";
import { addressOf, isId } from "../audit/search";
import { wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { ArchiveCheck } from "../parts/archive";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { ReasonDialog } from "./reason";
import { headerText, reasons } from "./reasons";
import { may } from "./roles";

/** One person of the firm: who they are, and what is done with their data. */
export default function PersonPage() {
  const { id = "" } = useParams();
  const { data: me } = useQuery(meQuery);
  useTitle("Person");
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/people">People</Link>
      </p>
      <h1>Person</h1>
      {!isId(id) && <Empty title="This is no id of a person" />}
      {isId(id) && me && <OnePerson key={id} id={id} asker={me.id} />}
    </>
  );
}

function OnePerson({ id, asker }: { id: string; asker: string }) {
  const [reason, setReason] = useState(() => reasons.of(asker, id));
  const [asking, setAsking] = useState(reason === null);
  const person = useQuery({ ...personQuery(id, headerText(reason ?? "")), enabled: reason !== null });
  const unsaid = person.isError && asApiError(person.error).code === "reason_missing";
  if (reason === null || unsaid)
    return (
      <>
        <Empty title="Say why you look">
          <p>Nothing is shown before the reason is written down.</p>
          <button type="button" className="button" onClick={() => setAsking(true)}>
            Say why
          </button>
        </Empty>
        {asking && (
          <ReasonDialog
            title="Why do you look?"
            confirm="Look"
            onSay={(said) => {
              reasons.give(asker, id, said);
              setReason(said);
              setAsking(false);
              if (unsaid) void person.refetch();
            }}
            onClose={() => setAsking(false)}
          />
        )}
      </>
    );
  if (person.isPending) return <Skeleton lines={6} height={28} label="Loading the person" />;
  if (person.isError) return <Failure error={person.error} retry={() => person.refetch()} />;
  return (
    <>
      <Facts person={person.data} reason={reason} />
      <Treatment person={person.data} reason={reason} />
      <Trail id={id} />
    </>
  );
}

function Facts({ person, reason }: { person: Subject; reason: string }) {
  return (
    <>
      <dl className="terms panel entry">
        <Term name="Name">{person.display_name ?? <span className="muted">Erased</span>}</Term>
        <Term name="E-mail">{person.email ?? <span className="muted">Erased</span>}</Term>
        <Term name="Id">
          <code className="break">{person.id}</code>
        </Term>
        <Term name="Roles">{person.roles.map(wordFor).join(", ") || "–"}</Term>
        <Term name="Registered">{utcSeconds(person.registered_at)} UTC</Term>
        <Term name="Region">{person.region ?? "The installation has none"}</Term>
        <Term name="Restriction">
          <Since at={person.restricted_at} word="Restricted" />
        </Term>
        <Term name="Legal hold">
          <Since at={person.held_at} word="Held" />
        </Term>
        {person.erased_at && (
          <Term name="Erased">
            <Since at={person.erased_at} word="Erased" />
          </Term>
        )}
      </dl>
      <p className="fine">You look because of: {reason}. It is in the audit log.</p>
    </>
  );
}

function Since({ at, word }: { at: string | null; word: string }) {
  if (at === null) return <>None</>;
  return (
    <>
      <span className="tag expired">{word}</span> <span className="tab">since {utcSeconds(at)} UTC</span>
    </>
  );
}

function Term({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

type Doing = "restriction" | "hold" | "erasure";

function Treatment({ person, reason }: { person: Subject; reason: string }) {
  const { data: me } = useQuery(meQuery);
  const [doing, setDoing] = useState<Doing | null>(null);
  const [file, setFile] = useState<string | null>(null);
  const queries = useQueryClient();
  const notify = useNotify();
  const params = { path: { id: person.id } };
  const begin = (what: Doing) => {
    act.reset();
    setDoing(what);
  };
  const act = useMutation({
    mutationFn: async ({ what, said }: { what: Doing; said: string }) => {
      const body = { reason: said };
      if (what === "erasure") return ask(api.POST("/v1/people/{id}/erasure", { params, body }));
      if (what === "hold") {
        const on = person.held_at === null;
        return ask(api.PUT("/v1/people/{id}/hold", { params, body: { ...body, on } }));
      }
      const on = person.restricted_at === null;
      return ask(api.PUT("/v1/people/{id}/restriction", { params, body: { ...body, on } }));
    },
    onSuccess: () => {
      setDoing(null);
      notify("It is done, and in the audit log.", "good");
      void queries.invalidateQueries({ queryKey: personKey(person.id) });
    },
  });
  const load = useMutation({
    mutationFn: () => {
      const header = { Reason: headerText(reason) };
      const wanted = { params: { ...params, header }, parseAs: "blob" } as const;
      return askFile(api.GET("/v1/people/{id}/export", wanted), `export-${person.id}.zip`);
    },
    onSuccess: (archive) => {
      save(archive);
      setFile(archive.name);
    },
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
  });
  if (!may(me, "privacy"))
    return <p className="muted">Exports, restrictions, holds and erasures are for the firm's admins.</p>;
  const erased = person.erased_at !== null;
  const held = person.held_at !== null;
  const restricted = person.restricted_at !== null;
  const dialog = {
    before: reason,
    busy: act.isPending,
    refused: act.isError ? asApiError(act.error).detail : null,
    onClose: () => setDoing(null),
  };
  const say = (what: Doing) => (said: string) => act.mutate({ what, said });
  return (
    <section className="treatment">
      <h2>What is done with their data</h2>
      <div className="actions">
        <button type="button" className="button" disabled={load.isPending} onClick={() => load.mutate()}>
          {load.isPending ? "Collecting…" : "Download everything about them"}
        </button>
        {!erased && (
          <>
            <button type="button" className="button" onClick={() => begin("restriction")}>
              {restricted ? "Lift the restriction" : "Restrict"}
            </button>
            <button type="button" className="button" onClick={() => begin("hold")}>
              {held ? "Lift the legal hold" : "Put under a legal hold"}
            </button>
            <button type="button" className="button danger" disabled={held} onClick={() => begin("erasure")}>
              Erase
            </button>
          </>
        )}
      </div>
      {held && !erased && <p className="muted">Nothing of theirs can be erased while the hold lasts.</p>}
      {file && <ArchiveCheck file={file} />}
      {doing === "restriction" && (
        <ReasonDialog
          {...dialog}
          title={restricted ? "Lift the restriction?" : "Restrict what is done with their data?"}
          confirm={restricted ? "Lift it" : "Restrict"}
          onSay={say("restriction")}
        >
          <p>
            {restricted
              ? "Mail is sent again, and boards show their name."
              : "Their data is kept. No mail is sent, and boards show a pseudonym. Trading goes on."}
          </p>
        </ReasonDialog>
      )}
      {doing === "hold" && (
        <ReasonDialog
          {...dialog}
          title={held ? "Lift the legal hold?" : "Put their data under a legal hold?"}
          confirm={held ? "Lift it" : "Hold"}
          onSay={say("hold")}
        >
          <p>
            {held
              ? "From then on they can be erased, by the firm and by themselves."
              : "Nothing of theirs can be erased while it holds, by nobody."}
          </p>
        </ReasonDialog>
      )}
      {doing === "erasure" && (
        <ReasonDialog
          {...dialog}
          title="Erase this person?"
          confirm="Erase for good"
          danger
          typed={{ label: `Type ${person.email ?? person.id}`, text: person.email ?? person.id }}
          onSay={say("erasure")}
        >
          <p>
            Their key is destroyed: nobody reads their name, address or messages again, in backups either.
            What they bought and traded stays under their id. This cannot be undone.
          </p>
        </ReasonDialog>
      )}
    </section>
  );
}

/** What the log has of them. */
function Trail({ id }: { id: string }) {
  const { data: me } = useQuery(meQuery);
  if (!may(me, "audit")) return null;
  return (
    <section>
      <h2>In the audit log</h2>
      <p className="actions">
        <Link className="button" to={addressOf({ object_kind: "person", object: id })}>
          Who looked, and what was done
        </Link>
        <Link className="button" to={addressOf({ actor: id })}>
          What they did
        </Link>
      </p>
    </section>
  );
}
