//! Copies of the audit log: a folder and a bucket keep the same contract, and a bucket keeps what it was given against
//! whoever has its key.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app::AppError;
use app::auditing::{Copies, NEWEST, PART};
use audit::tree::Hash;
use kernel::{ManualClock, SeededRng, Timestamp};
use providers::copies::{Bucket, CopiedHashes, Credentials, Failure, Folder, Limits, Means, Place};
use testkit::receiver::{Receiver, Reply};
use testkit::{Answered, TestS3, listed};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

const KEY: &str = "AKIAEXAMPLE";
const SECRET: &str = "hush/hush+hush";
/// The server keeps what it is given until then by the machine's own clock, which is earlier.
const NOW: &str = "2090-01-05T10:00:00Z";
const TILE: &str = "tile/0/x001/067.p/3";

const QUICK: Limits = Limits {
    connect: Duration::from_secs(1),
    total: Duration::from_millis(400),
    attempts: 3,
    pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(4),
};

fn means() -> Means {
    Means {
        credentials: Some(Credentials::new(KEY, SECRET)),
        clock: Arc::new(ManualClock::new(Timestamp::parse(NOW).unwrap())),
        rng: Arc::new(SeededRng::new(7)),
    }
}

fn bucket(place: &str, limits: Limits) -> Result<Bucket, Failure> {
    let Ok(Place::Bucket(address)) = place.parse() else { panic!("{place} is no bucket") };
    Bucket::with(&address, means(), limits)
}

async fn writer(place: &str) -> Arc<dyn Copies> {
    place.parse::<Place>().unwrap().writer(means()).await.unwrap()
}

fn said(error: &AppError) -> String {
    let said = app::with_causes(error);
    assert!(!said.contains("hush") && !said.contains("X-Amz"), "nothing secret: {said}");
    said
}

/// What everybody relies on, wherever copies are.
async fn contract(copies: &dyn Copies) {
    for name in [NEWEST, "keys/1", TILE] {
        assert_eq!(copies.get(name).await.unwrap(), None);
    }
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    for (name, content) in [(TILE, &b"abc"[..]), ("keys/1", &b""[..]), ("tile/entries/000", &every_byte[..])]
    {
        for _ in 0..2 {
            copies.put(name, content).await.unwrap();
            assert_eq!(copies.get(name).await.unwrap().unwrap(), content, "{name}");
        }
        let refused = said(&copies.put(name, b"abd").await.unwrap_err());
        assert!(refused.starts_with("writing a copy of the audit log is not possible now: "), "{refused}");
        assert!(refused.ends_with(&format!("{name} is there and holds something else")), "{refused}");
        assert_eq!(copies.get(name).await.unwrap().unwrap(), content, "{name}");
    }
    for content in [b"one", b"two", b"two"] {
        copies.put(NEWEST, content).await.unwrap();
        assert_eq!(copies.get(NEWEST).await.unwrap().unwrap(), content);
    }
    assert_eq!(copies.get("tile/0/x001/067").await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_and_a_bucket_keep_one_contract() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("copies");
    contract(&*writer(folder.to_str().unwrap()).await).await;
    let left = std::fs::read_dir(folder.join("tile/0/x001/067.p")).unwrap().count();
    assert_eq!(left, 1, "nothing unfinished is left");

    let s3 = TestS3::start().await;
    for (name, locked) in [("acme-audit", true), ("acme-plain", false)] {
        s3.bucket(name, locked).await;
    }
    let by_path = s3.place("acme-audit");
    contract(&*writer(&by_path).await).await;
    // Beside it under a prefix, by the bucket's own host name, and where nothing is kept on purpose.
    contract(&*writer(&by_path.replace('?', "/eu/2090?")).await).await;
    let by_host = by_path.replace('?', "/host?style=virtual&").replace("127.0.0.1", "localhost");
    contract(&*writer(&by_host).await).await;
    let unlocked = s3.place("acme-plain") + "&object-lock=off";
    contract(&*writer(&unlocked).await).await;
    let plain = s3.ask("HEAD", &format!("/acme-plain/{TILE}"), &[], "").await;
    assert_eq!((plain.status, plain.header("x-amz-object-lock-mode")), (200, ""));

    // The longest file: one of an archive that compression did not make smaller.
    let (name, longest) = ("archive/2090-01/000001.tsaudit.gz", vec![7; PART + (64 << 10)]);
    let archive = writer(&by_path).await;
    archive.put(name, &longest).await.unwrap();
    assert!(archive.get(name).await.unwrap().unwrap() == longest, "it is read whole");

    // Of those who write at the same moment one is first, whoever it is.
    let (one, two) = (writer(&by_path).await, writer(&by_path).await);
    for name in (0..10).map(|number| format!("checkpoints/{number}")) {
        let (first, second) = tokio::join!(one.put(&name, b"one"), two.put(&name, b"two"));
        let expected = match (first, second) {
            (Ok(()), Err(_)) => b"one",
            (Err(_), Ok(())) => b"two",
            both => panic!("{name}: {both:?}"),
        };
        assert_eq!(one.get(&name).await.unwrap().unwrap(), expected);
        assert_eq!(s3.versions("acme-audit", &name).await.len(), 1);
        let (first, second) = tokio::join!(one.put(&name, expected), two.put(&name, expected));
        first.and(second).unwrap();
    }
}

#[tokio::test]
async fn what_a_bucket_was_given_is_kept_against_whoever_has_the_key() {
    let s3 = TestS3::start().await;
    s3.bucket("acme-audit", true).await;
    let copies = writer(&s3.place("acme-audit").replace('?', "/eu?")).await;
    copies.put(TILE, b"abc").await.unwrap();
    copies.put(NEWEST, b"one").await.unwrap();
    copies.put(NEWEST, b"two").await.unwrap();

    // Every version says until when it is kept, and the server refuses to delete it.
    let refused = |answered: Answered| {
        assert_eq!((answered.status, answered.elements("Code")), (403, vec!["AccessDenied".to_owned()]));
    };
    for (name, versions, until) in [(TILE, 1, "2098-01-01T00:00:00Z"), (NEWEST, 2, "2090-02-04T10:00:00Z")] {
        let key = format!("eu/{name}");
        let found = s3.versions("acme-audit", &key).await;
        assert_eq!(found.len(), versions);
        for version in found {
            let target = format!("/acme-audit/{key}?versionId={version}");
            let head = s3.ask("HEAD", &target, &[], "").await;
            let header = |name: &str| head.header(&format!("x-amz-object-lock-{name}")).to_owned();
            assert_eq!(
                (header("mode").as_str(), header("retain-until-date").as_str()),
                ("COMPLIANCE", until)
            );
            refused(s3.ask("DELETE", &target, &[], "").await);
            refused(s3.ask("DELETE", &target, &[("x-amz-bypass-governance-retention", "true")], "").await);
        }
    }

    // The server itself refuses a write to a name that is taken.
    let target = format!("/acme-audit/eu/{TILE}");
    let binary = ("content-type", "application/octet-stream");
    let taken = s3.ask("PUT", &target, &[binary, ("if-none-match", "*")], "abd").await;
    assert_eq!((taken.status, taken.elements("Code")), (412, vec!["PreconditionFailed".to_owned()]));

    // Whoever writes over it makes a second version: that is seen, and the first one is still there.
    let first = s3.versions("acme-audit", &format!("eu/{TILE}")).await.remove(0);
    assert_eq!(s3.ask("PUT", &target, &[binary], "abd").await.status, 200);
    assert_eq!(copies.get(TILE).await.unwrap().unwrap(), b"abd");
    let found = said(&copies.put(TILE, b"abc").await.unwrap_err());
    assert!(
        found.contains(&format!("s3://acme-audit/eu/{TILE} is there and holds something else")),
        "{found}"
    );
    let kept = s3.ask("GET", &format!("{target}?versionId={first}"), &[], "").await;
    assert_eq!((kept.status, kept.body.as_str()), (200, "abc"));
    // The same content, but nothing keeps it.
    let found = said(&copies.put(TILE, b"abd").await.unwrap_err());
    assert!(found.contains("the server does not say that it keeps it"), "{found}");

    // Whoever deletes it hides it: it is not taken for missing, and nothing is written in its place.
    for name in [TILE, NEWEST] {
        assert_eq!(s3.ask("DELETE", &format!("/acme-audit/eu/{name}"), &[], "").await.status, 204);
        let hidden = said(&copies.get(name).await.unwrap_err());
        assert!(
            hidden.contains(&format!("s3://acme-audit/eu/{name} was deleted: a delete marker")),
            "{hidden}"
        );
    }
    let hidden = said(&copies.put(TILE, b"abc").await.unwrap_err());
    assert!(hidden.contains("was deleted"), "{hidden}");
    let kept = s3.ask("GET", &format!("{target}?versionId={first}"), &[], "").await;
    assert_eq!((kept.status, kept.body.as_str()), (200, "abc"));
}

#[tokio::test]
async fn a_bucket_that_lets_go_of_what_it_is_given_is_refused_unless_that_is_said() {
    let s3 = TestS3::start().await;
    for (name, locked) in [("acme-plain", false), ("acme-suspended", true)] {
        s3.bucket(name, locked).await;
    }
    let suspended = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <Status>Suspended</Status></VersioningConfiguration>";
    let xml = ("content-type", "application/xml");
    assert_eq!(s3.ask("PUT", "/acme-suspended?versioning=", &[xml], suspended).await.status, 200);

    for (name, why) in [
        ("acme-plain", "s3://acme-plain/ has no Object Lock; "),
        ("acme-suspended", "s3://acme-suspended/ does not keep versions; "),
        ("acme-nowhere", "GET s3://acme-nowhere/?object-lock was answered with 404 Not Found: NoSuchBucket"),
    ] {
        let place: Place = s3.place(name).parse().unwrap();
        let Err(failure) = place.writer(means()).await else { panic!("{name} was taken") };
        let found = app::with_causes(&failure);
        assert!(found.starts_with(why) && !failure.may_pass(), "{found}");
        // Nor does anybody write to it who did not ask first.
        let unasked = place.reader(means()).unwrap();
        let found = said(&unasked.put("keys/1", b"key").await.unwrap_err());
        assert!(found.contains(why), "{found}");
        assert!(s3.ask("GET", &format!("/{name}/keys/1"), &[], "").await.status == 404);
    }
    let writer = writer(&(s3.place("acme-plain") + "&object-lock=off")).await;
    writer.put("keys/1", b"key").await.unwrap();
    assert_eq!(writer.get("keys/1").await.unwrap().unwrap(), b"key");
    // A bucket that is not there holds no copies, and that is not the same as a copy that is not there.
    let nowhere = s3.place("acme-nowhere").parse::<Place>().unwrap().reader(means()).unwrap();
    let found = said(&nowhere.get(NEWEST).await.unwrap_err());
    assert!(found.contains("NoSuchBucket"), "{found}");
}

#[tokio::test]
async fn a_bucket_needs_a_key_and_one_that_does_not_answer_holds_nothing_up() {
    let place: Place = "s3://acme-audit?region=eu-west-1".parse().unwrap();
    let Err(failure) = place.writer(Means { credentials: None, ..means() }).await else { panic!("no key") };
    assert!(failure.to_string().contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{failure}");

    let receiver = Receiver::open().await;
    let place = format!("s3://acme-audit/eu?endpoint=http://{}", receiver.address);
    receiver.reply(Reply::status(503));
    let copies = writer(&place).await;
    let asked = receiver.sent().len();
    // It is asked before the first write, as soon as it answers.
    receiver.reply(Reply::status(403));
    let found = said(&copies.put("keys/1", b"key").await.unwrap_err());
    assert!(found.contains("GET s3://acme-audit/eu/?object-lock was answered with 403 Forbidden"), "{found}");
    assert_eq!(receiver.sent().len(), asked + 1);
}

fn answer(status: u16, code: &str, message: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Reply::Answer(status, String::new(), body)
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_asked_again_and_any_other_is_not() {
    let receiver = Receiver::open().await;
    let place = format!("s3://acme-audit/eu?endpoint=http://{}", receiver.address);
    let copies = bucket(&place, QUICK).unwrap();
    let asked = |of: usize| receiver.sent().len() - of;

    let before = asked(0);
    receiver.reply(answer(503, "SlowDown", "Please reduce your request rate."));
    assert_eq!(
        said(&copies.get("keys/1").await.unwrap_err()),
        "reading a copy of the audit log is not possible now: GET s3://acme-audit/eu/keys/1 was answered with 503 \
         Service Unavailable: SlowDown: Please reduce your request rate."
    );
    assert_eq!(asked(before), 3);

    let before = asked(0);
    receiver.reply(answer(403, "SignatureDoesNotMatch", "The request signature does not match."));
    let found = said(&copies.get("keys/1").await.unwrap_err());
    assert!(found.contains("403 Forbidden: SignatureDoesNotMatch: The request signature"), "{found}");
    assert_eq!(asked(before), 1);

    let moved = "x-amz-bucket-region: eu-central-1\r\n".to_owned();
    receiver.reply(Reply::Answer(301, moved, String::new()));
    let found = said(&copies.get("keys/1").await.unwrap_err());
    assert!(found.contains("301 Moved Permanently: the bucket is in the region eu-central-1"), "{found}");

    let late = "the answer took too long";
    for (reply, why) in [(Reply::Silent, late), (Reply::Trickle, late), (Reply::HangUp, "")] {
        let before = asked(0);
        receiver.reply(reply);
        let found = said(&copies.get("keys/1").await.unwrap_err());
        let doing = "GET s3://acme-audit/eu/keys/1 was not answered";
        assert!(found.contains(doing) && found.contains(why), "{found}");
        assert_eq!(asked(before), 3);
    }

    // It comes back while it is asked.
    let before = asked(0);
    receiver.reply(answer(500, "InternalError", "Try again."));
    let patient = Limits { attempts: 1_000, ..QUICK };
    let patient = bucket(&place, patient).unwrap();
    let coming_back = async {
        while asked(before) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        receiver.reply(Reply::Answer(200, String::new(), "key".to_owned()));
    };
    let (read, ()) = tokio::join!(patient.get("keys/1"), coming_back);
    assert_eq!(read.unwrap().unwrap(), b"key");
}

/// What a server was sent: method, target, and the signature that Amazon's own library comes to.
fn signature_of(sent: &testkit::receiver::Sent, secret: &str, region: &str) -> (String, String, String) {
    let mut words = sent.line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/sign_s3.py");
    let url = format!("http://{}{target}", sent.header("host"));
    let mut oracle = Command::new(listed("moto").join("python"))
        .arg(script)
        .args([method, &url, secret, region])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let headers: Vec<String> = sent.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let headers = headers.join("\n");
    oracle.stdin.take().unwrap().write_all(headers.as_bytes()).unwrap();
    let output = oracle.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed");
    let signature = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (method.to_owned(), target.to_owned(), signature)
}

#[tokio::test]
async fn requests_are_signed_as_amazons_own_library_signs_them() {
    let receiver = Receiver::open().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let keys = |key: &str, secret: &str| {
        let text = format!(
            "[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = tok/en+=\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    keys("AKIAFIRST", SECRET);
    let place = format!(
        "s3://acme-audit/eu?endpoint=http://{}&region=eu-central-1&credentials={}",
        receiver.address,
        file.display()
    );
    let bucket = bucket(&place, QUICK).unwrap();
    // A server that says that it keeps what it is given, and does not.
    let says = "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Status>Enabled</Status>".to_owned();
    receiver.reply(Reply::Answer(200, String::new(), says));
    let found = said(&bucket.put(NEWEST, b"abc").await.unwrap_err());
    assert!(
        found
            .contains("s3://acme-audit/eu/checkpoint is there, and the server does not say that it keeps it"),
        "{found}"
    );

    let sent = receiver.sent();
    let mut lines = Vec::new();
    for sent in &sent {
        let (method, target, signature) = signature_of(sent, SECRET, "eu-central-1");
        assert!(target.ends_with(&format!("&X-Amz-Signature={signature}")), "{target} and not {signature}");
        assert!(
            target.contains("X-Amz-Credential=AKIAFIRST%2F20900105%2Feu-central-1%2Fs3%2Faws4_request"),
            "{target}"
        );
        assert!(target.contains("&X-Amz-Security-Token=tok%2Fen%2B%3D&"), "{target}");
        assert!(!format!("{sent:?}").contains("hush"), "the secret stays here: {sent:?}");
        let (path, query) = target.split_once('?').unwrap();
        let asks = ["object-lock=", "versioning="]
            .into_iter()
            .find(|word| query.split('&').any(|part| part == *word));
        lines.push(format!("{method} {path} {}", asks.unwrap_or_default()).trim().to_owned());
    }
    assert_eq!(
        lines,
        [
            "GET /acme-audit/ object-lock=",
            "GET /acme-audit/ versioning=",
            "PUT /acme-audit/eu/checkpoint",
            "HEAD /acme-audit/eu/checkpoint"
        ]
    );
    let put = sent.iter().find(|sent| sent.line.starts_with("PUT")).unwrap();
    for (name, value) in [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2090-02-04T10:00:00Z"),
        // Of `abc`, as FIPS 180-2 gives it.
        ("x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
        ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ("content-length", "3"),
    ] {
        assert_eq!(put.header(name), value, "{name}");
    }
    assert_eq!(put.body, "abc");
    let signed = "X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-checksum-sha256%3Bx-amz-object-lock-mode%3B\
                  x-amz-object-lock-retain-until-date%3Bx-amz-sdk-checksum-algorithm";
    assert!(put.line.contains(signed), "{}", put.line);

    // A key that was changed counts from the next request on.
    keys("AKIASECOND", "other/hush");
    receiver.reply(Reply::Answer(200, String::new(), "abc".to_owned()));
    assert_eq!(bucket.get(NEWEST).await.unwrap().unwrap(), b"abc");
    let (_, target, signature) = signature_of(receiver.sent().last().unwrap(), "other/hush", "eu-central-1");
    assert!(target.contains("X-Amz-Credential=AKIASECOND%2F") && target.ends_with(&signature), "{target}");
    std::fs::write(&file, "aws_access_key_id = AKIATHIRD\n").unwrap();
    let found = said(&bucket.get(NEWEST).await.unwrap_err());
    assert!(
        found.contains("GET s3://acme-audit/eu/checkpoint: ") && found.contains("it has no lines"),
        "{found}"
    );
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_one_that_ended_is_made_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("s3://acme-audit?endpoint=http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = BufReader::new(stream);
            // It closes after two answers without a word.
            for _ in 0..2 {
                let mut line = String::from("any");
                while !line.trim_end().is_empty() {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nkey").await.unwrap();
            }
        }
    });
    let copies = bucket(&place, QUICK).unwrap();
    for _ in 0..6 {
        assert_eq!(copies.get("keys/1").await.unwrap().unwrap(), b"key");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_hashes_are_read_ahead_and_what_could_not_be_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::new(directory.path());
    let hash = |entry: u64| Hash::leaf(&entry.to_be_bytes());
    let size = 256 * 40 + 3;
    for index in 0..41_u64 {
        let end = size.min(index * 256 + 256);
        let tile: Vec<Hash> = (index * 256..end).map(hash).collect();
        let name = if index < 40 { format!("tile/0/{index:03}") } else { "tile/0/040.p/3".to_owned() };
        // One was never copied.
        if index != 20 {
            folder.put(&name, &audit::tiles::tile_of(&tile)).await.unwrap();
        }
    }
    let copies: Arc<dyn Copies> = Arc::new(folder.clone());
    let mut hashes = CopiedHashes::new(Arc::clone(&copies), size, Handle::current());
    let mut alone = folder.entry_hashes(size);
    let jumps = [size - 1, 0, 256 * 30, 5];
    for entry in (0..size).chain(jumps).chain([size, u64::MAX]) {
        let there = entry < size && entry / 256 != 20;
        assert_eq!(hashes.hash(entry), there.then(|| hash(entry)), "{entry}");
        assert_eq!(alone(entry), there.then(|| hash(entry)), "{entry}");
    }
    assert!(hashes.failed().lock().unwrap().is_none(), "what is not there is no failure");

    // A folder in the place of a file cannot be read.
    std::fs::remove_file(directory.path().join("tile/0/007")).unwrap();
    std::fs::create_dir(directory.path().join("tile/0/007")).unwrap();
    let mut hashes = CopiedHashes::new(copies, size, Handle::current());
    assert_eq!(hashes.hash(256 * 6), Some(hash(256 * 6)));
    assert_eq!(hashes.hash(256 * 7), None);
    assert_eq!(hashes.hash(256 * 8), None, "nothing is read any more");
    let failed = hashes.failed().lock().unwrap().take().unwrap();
    assert!(said(&failed).starts_with("reading a copy of the audit log is not possible now"));
}
