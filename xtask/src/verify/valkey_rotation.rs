//! The queue and a sentinel of `deployment/kubernetes/components/valkey`, from its own scripts and settings: the password of whoever uses it
//! changes between two places without a restart, the secret's directory swapped as a kubelet does it; those of replicas and sentinels
//! by starting one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::manifests::{Overlay, list, overlays, str_at};
use super::sandbox::{Network, Plan, Sandbox};
use super::stand_ins::prepare;
use super::tools::as_root;
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::poll;
use crate::{Failure, Outcome};

const FILES: &str = "deployment/kubernetes/components/valkey/files";
/// As the `StatefulSets` say it.
const USER: (u32, u32) = (999, 1_000);
/// Who is primary is seen, a replica has followed.
const LONGEST: Duration = Duration::from_mins(1);

pub(crate) fn holds() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("valkey-rotation")?;
        rotated(scratch.path())
    };
    checked(all().map_err(failed)?)
}

/// The keys of `valkey-queue` as its templates make them from what lies in the store.
fn rendered(overlay: &Overlay, store: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let secret = overlay.get("ExternalSecret", "valkey-queue").map(|secret| &secret.value);
    let template = secret.and_then(|secret| secret.pointer("/spec/target/template/data")?.as_object());
    let values: Vec<(String, &str)> = secret
        .into_iter()
        .flat_map(|secret| list(secret, "spec.data"))
        .map(|data| (format!("{{{{ .{} }}}}", str_at(data, "secretKey")), str_at(data, "remoteRef.property")))
        .collect();
    let fill = |form: &str| {
        values.iter().fold(form.to_owned(), |text, (place, property)| {
            text.replace(place, store.get(*property).map_or("", String::as_str))
        })
    };
    let forms = template.into_iter().flatten();
    forms.map(|(key, form)| (key.clone(), fill(form.as_str().unwrap_or_default()))).collect()
}

/// Puts the keys where a kubelet puts them: a new directory, and the link to it swapped in one step.
fn mount(dir: &Path, number: u32, keys: &[(String, String)]) -> Outcome {
    let data = dir.join(format!("..{number}"));
    fs::create_dir_all(&data).map_err(Failure::of("make a directory of secrets"))?;
    for (key, text) in keys {
        fs::write(data.join(key), text).map_err(Failure::of(format!("write {key}")))?;
        if !dir.join(key).is_symlink() {
            symlink(format!("..data/{key}"), dir.join(key)).map_err(Failure::of("link a key"))?;
        }
    }
    symlink(format!("..{number}"), dir.join("..new")).map_err(Failure::of("link the secrets"))?;
    fs::rename(dir.join("..new"), dir.join("..data")).map_err(Failure::of("swap the secrets"))
}

struct Site<'a> {
    dir: &'a Path,
    network: Network,
    hosts: Vec<(String, String)>,
}

impl Site<'_> {
    /// A pod: `queue.sh` or `sentinel.sh` with what the `StatefulSet` gives it.
    fn pod(&self, name: &str, script: &str) -> Outcome<Sandbox> {
        let stand = self.dir.join(format!("{name}.stand-in"));
        let _stand_in = prepare("valkey", &stand)?;
        let data = self.dir.join(format!("{name}.data"));
        fs::create_dir_all(&data).map_err(Failure::of("make a volume"))?;
        std::os::unix::fs::chown(&data, Some(USER.0), Some(USER.1))
            .map_err(Failure::of("give a volume away"))?;
        let env = [
            ("SERVICE", if script == "queue.sh" { "queue" } else { "sentinels" }),
            ("SENTINEL", "sentinel-0.sentinels"),
            ("QUEUE", "queue"),
            ("FIRST", "queue-0"),
            ("MIN_REPLICAS", "1"),
            ("QUORUM", "1"),
        ];
        let mut plan = Plan {
            name: name.to_owned(),
            over_usr: Some(stand.join("usr")),
            program: vec!["sh".to_owned(), format!("/etc/valkey/{script}")],
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            user: USER,
            user_name: "valkey".to_owned(),
            read_only: true,
            no_new_privileges: true,
            tmpfs: vec![("/run/valkey".to_owned(), "size=1m,mode=1777".to_owned())],
            hosts: self.hosts.clone(),
            binds: vec![
                (root()?.join(FILES), "/etc/valkey".to_owned(), false),
                (self.dir.join("secrets"), "/run/secrets/valkey".to_owned(), false),
                (data, "/data".to_owned(), true),
            ],
            ..Plan::default()
        };
        let address = self.hosts.iter().find(|(host, _)| host.split('.').next() == Some(name));
        plan.attach(&self.network, address.map_or("", |(_, address)| address));
        let pod = Sandbox::start(self.dir, plan)?;
        let (port, alive) = if script == "queue.sh" { ("6379", "NOAUTH") } else { ("26379", "PONG") };
        let up = poll(LONGEST, || {
            sleep(Duration::from_millis(100));
            said(&pod, &format!("valkey-cli -p {port} ping")).contains(alive).then_some(())
        });
        up.ok_or_else(|| Failure::new(format!("{name} is not up: {}", pod.tail())))?;
        Ok(pod)
    }
}

/// What a line of the shell says in a pod.
fn said(pod: &Sandbox, line: &str) -> String {
    let words = ["sh", "-c", line].map(str::to_owned);
    pod.run_inside(&words).map(|said| said.text).unwrap_or_default()
}

/// What a user is told who comes in with a password and asks something.
fn asked(pod: &Sandbox, user: &str, password: &str, question: &str) -> String {
    said(pod, &format!("printf 'auth {user} {password}\\n{question}\\n' | valkey-cli"))
}

fn comes_in(pod: &Sandbox, user: &str, password: &str) -> bool {
    asked(pod, user, password, "ping").starts_with("OK")
}

fn rotated(dir: &Path) -> Outcome<Vec<String>> {
    let all = overlays().map_err(|findings| Failure::new(format!("{findings:?}")))?;
    let overlay = all.iter().find(|overlay| overlay.name == "production-eu");
    let overlay = overlay.ok_or_else(|| Failure::new("there is no production-eu"))?;
    let mut store = ([
        ("platform-password", "platform1"),
        ("platform-password-next", "unused1"),
        ("replica-password", "replica1"),
        ("replica-password-next", "unused2"),
        ("sentinel-password", "sentinel1"),
        ("sentinel-password-next", "unused3"),
        ("operator-password", "operator1"),
        ("operator-password-next", "unused7"),
    ]
    .map(|(name, password)| (name.to_owned(), password.to_owned())))
    .into_iter()
    .collect::<BTreeMap<_, _>>();
    let secrets = dir.join("secrets");
    let mut mounted = 0_u32;
    let mut mount_next = |store: &BTreeMap<String, String>| {
        mounted = mounted.saturating_add(1);
        mount(&secrets, mounted, &rendered(overlay, store))
    };
    fs::create_dir_all(&secrets).map_err(Failure::of("make a directory of secrets"))?;
    mount_next(&store)?;
    let network = Network::new("valkey", 0, None)?;
    let hosts = [("queue-0.queue", 10), ("queue-1.queue", 11), ("sentinel-0.sentinels", 12)]
        .map(|(name, last)| (name.to_owned(), network.address(last)));
    let site = Site { dir, network, hosts: hosts.into() };
    // The box is named by its pod, which is its host name.
    let first = site.pod("queue-0", "queue.sh")?;
    let second = site.pod("queue-1", "queue.sh")?;
    let sentinel = site.pod("sentinel-0", "sentinel.sh")?;
    let mut faults = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            faults.push(what.to_owned());
        }
    };
    let follows = |primary: &Sandbox, password: &str| {
        poll(LONGEST, || {
            sleep(Duration::from_millis(200));
            asked(primary, "tradesense", password, "info replication").contains("state=online").then_some(())
        })
        .is_some()
    };
    let watched = || {
        poll(LONGEST, || {
            sleep(Duration::from_millis(200));
            let known = said(&sentinel, "valkey-cli -p 26379 sentinel master queue");
            known.contains("\nmaster\n").then_some(())
        })
        .is_some()
    };
    must(follows(&first, "platform1"), "no replica follows");
    must(watched(), "the sentinel does not see the primary");

    // The operator has the rules read again and may do nothing else; a file with a mistake changes nothing.
    for question in ["acl list", "acl setuser x on", "config get *", "get a", "acl whoami"] {
        let answer = asked(&first, "operator", "operator1", question);
        must(answer.contains("NOPERM"), &format!("the operator may {question}: {answer}"));
    }
    let reload = |pod: &Sandbox| said(pod, "sh /etc/valkey/reload.sh");
    // A password comes into the second place, becomes the first, and what it replaced goes.
    for (step, (key, value)) in [
        ("platform-password-next", "platform2"),
        ("platform-password", "platform2"),
        ("platform-password-next", "platform1"),
        ("platform-password-next", "unused4"),
    ]
    .into_iter()
    .enumerate()
    {
        // The operator's own goes the same way at the same time.
        for name in ["platform", "operator"] {
            let _before = store.insert(key.replace("platform", name), value.replace("platform", name));
        }
        if step == 1 {
            continue; // Both are swapped in one change.
        }
        mount_next(&store)?;
        for pod in [&first, &second] {
            let answer = reload(pod);
            must(answer.contains("works by the rules of"), &format!("the rules are not read: {answer}"));
            must(comes_in(pod, "tradesense", "platform2"), "the new password opens nothing");
            let old = comes_in(pod, "tradesense", "platform1");
            must(old == (step < 3), &format!("at step {step} the old password opens: {old}"));
            let old = comes_in(pod, "operator", "operator1");
            must(old == (step < 3), &format!("at step {step} the operator's old password opens: {old}"));
        }
    }
    let mut wrong = rendered(overlay, &store);
    for (_, text) in wrong.iter_mut().filter(|(key, _)| key == "users.acl") {
        text.push_str("user broken +nothing\n");
    }
    mount(&secrets, 1_000, &wrong)?;
    must(reload(&first).contains("refused"), "rules with a mistake are taken");
    must(comes_in(&first, "tradesense", "platform2"), "rules with a mistake changed something");

    // Replicas and sentinels: both passwords are taken, then each is started again, then the old ones go.
    for (key, value) in [("replica-password-next", "replica2"), ("sentinel-password-next", "sentinel2")] {
        let _before = store.insert(key.to_owned(), value.to_owned());
    }
    mount_next(&store)?;
    for pod in [&first, &second] {
        let _said = reload(pod);
    }
    for (key, value) in [
        ("replica-password", "replica2"),
        ("replica-password-next", "replica1"),
        ("sentinel-password", "sentinel2"),
        ("sentinel-password-next", "sentinel1"),
    ] {
        let _before = store.insert(key.to_owned(), value.to_owned());
    }
    mount_next(&store)?;
    let grace = Duration::from_secs(30);
    second.stop(Signal::TERM, grace).map_err(Failure::new)?;
    let second = site.pod("queue-1", "queue.sh")?;
    sentinel.stop(Signal::TERM, grace).map_err(Failure::new)?;
    let sentinel = site.pod("sentinel-0", "sentinel.sh")?;
    let kept = fs::read_to_string(dir.join("sentinel-0.data/sentinel.conf")).unwrap_or_default();
    must(
        kept.contains("sentinel2") && !kept.contains("sentinel1"),
        "a sentinel that starts again keeps its old password",
    );
    for (key, value) in [("replica-password-next", "unused5"), ("sentinel-password-next", "unused6")] {
        let _before = store.insert(key.to_owned(), value.to_owned());
    }
    mount_next(&store)?;
    for pod in [&first, &second] {
        let _said = reload(pod);
        must(!comes_in(pod, "replica", "replica1"), "the old password of replicas opens still");
        must(!comes_in(pod, "sentinel", "sentinel1"), "the old password of sentinels opens still");
    }
    // They come in anew once, with what they have now.
    let _killed = asked(&first, "sentinel", "sentinel2", "client kill type replica");
    must(follows(&first, "platform2"), "the replica does not follow with its new password");
    let seen = poll(LONGEST, || {
        sleep(Duration::from_millis(200));
        said(&sentinel, "valkey-cli -p 26379 sentinel master queue").contains("\nmaster\n").then_some(())
    });
    must(seen.is_some(), "the sentinel does not see the primary with its new password");
    for pod in [second, first, sentinel] {
        let _took = pod.stop(Signal::TERM, grace);
    }
    Ok(faults)
}
