//! The edge, run: nginx and Envoy with the very files of `deployment/edge` in front of a running platform, asked what the world asks.
//! Both are held to the same list.
//!
//! Changed in the files' copies: which balancers are believed (this machine's address on the network stands for a load balancer), and in
//! one part nginx' switch for providers' lists. The edge runs in a box, so its ports are its own; `api` and `analytics` are addresses of
//! this machine on the box's network.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::sandbox::{Network, Plan, Sandbox};
use super::tools::{as_root, ask, installed, listed, refused, tradesense};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::{Server, command, log_to, now, poll, run};
use crate::{Failure, Outcome};

/// An address that is on no list, for documentation only.
const STRANGER: &str = "203.0.113.5";
const OTHER_STRANGER: &str = "203.0.113.6";
const THIRD_STRANGER: &str = "203.0.113.7";
/// Two people who know nothing of each other.
const NEIGHBOURS: [&str; 2] = ["203.0.113.8", "203.0.113.9"];

/// nginx with `deployment/edge/nginx.conf`.
pub(crate) fn nginx() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let field = Field::new("nginx", 201)?;
        let dir = field.dir();
        let edge = copy_of_edge(dir)?;
        let balancers = format!("set_real_ip_from {};\n", field.network.address(1));
        fs::write(edge.join("allow/balancers.conf"), balancers).map_err(Failure::of("name the balancer"))?;
        let mut faults = Vec::new();
        let running = start_nginx(&field, &edge)?;
        faults.extend(field.look(&running)?);
        // The release's own smoke, from an address that nothing slows down.
        let mut smoke = Command::new(root()?.join("deployment/release/smoke.sh"));
        smoke.arg(format!("https://{}:8443", field.network.address(20)));
        faults.extend(refused(smoke.env("CURL_CA_BUNDLE", dir.join("edge_certificate")))?);
        let reload = || {
            let pid = running.pid().ok_or_else(|| Failure::new("the edge does not run"))?;
            run(Command::new("kill").args(["-HUP", &pid.to_string()]))
        };
        faults.extend(field.another_certificate(reload)?);
        // nginx alone has the switch in a file.
        faults.extend(field.providers("shadow", &[(STRANGER, 404), (OTHER_STRANGER, 404)]));
        drop(running);
        fs::write(edge.join("allow/providers-mode.conf"), "map \"\" $provider_mode { default enforce; }\n")
            .map_err(Failure::of("enforce the list"))?;
        fs::write(edge.join("allow/providers.conf"), format!("{OTHER_STRANGER}/32 1;\n"))
            .map_err(Failure::of("list a provider"))?;
        let running = start_nginx(&field, &edge)?;
        faults.extend(field.providers("enforce", &[(STRANGER, 403), (OTHER_STRANGER, 404)]));
        drop(running);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// Envoy with `deployment/edge/envoy.yaml`.
pub(crate) fn envoy() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let field = Field::new("envoy", 203)?;
        let dir = field.dir();
        let text = fs::read_to_string(root()?.join("deployment/edge/envoy.yaml"))
            .map_err(Failure::of("read envoy.yaml"))?;
        let balancer = "direct_source_prefix_ranges: [{address_prefix: 127.0.0.1,";
        if !text.contains(balancer) {
            return Ok(vec!["envoy.yaml believes nobody's PROXY protocol from 127.0.0.1".to_owned()]);
        }
        let text = text.replace(
            balancer,
            &format!("direct_source_prefix_ranges: [{{address_prefix: {},", field.network.address(1)),
        );
        let config = dir.join("envoy.yaml");
        fs::write(&config, text).map_err(Failure::of("write envoy.yaml"))?;
        let program = find_envoy()?;
        let mut plan = field.plan(&[
            "/opt/envoy",
            "--config-path",
            "/etc/envoy.yaml",
            "--log-level",
            "warning",
            "--concurrency",
            "1",
            "--base-id",
            "77",
        ]);
        plan.binds.push((program, "/opt/envoy".to_owned(), false));
        plan.binds.push((config, "/etc/envoy.yaml".to_owned(), false));
        let certificate = root()?.join("deployment/edge/envoy-certificate.yaml");
        plan.binds.push((certificate, "/etc/envoy-certificate.yaml".to_owned(), false));
        let mounted = dir.join("mounted");
        field.mount(&mounted, "first")?;
        plan.binds.push((mounted.clone(), "/run/edge".to_owned(), false));
        let running = Sandbox::start(dir, plan)?;
        let mut faults = field.look(&running)?;
        faults.extend(field.another_certificate(|| field.mount(&mounted, "second"))?);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// The program inside the wheel.
fn find_envoy() -> Outcome<PathBuf> {
    let script = listed("envoy")?;
    let lib =
        script.parent().and_then(Path::parent).map(|environment| environment.join("lib")).unwrap_or_default();
    let found = ask(Command::new("find").arg(lib).args(["-type", "f", "-name", "envoy*", "-size", "+20M"]))?;
    found.text.lines().next().map(PathBuf::from).ok_or_else(|| Failure::new("the wheel holds no Envoy"))
}

fn copy_of_edge(dir: &Path) -> Outcome<PathBuf> {
    let edge = dir.join("edge");
    run(Command::new("cp").arg("-r").arg(root()?.join("deployment/edge")).arg(&edge))?;
    Ok(edge)
}

fn start_nginx(field: &Field, edge: &Path) -> Outcome<Sandbox> {
    installed("nginx", "nginx-light")?;
    let mut plan = field.plan(&["nginx", "-c", "/etc/nginx/edge/nginx.conf", "-g", "daemon off;"]);
    plan.binds.push((edge.to_path_buf(), "/etc/nginx/edge".to_owned(), false));
    Sandbox::start(field.dir(), plan)
}

/// A platform that runs, a network with strangers on it, and a service that says what it was asked.
struct Field {
    // First, so that it is stopped before the directory below it goes.
    _platform: Server,
    scratch: Scratch,
    network: Network,
    echo: Echo,
}

impl Field {
    fn new(name: &str, number: u8) -> Outcome<Self> {
        as_root()?;
        let scratch = Scratch::new(&format!("edge-{name}"))?;
        let dir = scratch.path();
        let network = Network::new(name, number, None)?;
        for address in [network.address(10), network.address(11)] {
            network.add_host(&format!("{address}/24"))?;
        }
        for stranger in [STRANGER, OTHER_STRANGER, THIRD_STRANGER].into_iter().chain(NEIGHBOURS) {
            network.add_host(&format!("{stranger}/32"))?;
        }
        certificate(dir, &network.address(20))?;
        let echo = Echo::start(&format!("{}:8001", network.address(11)))?;
        let log = dir.join("up.log");
        let mut up = command(tradesense()?, dir);
        up.args([
            "up",
            "--host",
            &network.address(10),
            "--port",
            "8000",
            "--analytics-port",
            "8001",
            "--ops-port",
            "8009",
            "--webhooks-port",
            "8010",
            "--edges",
            &format!("{}/32", network.address(20)),
            "--data-dir",
        ]);
        up.arg(dir.join("data")).env("TRADESENSE_LOG", "warn");
        log_to(&mut up, &log)?;
        let mut platform = Server::start(&mut up)?;
        let ready = format!("http://{}:8000/health/ready", network.address(10));
        let serves = poll(Duration::from_mins(3), || {
            if platform.ended() {
                return Some(false);
            }
            let answer = Answer::of(&[&ready]).ok()?;
            (answer.status == 200).then_some(true)
        });
        if serves != Some(true) {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(format!("`tradesense up` did not become ready: {said}")));
        }
        Ok(Self { _platform: platform, scratch, network, echo })
    }

    fn dir(&self) -> &Path {
        self.scratch.path()
    }

    fn plan(&self, program: &[&str]) -> Plan {
        let mut plan = Plan {
            name: "edge".to_owned(),
            program: program.iter().map(|word| (*word).to_owned()).collect(),
            user: (101, 101),
            user_name: "nginx".to_owned(),
            read_only: true,
            no_new_privileges: true,
            tmpfs: vec![("/tmp".to_owned(), "mode=1777".to_owned())],
            hosts: vec![
                ("api".to_owned(), self.network.address(10)),
                ("analytics".to_owned(), self.network.address(11)),
            ],
            binds: vec![
                (self.dir().join("edge_certificate"), "/run/secrets/edge_certificate".to_owned(), false),
                (self.dir().join("edge_key"), "/run/secrets/edge_key".to_owned(), false),
            ],
            ..Plan::default()
        };
        plan.attach(&self.network, &self.network.address(20));
        plan
    }

    /// An address of the edge.
    fn url(&self, port: u16, path: &str) -> String {
        let scheme = if port == 8080 { "http" } else { "https" };
        format!("{scheme}://{}:{port}{path}", self.network.address(20))
    }

    fn from(&self, who: &str, port: u16, path: &str, more: &[&str]) -> Outcome<Answer> {
        let url = self.url(port, path);
        let own = ["--interface", who, "--path-as-is"];
        Answer::of(&[&own, more, &[url.as_str()]].concat())
    }

    fn socket(&self, port: u16) -> SocketAddr {
        format!("{}:{port}", self.network.address(20))
            .parse()
            .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Everything that both must do.
    fn look(&self, running: &Sandbox) -> Outcome<Vec<String>> {
        let firm = self.network.address(1);
        let up = poll(Duration::from_secs(20), || {
            let answer = self.from(&firm, 8443, "/v1/firm", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        if up.is_none() {
            return Ok(vec![format!("the edge does not serve; it said\n    {}", running.tail())]);
        }
        let mut faults = Vec::new();
        let mut must = |good: bool, what: String| {
            if !good {
                faults.push(what);
            }
        };

        // Encryption.
        let plain = self.from(STRANGER, 8080, "/v1/firm?a=b", &[])?;
        must(
            plain.status == 308
                && plain
                    .header("location")
                    .is_some_and(|to| to.starts_with("https://") && to.ends_with("/v1/firm?a=b")),
            format!("plain HTTP: {plain:?}"),
        );
        must(
            plain.header("set-cookie").is_none() && !plain.text.contains("Meridian"),
            "plain HTTP says something".to_owned(),
        );
        let wrong = Answer::of(&[
            "--interface",
            STRANGER,
            &format!("http://{}:8443/v1/firm", self.network.address(20)),
        ])?;
        must(
            wrong.status == 308 && wrong.header("location").is_some_and(|to| to.starts_with("https://")),
            format!("HTTP at the port of HTTPS: {wrong:?}"),
        );
        let old =
            self.from(STRANGER, 8443, "/v1/firm", &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"])?;
        must(old.status == 0, format!("TLS 1.1 is spoken: {old:?}"));

        // Headers, of the API's own answers and of the edge's.
        let firm_page = self.from(STRANGER, 8443, "/v1/firm", &[])?;
        must(firm_page.status == 200, format!("the API through the edge: {firm_page:?}"));
        must(
            firm_page.header("x-request-id").is_some(),
            "the API's own answer does not come through".to_owned(),
        );
        let policies = firm_page.headers("content-security-policy");
        must(
            policies.len() == 1 && policies.iter().all(|policy| policy.contains("script-src 'self'")),
            format!("the API's policy became {policies:?}"),
        );
        let closed = self.from(STRANGER, 8443, "/metrics", &[])?;
        for answer in [&firm_page, &closed] {
            must(
                answer.headers("strict-transport-security").len() == 1
                    && answer
                        .header("strict-transport-security")
                        .is_some_and(|value| value.contains("max-age=63072000")),
                format!("no HSTS: {answer:?}"),
            );
            must(
                answer.headers("x-content-type-options") == ["nosniff"]
                    && answer.headers("x-frame-options") == ["DENY"],
                format!("sniffing or framing: {answer:?}"),
            );
            must(
                answer
                    .header("server")
                    .is_none_or(|server| !server.chars().any(|letter| letter.is_ascii_digit())),
                format!("it says its version: {answer:?}"),
            );
        }
        must(
            closed
                .headers("content-security-policy")
                .iter()
                .any(|policy| policy.contains("default-src 'none'")),
            format!("the edge's own answer has no policy: {closed:?}"),
        );

        // Closed doors, however they are written.
        for path in [
            "/metrics",
            "/metrics/",
            "//metrics",
            "/%6detrics",
            "/./metrics",
            "/v1/../metrics",
            "/health/live",
            "/health/ready",
            "/debug/pprof",
            "/v1/mail/bounces/token",
            "/webhooks/demo/stripe",
            "/v1//mail/bounces/token",
        ] {
            let answer = self.from(STRANGER, 8443, path, &[])?;
            must(
                [400, 403, 404, 307, 308].contains(&answer.status)
                    && !answer.text.contains("tradesense_")
                    && answer.header("x-request-id").is_none(),
                format!("{path} is open: {answer:?}"),
            );
        }

        // Who may ask as the firm, whatever is claimed.
        let claims: [&[&str]; 5] = [
            &[],
            &["--header", "x-forwarded-for: 10.0.0.1"],
            &["--header", "x-forwarded-for: 10.0.0.1, 127.0.0.1"],
            &["--header", "forwarded: for=10.0.0.1"],
            &["--header", "x-real-ip: 10.0.0.1", "--header", "x-envoy-external-address: 10.0.0.1"],
        ];
        for claim in claims {
            for path in ["/v1/operations", "/v1/people/find", "/operate", "/v1/audit/entries"] {
                let answer = self.from(STRANGER, 8443, path, claim)?;
                must(
                    answer.status == 403 && answer.header("x-request-id").is_none(),
                    format!("{path} with {claim:?} from a stranger: {answer:?}"),
                );
            }
        }
        let inside = self.from(&firm, 8443, "/v1/operations", &[])?;
        must(
            inside.status == 401 && inside.header("x-request-id").is_some(),
            format!("the firm's own address: {inside:?}"),
        );
        let traversal = self.from(STRANGER, 8443, "/v1/firm/../operations", &[])?;
        must(
            traversal.status == 403 || traversal.status == 400,
            format!("around the list by dots: {traversal:?}"),
        );
        let slashes = self.from(STRANGER, 8443, "/v1//operations", &[])?;
        must(
            slashes.header("x-request-id").is_none() || slashes.status == 404,
            format!("around the list by slashes: {slashes:?}"),
        );

        // What is passed on of an address.
        for claim in claims {
            let answer = self.from(STRANGER, 8443, "/v1/analytics/echo", claim)?;
            let told = answer.text.to_ascii_lowercase();
            let forwarded: Vec<&str> = told
                .lines()
                .filter_map(|line| line.strip_prefix("x-forwarded-for:"))
                .map(str::trim)
                .collect();
            // Envoy appends the true address last; whoever trusts no hop reads that one.
            must(
                forwarded.len() == 1 && forwarded.iter().all(|value| value.ends_with(STRANGER)),
                format!("told of {claim:?}: {forwarded:?}"),
            );
            must(
                !told.lines().any(|line| {
                    line.starts_with("forwarded:")
                        || (line.starts_with("x-real-ip:") && line.contains("10.0.0.1"))
                }),
                format!("a claim is passed on: {told}"),
            );
            must(
                told.lines().any(|line| line == "x-forwarded-proto: https"),
                "it does not say that it was HTTPS".to_owned(),
            );
        }

        // PROXY protocol: a balancer is believed, a stranger is not.
        let relay = Relay::start(self.socket(8453), &firm, "10.9.9.9")?;
        let balanced = Answer::of(&[
            "--resolve",
            &format!("edge:{}:127.0.0.1", relay.port),
            &format!("https://edge:{}/v1/operations", relay.port),
        ])?;
        must(balanced.status == 401, format!("a balancer says 10.9.9.9: {balanced:?}"));
        let relay = Relay::start(self.socket(8453), &firm, STRANGER)?;
        let balanced = Answer::of(&[
            "--resolve",
            &format!("edge:{}:127.0.0.1", relay.port),
            &format!("https://edge:{}/v1/operations", relay.port),
        ])?;
        must(balanced.status == 403, format!("a balancer says it is a stranger: {balanced:?}"));
        let relay = Relay::start(self.socket(8453), STRANGER, "10.9.9.9")?;
        let forged = Answer::of(&[
            "--resolve",
            &format!("edge:{}:127.0.0.1", relay.port),
            &format!("https://edge:{}/v1/operations", relay.port),
        ])?;
        must(
            forged.status == 403 || forged.status == 0,
            format!("a stranger speaks as a balancer: {forged:?}"),
        );
        let bare = self.from(STRANGER, 8453, "/v1/firm", &[])?;
        must(bare.status == 0, format!("the balancer's port without its protocol: {bare:?}"));

        // The API counts people and not the edge: who guesses passwords shuts out nobody else, whatever they claim to be.
        let [guesser, neighbour] = NEIGHBOURS;
        let guess = |who: &str, claim: &[&str]| {
            let login = r#"{"email": "somebody@edge.example", "password": "a guess that is wrong"}"#;
            let sent = ["--header", "content-type: application/json", "--data", login];
            self.from(who, 8443, "/v1/auth/sign-in", &[&sent, claim].concat())
        };
        let mut answers = Vec::new();
        // One more than the API takes, and as many as the edge lets through at once.
        for number in 0..11 {
            let claim = format!("x-forwarded-for: 198.51.100.{number}");
            answers.push(guess(guesser, &["--header", &claim])?);
        }
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let refused = answers
            .last()
            .is_some_and(|answer| answer.status == 429 && answer.header("x-request-id").is_some());
        must(
            refused && statuses.iter().filter(|status| **status == 401).count() == 10,
            format!("eleven guesses from one address: {statuses:?}"),
        );
        let other = guess(neighbour, &[])?;
        must(other.status == 401, format!("a guess from another address after them: {other:?}"));

        // Sizes.
        let file = self.dir().join("large");
        fs::write(&file, vec![b'x'; 70_000]).map_err(Failure::of("write a large body"))?;
        let data = format!("@{}", file.display());
        let large = ["--header", "content-type: application/json", "--data-binary", data.as_str()];
        let answer = self.from(STRANGER, 8443, "/v1/purchases", &large)?;
        must(answer.status == 413 && answer.header("x-request-id").is_none(), format!("70 kB: {answer:?}"));
        must(
            answer.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"))
                && answer.text.contains("body_too_large"),
            format!("413 is no problem document: {answer:?}"),
        );
        let chunked = self.from(
            STRANGER,
            8443,
            "/v1/purchases",
            &[&large[..], &["--http1.1", "--header", "transfer-encoding: chunked"]].concat(),
        )?;
        must(chunked.status == 413, format!("70 kB in pieces: {chunked:?}"));
        let header = format!("x-long: {}", "y".repeat(40_000));
        let long = self.from(STRANGER, 8443, "/v1/firm", &["--header", &header])?;
        must([400, 431, 0, 414].contains(&long.status), format!("40 kB of header: {long:?}"));

        // Providers' door.
        let answer = self.from(STRANGER, 8444, "/v1/mail/bounces/0123456789abcdef", &["--data", "{}"])?;
        must(
            answer.header("x-request-id").is_some(),
            format!("a provider does not reach the API: {answer:?}"),
        );
        let answer = self.from(STRANGER, 8444, "/v1/mail/bounces/0123456789abcdef", &large)?;
        must(
            answer.header("x-request-id").is_some(),
            format!("70 kB of a provider do not reach the API: {answer:?}"),
        );
        for (path, how) in [
            ("/v1/mail/bounces/x", &[][..]),
            ("/v1/firm", &["--data", "{}"]),
            ("/v1/operations", &[]),
            ("/metrics", &[]),
            ("/", &[]),
        ] {
            let answer = self.from(&firm, 8444, path, how)?;
            must(
                [403, 404].contains(&answer.status) && answer.header("x-request-id").is_none(),
                format!("the providers' door lets {path} in: {answer:?}"),
            );
        }

        // Rates: one address is slowed down, another is not, and the door for passwords is narrower.
        let many = self.flood(STRANGER, "/v1/firm", 400)?;
        let refused = many.iter().filter(|answer| answer.status == 429).count();
        let served = many.iter().filter(|answer| answer.status == 200).count();
        must(
            refused > 20 && (100..400).contains(&served),
            format!("of 400 at once {served} were served and {refused} slowed down"),
        );
        let last = many.iter().find(|answer| answer.status == 429);
        must(
            last.is_some_and(|answer| {
                answer.header("retry-after") == Some("1")
                    && answer.header("ratelimit-policy").is_some()
                    && answer.headers("strict-transport-security").len() == 1
                    && answer.text.contains("too_many_requests")
                    && answer
                        .header("content-type")
                        .is_some_and(|kind| kind.starts_with("application/problem+json"))
            }),
            format!("429 without what it must say: {last:?}"),
        );
        let other = self.from(OTHER_STRANGER, 8443, "/v1/firm", &[])?;
        must(other.status == 200, format!("another address is slowed down too: {other:?}"));
        let again = poll(Duration::from_secs(10), || {
            (self.from(STRANGER, 8443, "/v1/firm", &[]).ok()?.status == 200).then_some(())
        });
        must(again.is_some(), "an address is slowed down for good".to_owned());
        let spoofed = self.flood_as(THIRD_STRANGER, "/v1/auth/sign-in", 30)?;
        let limited = spoofed
            .iter()
            .filter(|answer| answer.status == 429 && answer.header("x-request-id").is_none())
            .count();
        must((5..=19).contains(&limited), format!("of 30 attempts {limited} were slowed down"));

        // Slowness.
        for (port, what) in [(8080, "a head"), (8443, "a handshake")] {
            let took = slow_head(self.socket(port))?;
            must(
                took.is_some_and(|took| took < Duration::from_secs(9)),
                format!("{what} that does not come is waited for {took:?}"),
            );
        }
        let began = now();
        let body = slow_body(&self.network.address(20))?;
        let took = began.elapsed();
        must(
            took < Duration::from_secs(25) && !body.contains("x-request-id"),
            format!("a body that does not come is waited for {took:?}: {body}"),
        );
        let held: Vec<TcpStream> = (0..200)
            .filter_map(|_| {
                let mut stream =
                    TcpStream::connect_timeout(&self.socket(8080), Duration::from_secs(2)).ok()?;
                stream.write_all(b"GET / HTTP/1.1\r\nx-").ok()?;
                Some(stream)
            })
            .collect();
        let meanwhile = self.from(OTHER_STRANGER, 8443, "/v1/firm", &[])?;
        must(
            held.len() == 200 && meanwhile.status == 200,
            format!("beside {} slow connections: {meanwhile:?}", held.len()),
        );
        drop(held);
        println!(
            "  slow body given up after {} ms; {served} of 400 served, {refused} slowed down",
            took.as_millis()
        );
        must(self.echo.asked(), "nobody reached the service that says what it was asked".to_owned());
        Ok(faults)
    }

    /// What a webhook answers from these addresses: 404 is the API's own, for an unknown token.
    fn providers(&self, mode: &str, wanted: &[(&str, u16)]) -> Vec<String> {
        let path = "/v1/mail/bounces/0123456789abcdef";
        let mut faults = Vec::new();
        for (who, status) in wanted {
            let answer = poll(Duration::from_secs(10), || {
                self.from(who, 8444, path, &["--data", "{}"]).ok().filter(|answer| answer.status != 0)
            });
            let api = answer.as_ref().is_some_and(|answer| answer.header("x-request-id").is_some());
            let is = answer.as_ref().map_or(0, |answer| answer.status);
            let good = if *status == 403 { is == 403 && !api } else { api };
            if !good {
                faults.push(format!("in {mode}, {who}: {answer:?}"));
            }
            // What providers of money tell goes to the listener that is theirs.
            let told = self.from(who, 8444, "/webhooks/nobody/stripe", &["--data", "{}"]).ok();
            let heard = told.as_ref().is_some_and(|answer| answer.text.contains("Nobody listens here."));
            if heard == (*status == 403) {
                faults.push(format!("in {mode}, {who} about money: {told:?}"));
            }
        }
        faults
    }

    /// As many requests at once, over a few connections.
    fn flood(&self, who: &str, path: &str, times: usize) -> Outcome<Vec<Answer>> {
        let url = format!("{}?n=[1-{times}]", self.url(8443, path));
        let dir = self.dir().join("flood");
        let _absent = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(Failure::of("make room for answers"))?;
        // A file for each: on one output answers at once would mix.
        let each = format!("{}/#1", dir.display());
        Answer::all(&["--interface", who, "--parallel", "--parallel-max", "20", "--output", &each, &url])?;
        let files = fs::read_dir(&dir).map_err(Failure::of("list answers"))?;
        let read =
            |entry: fs::DirEntry| Answer::read(&fs::read_to_string(entry.path()).ok()?).into_iter().next();
        Ok(files.flatten().filter_map(read).collect())
    }

    /// Lays the certificate into a directory as the kubelet does: the files are links through a link that is moved into place.
    fn mount(&self, to: &Path, version: &str) -> Outcome {
        let files = to.join(version);
        fs::create_dir_all(&files).map_err(Failure::of("make room for the certificate"))?;
        for (from, name) in [("edge_certificate", "tls.crt"), ("edge_key", "tls.key")] {
            fs::copy(self.dir().join(from), files.join(name)).map_err(Failure::of("lay the certificate"))?;
            let (link, target) = (to.join(name), Path::new("..data").join(name));
            if !link.is_symlink() {
                symlink(target, link).map_err(Failure::of("name the certificate"))?;
            }
        }
        symlink(version, to.join("..data_tmp")).map_err(Failure::of("name the certificate"))?;
        fs::rename(to.join("..data_tmp"), to.join("..data")).map_err(Failure::of("move the certificate"))
    }

    /// A new certificate while somebody asks, by new connections and by one that is kept: nobody is turned away, and then nobody is
    /// shown the old one.
    fn another_certificate(&self, reload: impl FnOnce() -> Outcome) -> Outcome<Vec<String>> {
        let firm = self.network.address(1);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let anew = scope.spawn(|| {
                let mut statuses = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    statuses.push(self.from(&firm, 8443, "/v1/firm", &[]).map_or(0, |answer| answer.status));
                    thread::sleep(Duration::from_millis(20));
                }
                statuses
            });
            let kept = scope.spawn(|| {
                let url = format!("{}?n=[1-160]", self.url(8443, "/v1/firm"));
                let options = ["--interface", &firm, "--rate", "20/s", &url];
                let answers = Answer::all(&options).unwrap_or_default();
                answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
            });
            let changing = || -> Outcome<(bool, Duration)> {
                // Some are under way with the old one.
                thread::sleep(Duration::from_secs(2));
                certificate(self.dir(), &self.network.address(20))?;
                let since = now();
                reload()?;
                let pem = fs::read_to_string(self.dir().join("edge_certificate"))
                    .map_err(Failure::of("read the certificate"))?;
                let shown = poll(Duration::from_secs(20), || {
                    let shown = self.certificate_shown().ok()?;
                    shown.contains(pem.trim()).then_some(())
                });
                Ok((shown.is_some(), since.elapsed()))
            };
            let changed = changing();
            let kept = kept.join().unwrap_or_default();
            stop.store(true, Ordering::Relaxed);
            let anew = anew.join().unwrap_or_default();
            let (shown, after) = changed?;
            let failed = anew.iter().chain(&kept).filter(|status| **status != 200).count();
            println!(
                "  another certificate: shown after {} ms; {} answers to new connections and {} on one that is kept, {failed} failed",
                after.as_millis(),
                anew.len(),
                kept.len()
            );
            let mut faults = Vec::new();
            if !shown {
                faults.push("the edge still shows the certificate before".to_owned());
            }
            if failed > 0 || anew.len() < 50 || kept.len() != 160 {
                faults.push(format!("while the certificate was changed: {anew:?} {kept:?}"));
            }
            Ok(faults)
        })
    }

    /// What the edge shows to whoever connects, as text.
    fn certificate_shown(&self) -> Outcome<String> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &self.socket(8443).to_string()]).stdin(Stdio::null());
        let said = openssl.output().map_err(Failure::of("run openssl"))?;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Attempts to sign in, each said to come from somewhere else.
    fn flood_as(&self, who: &str, path: &str, times: usize) -> Outcome<Vec<Answer>> {
        let mut answers = Vec::new();
        for number in 0..times {
            let claim = format!("x-forwarded-for: 198.51.100.{number}");
            // No password at all: what is refused at once leaves the narrow door no time to open again.
            let body = "{}";
            answers.push(self.from(
                who,
                8443,
                path,
                &["--header", &claim, "--header", "content-type: application/json", "--data", body],
            )?);
        }
        Ok(answers)
    }
}

fn certificate(dir: &Path, address: &str) -> Outcome {
    let (key, certificate) = (dir.join("edge_key"), dir.join("edge_certificate"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=edge",
    ]);
    openssl.args(["-addext", &format!("subjectAltName=IP:{address}")]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).stderr(Stdio::null());
    run(&mut openssl)?;
    run(Command::new("chmod").arg("0444").arg(&key).arg(&certificate))
}

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

impl Answer {
    fn of(args: &[&str]) -> Outcome<Self> {
        let all = Self::all(args)?;
        // Nothing at all is an answer too: the connection was closed.
        Ok(all.into_iter().next().unwrap_or(Self { status: 0, headers: Vec::new(), text: String::new() }))
    }

    fn all(args: &[&str]) -> Outcome<Vec<Self>> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--include", "--max-time", "20"]).args(args);
        let said = curl.output().map_err(Failure::of("run curl"))?;
        Ok(Self::read(&String::from_utf8_lossy(&said.stdout)))
    }

    /// Answers as curl prints them, one behind the other; heads of other answers than the last (100) are left out.
    fn read(text: &str) -> Vec<Self> {
        let mut answers: Vec<Self> = Vec::new();
        let mut in_head = false;
        for line in text.lines() {
            // The next head may stand behind the last word of a body that ends without a line feed.
            let at = line.find("HTTP/2 ").or_else(|| line.find("HTTP/1.1 ")).filter(|_| !in_head);
            if let Some(at) = at {
                let (before, head) = line.split_at(at);
                if let Some(last) = answers.last_mut() {
                    last.text.push_str(before);
                }
                let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
                if status != 100 {
                    answers.push(Self { status, headers: Vec::new(), text: String::new() });
                }
                in_head = true;
            } else if let Some(last) = answers.last_mut() {
                if in_head && line.trim().is_empty() {
                    in_head = false;
                } else if in_head {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    last.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                } else {
                    last.text.push_str(line);
                    last.text.push('\n');
                }
            } else {
                in_head = in_head && !line.trim().is_empty();
            }
        }
        answers
    }

    fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }
}

/// Answers every request with the head that it came with.
struct Echo {
    asked: Arc<AtomicBool>,
}

impl Echo {
    fn start(address: &str) -> Outcome<Self> {
        let listener = TcpListener::bind(address).map_err(Failure::of(format!("listen on {address}")))?;
        let asked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0_u8; 1];
                    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                        head.extend_from_slice(&byte);
                    }
                    seen.store(true, Ordering::SeqCst);
                    let text = String::from_utf8_lossy(&head).replace("\r\n", "\n");
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                        text.len()
                    );
                    // Whoever asked may have left.
                    let _sent = stream.write_all(answer.as_bytes());
                });
            }
        });
        Ok(Self { asked })
    }

    fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Speaks PROXY protocol in front of one connection, from an address of this machine.
struct Relay {
    port: u16,
}

impl Relay {
    fn start(to: SocketAddr, from: &str, client: &str) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::of("listen for a relay"))?;
        let port = listener.local_addr().map_err(Failure::of("know the relay's port"))?.port();
        let line = format!("PROXY TCP4 {client} {} 4000 {}\r\n", to.ip(), to.port());
        // The library has no way of choosing where a connection comes from; this program has.
        let mut nc = Command::new("python3");
        nc.args(["-c", RELAY, from, &to.ip().to_string(), &to.port().to_string(), &line]);
        thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let Ok(mut child) = nc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else { return };
            if let (Some(mut to), Some(mut from), Ok(mut read)) =
                (child.stdin.take(), child.stdout.take(), stream.try_clone())
            {
                let mut write = stream;
                thread::spawn(move || {
                    let _copied = pump(&mut read, &mut to);
                });
                let _copied = pump(&mut from, &mut write);
                let _closed = write.shutdown(Shutdown::Both);
            }
            drop(child.kill());
            drop(child.wait());
        });
        Ok(Self { port })
    }
}

/// Copies what is there as it comes.
fn pump(from: &mut impl std::io::Read, to: &mut impl std::io::Write) -> std::io::Result<()> {
    let mut buffer = [0_u8; 4_096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}

const RELAY: &str = "
import os, socket, sys, threading
made = socket.create_connection((sys.argv[2], int(sys.argv[3])), 5, (sys.argv[1], 0))
made.settimeout(None)
made.sendall(sys.argv[4].encode())
def out():
    try:
        while part := made.recv(4096):
            os.write(1, part)
    except OSError:
        pass
    os._exit(0)
threading.Thread(target=out, daemon=True).start()
try:
    while part := os.read(0, 4096):
        made.sendall(part)
except OSError:
    os._exit(0)
";

/// How long a connection is kept that says a letter a second; `None` if for longer than 20 s.
fn slow_head(to: SocketAddr) -> Outcome<Option<Duration>> {
    let began = now();
    let mut stream =
        TcpStream::connect_timeout(&to, Duration::from_secs(5)).map_err(Failure::of("connect slowly"))?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).map_err(Failure::of("wait a second"))?;
    // At the port of TLS this is the beginning of a handshake.
    let mut letters: &[u8] = if to.port() == 8080 {
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: bcdefghijklmnop"
    } else {
        &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7]
    };
    let mut buffer = [0_u8; 512];
    while began.elapsed() < Duration::from_secs(20) {
        if let Some((letter, rest)) = letters.split_first() {
            letters = rest;
            if stream.write_all(&[*letter]).is_err() {
                return Ok(Some(began.elapsed()));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Some(began.elapsed())),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return Ok(Some(began.elapsed())),
        }
    }
    Ok(None)
}

/// What is said to whoever promises a body and sends none.
fn slow_body(edge: &str) -> Outcome<String> {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-ign_eof", "-connect", &format!("{edge}:8443")]);
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::of("run openssl"))?;
    let mut to = child.stdin.take().ok_or_else(|| Failure::new("openssl has no input"))?;
    to.write_all(b"POST /v1/purchases HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
        .map_err(Failure::of("promise a body"))?;
    let ended = poll(Duration::from_secs(40), || child.try_wait().ok().flatten());
    drop(to);
    if ended.is_none() {
        drop(child.kill());
    }
    let out = child.wait_with_output().map_err(Failure::of("wait for openssl"))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_as_curl_prints_them() {
        let text = "HTTP/2 200 \r\na: 1\r\nA: 2\r\n\r\nbodyHTTP/1.1 429 Too Many\r\nretry-after: 1\r\n\r\n{}\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 x\r\n\r\n";
        let answers = Answer::read(text);
        let seen: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(seen, [200, 429, 413]);
        assert_eq!(answers.first().unwrap().headers("a"), ["1", "2"]);
        assert_eq!(answers.first().unwrap().text, "body");
        assert_eq!(answers.get(1).unwrap().header("retry-after"), Some("1"));
    }
}
