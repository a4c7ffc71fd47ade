//! Notes, checkpoints, keys that follow one another, witnesses and proofs as text: the published examples come out, and
//! everything that was altered is refused.

mod log;

use audit::checkpoint::{Checkpoint, KeyError, Keys, NotACheckpoint, Unbelieved, succession};
use audit::note::{Note, NoteError, NoteKey, NoteKeyError, NoteSignature, NoteSigner, Signs};
use audit::proof::{Proof, Unproven};
use audit::tree::{Hash, prove_consistency, prove_inclusion};
use audit::witness::{NotWitnessed, Submission, cosign};
use audit::{PublicKey, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::{Log, ORIGIN, keys, signer, witness};
use proptest::prelude::*;

/// From the tests of Go's package for notes.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETERS_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
     then you don't know what your problem is.\n\
     \n\
     \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// The Go checksum database: its key, and checkpoints that it has signed.
const SUMDB: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const SUMDB_TREES: [&str; 3] = [
    "go.sum database tree\n6476701\nmb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=\n\n\
     \u{2014} sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=\n",
    "go.sum database tree\n3935567\nSapHtgdNCeF00Cx8kqztePV24kgzNg++Xovae42HAMw=\n\n\
     \u{2014} sum.golang.org Az3grsm7Wm4CVNR1RHq9BFnu9jzcRlU2uw7lr0gfUWgO6+rqPNjT+fUTl9gH0NRTgdwW9nItuQSMbhSaLCsk8YeYSAs=\n",
    "go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n\n\
     \u{2014} sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n",
];

/// From C2SP `tlog-cosignature`; its keys are not published.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
     \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
     \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

#[test]
fn a_published_note_is_read_verified_and_written_again() {
    let key = NoteKey::parse(PETER).unwrap();
    assert_eq!(key.to_string(), PETER);
    assert_eq!((key.name(), key.signs()), ("PeterNeumann", Signs::Text));
    let note = Note::parse(PETERS_NOTE).unwrap();
    assert_eq!(note.to_string(), PETERS_NOTE);
    assert!(note.signed_by(&key).unwrap().is_some());

    let secret: [u8; 32] = STANDARD.decode(PETERS_SECRET).unwrap()[1..].try_into().unwrap();
    let signer = NoteSigner::new("PeterNeumann", SigningKey::from_secret(&secret)).unwrap();
    assert_eq!(signer.public(Signs::Text), key);
    let mut again = Note::unsigned(note.text().into()).unwrap();
    again.add(signer.sign(note.text()));
    again.add(signer.sign(note.text()));
    assert_eq!(again.to_string(), PETERS_NOTE);
}

#[test]
fn signed_trees_of_the_go_checksum_database_hold() {
    let key = NoteKey::parse(SUMDB).unwrap();
    for tree in SUMDB_TREES {
        let note = Note::parse(tree).unwrap();
        assert!(note.signed_by(&key).unwrap().is_some());
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        assert_eq!(checkpoint.origin, "go.sum database tree");
        assert_eq!(checkpoint.to_string(), note.text());
        let longer = Note::parse(&tree.replacen("tree\n", "tree\n1", 1)).unwrap();
        assert!(longer.signed_by(&key).is_err());
    }
}

#[test]
fn the_published_cosignature_is_read_as_it_stands() {
    let note = Note::parse(COSIGNED).unwrap();
    assert_eq!(note.to_string(), COSIGNED);
    assert_eq!(Checkpoint::parse(note.text()).unwrap().size, 20_852_163);
    let names: Vec<&str> = note.signatures().iter().map(NoteSignature::name).collect();
    assert_eq!(names, ["example.com/behind-the-sofa", "witness.example.com/w1"]);
    // What a witness signs, letter by letter: its signature here is one of the published message, with our key.
    let ours = witness(4);
    let line = ours.witness(note.text(), 1_679_315_147).to_string();
    let bytes = STANDARD.decode(line.split(' ').nth(2).unwrap()).unwrap();
    assert_eq!(bytes[4..12], [0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcb]);
    let message = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
                   CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let key =
        ed25519_dalek::VerifyingKey::from_bytes(ours.public(Signs::Witnessed).public().bytes()).unwrap();
    let signature = ed25519_dalek::Signature::from_slice(&bytes[12..]).unwrap();
    key.verify_strict(message.as_bytes(), &signature).unwrap();
}

#[test]
fn a_mistyped_key_is_refused() {
    for place in 0..PETER.len() {
        let mut bytes = PETER.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'B' { b'C' } else { b'B' };
        let text = String::from_utf8(bytes).unwrap();
        assert!(NoteKey::parse(&text).is_err(), "{text}");
        assert!(NoteKey::parse(&PETER[..place]).is_err());
        assert!(NoteKey::parse(&PETER[place + 1..]).is_err());
    }
    let say = |text: &str| NoteKey::parse(text).unwrap_err();
    // Too long, and its last letter leaves bits over.
    assert_eq!(
        say("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=="),
        NoteKeyError::Form
    );
    assert_eq!(
        say("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWAAAA"),
        NoteKeyError::Key
    );
    assert_eq!(say("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), NoteKeyError::Kind);
    assert_eq!(say(&PETER.replace("PeterN", "Peter N")), NoteKeyError::Name);
    assert_eq!(say(&PETER.replace("c74f20a3", "C74F20A3")), NoteKeyError::Id);
    assert_eq!(say("PeterNeumann"), NoteKeyError::Form);
    let good = *NoteKey::parse(PETER).unwrap().public();
    for name in ["", "a b", "a+b", "a\nb", "a\u{2028}b", "a\u{0}b"] {
        assert_eq!(NoteKey::new(name, Signs::Text, good), Err(NoteKeyError::Name));
        assert_eq!(NoteSigner::new(name, SigningKey::from_secret(&[1; 32])).unwrap_err(), NoteKeyError::Name);
    }
    let mut weak = [0; 32];
    weak[0] = 1;
    assert!(PublicKey::from_bytes(&weak).is_err());
}

#[test]
fn what_is_no_note_is_refused_with_the_reason() {
    let say = |text: &str| Note::parse(text).unwrap_err();
    let (text, line) = PETERS_NOTE.split_once("\n\n").unwrap();
    assert_eq!(say(""), NoteError::Form);
    assert_eq!(say(text), NoteError::Form);
    assert_eq!(say(PETERS_NOTE.strip_suffix('\n').unwrap()), NoteError::Form);
    assert_eq!(say(&format!("{text}\n\n")), NoteError::Form, "no signature");
    assert_eq!(say(&format!("{text}\n\nx\n")), NoteError::Signature(1));
    assert_eq!(say(&format!("{text}\n\n{line}\u{2014} a AAAA\n")), NoteError::Signature(2), "an id alone");
    assert_eq!(say(&PETERS_NOTE.replace("AM=", "AM")), NoteError::Signature(1));
    assert_eq!(
        say(&PETERS_NOTE.replace("AM=", "AN=")),
        NoteError::Signature(1),
        "bits that base64 leaves over"
    );
    assert_eq!(say(&PETERS_NOTE.replace('\u{2014}', "-")), NoteError::Signature(1));
    assert_eq!(say(&PETERS_NOTE.replace("answer", "ans\twer")), NoteError::Control);
    assert_eq!(say(&"x".repeat(200_000)), NoteError::TooLong);
    assert_eq!(say(&format!("{text}\n\n{}", line.repeat(101))), NoteError::TooMany);
    assert_eq!(Note::unsigned("no line feed".into()), None);
    assert_eq!(Note::unsigned("a\rb\n".into()), None);
    // The last empty line is where the signatures begin.
    assert_eq!(Note::parse(&format!("a\n\nb\n\n{line}")).unwrap().text(), "a\n\nb\n");
}

#[test]
fn a_checkpoint_is_three_lines_and_has_one_form() {
    let root = Hash::of(b"x").base64();
    let good = format!("a.example/log\n7\n{root}\n");
    assert_eq!(Checkpoint::parse(&good).unwrap().to_string(), good);
    let more = format!("{good}one\ntwo\n");
    assert_eq!(Checkpoint::parse(&more).unwrap().extensions, ["one", "two"]);
    let empty = format!("a\n0\n{}\n", Hash::EMPTY.base64());
    assert_eq!(Checkpoint::parse(&empty).unwrap().root, Hash::EMPTY);
    for wrong in [
        String::new(),
        good.trim_end().to_owned(),
        good.replace("\n7\n", "\n07\n"),
        good.replace("\n7\n", "\n+7\n"),
        good.replace("\n7\n", "\n\n"),
        good.replace("\n7\n", "\n0\n"),
        good.replace("\n7\n", "\n9223372036854775808\n"),
        good.replace("a.example/log", ""),
        good.replace('=', ""),
        good.replace(&root, "AAAA"),
        format!("{good}\n"),
        format!("{good}one\n\ntwo\n"),
    ] {
        assert_eq!(Checkpoint::parse(&wrong), Err(NotACheckpoint), "{wrong:?}");
    }
    assert_eq!(Checkpoint::new("another.example", 7, Hash::of(b"x")).sign(&signer(1)), None);
    let mut two_lines = Checkpoint::new(ORIGIN, 7, Hash::of(b"x"));
    two_lines.extensions.push("a\nb".into());
    assert_eq!(two_lines.sign(&signer(1)), None);
}

#[test]
fn only_a_known_key_makes_a_checkpoint_believed() {
    let log = Log::of(5);
    let note = log.checkpoint(5, &signer(1));
    let opened = keys(1).open(&note).unwrap();
    assert_eq!((opened.checkpoint.size, opened.checkpoint.root), (5, log.root(5)));
    assert_eq!(opened.key, signer(1).public(Signs::Text));
    assert_eq!(keys(2).open(&note), Err(Unbelieved::Unsigned));
    assert!(matches!(keys(1).open(&note.replace("\n5\n", "\n4\n")), Err(Unbelieved::Forged(_))));
    assert!(matches!(keys(1).open("x"), Err(Unbelieved::Note(_))));
    // A note by the key that says something else, or about another log.
    let mut other = Note::unsigned("hello\n".into()).unwrap();
    other.add(signer(1).sign("hello\n"));
    assert!(matches!(keys(1).open(&other.to_string()), Err(Unbelieved::Text(_))));
    let text = Checkpoint::new("other.example", 5, log.root(5)).to_string();
    let mut other = Note::unsigned(text.clone()).unwrap();
    other.add(signer(1).sign(&text));
    assert_eq!(keys(1).open(&other.to_string()), Err(Unbelieved::OtherLog("other.example".into())));
    // Unknown signatures beside the known one are none of our business; a known one that does not fit is.
    let mut note = Note::parse(&note).unwrap();
    note.add(signer(9).sign(note.text()));
    assert!(keys(1).open(&note.to_string()).is_ok());
    note.add(signer(1).sign("something else\n"));
    assert!(matches!(keys(1).open(&note.to_string()), Err(Unbelieved::Forged(_))));
}

#[test]
fn the_previous_key_signs_the_next() {
    let log = Log::of(30);
    let last = Checkpoint::new(ORIGIN, 10, log.root(10));
    let statement = succession(&last, &signer(1), &signer(2)).unwrap().to_string();
    let mut known = keys(1);
    assert_eq!(known.succeed(&statement).unwrap(), (10, log.root(10)));
    assert_eq!(known.latest().unwrap(), &signer(2).public(Signs::Text));
    for (size, secret, believed) in [
        (9, 1, true),
        (10, 1, true),
        (11, 1, false),
        (9, 2, false),
        (10, 2, true),
        (30, 2, true),
        (30, 3, false),
    ] {
        let opened = known.open(&log.checkpoint(size, &signer(secret)));
        assert_eq!(opened.is_ok(), believed, "{size} by {secret}: {opened:?}");
    }
    // Signed by both, it is the one whose time it is that counts.
    let mut both = Note::parse(&log.checkpoint(11, &signer(1))).unwrap();
    both.add(signer(2).sign(both.text()));
    assert_eq!(known.open(&both.to_string()).unwrap().key, signer(2).public(Signs::Text));
    // At the place of the change both keys speak of the same root.
    let other_root = Checkpoint::new(ORIGIN, 10, log.root(9));
    for secret in [1, 2] {
        let note = other_root.sign(&signer(secret)).unwrap().to_string();
        assert!(matches!(known.open(&note), Err(Unbelieved::OutsideItsTime { size: 10, .. })));
    }

    let next = |last: &Checkpoint, previous: u8, next: u8| {
        succession(last, &signer(previous), &signer(next)).unwrap()
    };
    let later = Checkpoint::new(ORIGIN, 20, log.root(20));
    let refused = |note: String| known.clone().succeed(&note).unwrap_err();
    // A key that has handed over names no other successor, nor one that never was a key here.
    assert!(matches!(refused(next(&later, 1, 3).to_string()), KeyError::Unsigned(_)));
    assert!(matches!(refused(next(&later, 7, 3).to_string()), KeyError::Unsigned(_)));
    assert!(matches!(refused(next(&later, 2, 1).to_string()), KeyError::Again(_)));
    let earlier = Checkpoint::new(ORIGIN, 9, log.root(9));
    assert_eq!(refused(next(&earlier, 2, 3).to_string()), KeyError::Earlier { wanted: 10, found: 9 });
    let good = next(&later, 2, 3);
    let mut alone = Note::unsigned(good.text().into()).unwrap();
    alone.add(signer(2).sign(good.text()));
    assert!(matches!(refused(alone.to_string()), KeyError::NotOwned(_)));
    assert!(matches!(refused(good.to_string().replace("after 20", "after 21")), KeyError::Forged(_)));
    assert!(matches!(refused("x".into()), KeyError::Note(_)));
    assert_eq!(refused(log.checkpoint(20, &signer(2))), KeyError::Form, "a checkpoint is no statement");
    assert!(
        matches!(known.open(&good.to_string()), Err(Unbelieved::Text(_))),
        "and a statement no checkpoint"
    );
    assert_eq!(known.clone().succeed(&good.to_string()).unwrap().0, 20);
    assert_eq!(succession(&Checkpoint::new("x", 1, log.root(1)), &signer(1), &signer(2)), None);
    let stranger = NoteSigner::new("x", SigningKey::from_secret(&[5; 32])).unwrap();
    assert_eq!(succession(&last, &signer(1), &stranger), None);
}

#[test]
fn a_witness_signs_only_what_continues_what_it_saw() {
    let log = Log::of(30);
    let submit = |older: u64, size: u64, secret: u8| Submission {
        older,
        proof: prove_consistency(older, size, |node| log.read(node)).unwrap().unwrap(),
        checkpoint: log.checkpoint(size, &signer(secret)),
    };
    let known = keys(1);
    let ask =
        |submission: &Submission, latest| cosign(submission, &known, latest, &witness(4), 1_790_000_000);
    let first = submit(0, 10, 1);
    assert_eq!(Submission::parse(&first.to_string()), Some(first.clone()));
    let (checkpoint, line) = ask(&first, None).unwrap();
    let seen = Some((checkpoint.size, checkpoint.root));
    let second = submit(10, 25, 1);
    assert_eq!(Submission::parse(&second.to_string()), Some(second.clone()));
    ask(&second, seen).unwrap();
    ask(&submit(10, 10, 1), seen).unwrap();

    assert_eq!(ask(&submit(0, 25, 1), seen), Err(NotWitnessed::OtherLatest { latest: 10 }));
    assert_eq!(ask(&second, None), Err(NotWitnessed::OtherLatest { latest: 0 }));
    assert!(matches!(ask(&submit(10, 25, 2), seen), Err(NotWitnessed::Unbelieved(Unbelieved::Unsigned))));
    let shorter = Submission { older: 30, ..submit(10, 25, 1) };
    assert_eq!(ask(&shorter, seen), Err(NotWitnessed::Shorter { older: 30, size: 25 }));
    let cut = Submission { proof: second.proof[1..].to_vec(), ..second.clone() };
    assert!(matches!(ask(&cut, seen), Err(NotWitnessed::Inconsistent(_))));
    let rewritten = Some((10, log.root(9)));
    assert!(matches!(ask(&second, rewritten), Err(NotWitnessed::Inconsistent(_))));
    assert!(matches!(ask(&submit(10, 10, 1), rewritten), Err(NotWitnessed::Fork { size: 10, .. })));

    // Whoever wants witnesses gets them, or does not believe.
    let wanted = |needed| {
        let w1 = witness(4).public(Signs::Witnessed);
        keys(1).with_witnesses(vec![w1, witness(5).public(Signs::Witnessed)], needed).unwrap()
    };
    let mut note = Note::parse(&first.checkpoint).unwrap();
    assert_eq!(wanted(1).open(&note.to_string()), Err(Unbelieved::Witnesses { wanted: 1, found: 0 }));
    note.add(NoteSignature::parse(&line.to_string()).unwrap());
    let opened = wanted(1).open(&note.to_string()).unwrap();
    assert_eq!(opened.witnesses, [(witness(4).public(Signs::Witnessed), 1_790_000_000)]);
    assert_eq!(wanted(2).open(&note.to_string()), Err(Unbelieved::Witnesses { wanted: 2, found: 1 }));
    note.add(witness(5).witness("another text\n", 1));
    assert!(matches!(wanted(1).open(&note.to_string()), Err(Unbelieved::Forged(_))));
    assert!(matches!(keys(1).with_witnesses(vec![signer(1).public(Signs::Text)], 1), Err(KeyError::Use(_))));
    assert!(matches!(Keys::new(witness(4).public(Signs::Witnessed)), Err(KeyError::Use(_))));
}

#[test]
fn a_proof_is_one_text_for_one_entry() {
    let log = Log::of(30);
    let proof = Proof {
        index: 17,
        path: prove_inclusion(17, 30, |node| log.read(node)).unwrap().unwrap(),
        checkpoint: log.checkpoint(30, &signer(1)),
    };
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 17\n"));
    assert_eq!(Proof::parse(&text), Some(proof.clone()));
    let with_extra = text.replace("index 17", "extra YWJj\nindex 17");
    assert_eq!(Proof::parse(&with_extra), Some(proof.clone()));
    let (entry, opened) = proof.verify(&log.entries[17], &keys(1)).unwrap();
    assert_eq!((entry, opened.checkpoint.size), (log::entry(17), 30));

    assert_eq!(proof.verify(&log.entries[16], &keys(1)), Err(Unproven::OtherPlace { wanted: 17, found: 16 }));
    let mut changed = log.entries[17].clone();
    changed[40] ^= 1;
    let refused = proof.verify(&changed, &keys(1)).unwrap_err();
    assert_eq!(refused.to_string(), "entry 17 is not the one of the checkpoint with 30 entries");
    assert!(matches!(proof.verify(&changed[..40], &keys(1)), Err(Unproven::Entry { index: 17, .. })));
    assert!(matches!(proof.verify(&log.entries[17], &keys(2)), Err(Unproven::Checkpoint(_))));
    let shorter = Proof { checkpoint: log.checkpoint(29, &signer(1)), ..proof.clone() };
    assert!(matches!(
        shorter.verify(&log.entries[17], &keys(1)),
        Err(Unproven::Path { index: 17, size: 29, .. })
    ));
    let alone = Log::of(1);
    let alone = Proof { index: 0, path: Vec::new(), checkpoint: alone.checkpoint(1, &signer(1)) };
    assert_eq!(Proof::parse(&alone.to_string()), Some(alone));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_text_is_read_or_refused(text in "[\u{2014}a +=\n0-9A-Z/.]{0,200}|\\PC{0,100}") {
        if let Ok(note) = Note::parse(&text) {
            prop_assert_eq!(note.to_string(), text.clone());
        }
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text.clone());
        }
        if let Ok(key) = NoteKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text.clone());
        }
        if let Some(submission) = Submission::parse(&text) {
            prop_assert_eq!(submission.to_string(), text.clone());
        }
        let _refused = Proof::parse(&text);
        prop_assert!(keys(1).open(&text).is_err());
        prop_assert!(keys(1).succeed(&text).is_err());
    }

    #[test]
    fn a_changed_byte_of_a_signed_checkpoint_is_noticed(place in any::<prop::sample::Index>(), to in any::<u8>()) {
        let note = Checkpoint::new(ORIGIN, 7, Hash::of(b"x")).sign(&signer(1)).unwrap().to_string();
        let mut bytes = note.clone().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = to;
        if let Ok(changed) = String::from_utf8(bytes) && changed != note {
            prop_assert!(keys(1).open(&changed).is_err());
        }
    }
}
