//! What whoever owns the database can do to the log, and that each of it is caught by somebody who has the export, the
//! log's first key and a checkpoint from before; the message names the entry or the checkpoint.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod log;

use std::error::Error as _;

use audit::checkpoint::{Checkpoint, KeyError, Unbelieved, succession};
use audit::entry::Entry;
use audit::export::{
    Header, Refused, Trust, Verified, Verifier, WrongCheckpoint, WrongEntry, begin, end, write_checkpoint,
    write_entry, write_left_out, write_succession,
};
use audit::tree::{Hash, Node};
use log::{Log, ORIGIN, bytes, entry, firm, keys, signer};
use proptest::prelude::*;

/// One piece of a file, so that a test can take it apart and put it together otherwise.
#[derive(Clone)]
enum Piece {
    Entry(Hash, Vec<u8>),
    LeftOut(u8, Hash),
    Succession(String),
    Checkpoint(String),
}

#[derive(Clone)]
struct Export {
    header: Header,
    pieces: Vec<Piece>,
}

impl Export {
    fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        begin(&self.header, &mut file);
        for piece in &self.pieces {
            match piece {
                Piece::Entry(hash, bytes) => write_entry(hash, bytes, &mut file),
                Piece::LeftOut(level, hash) => {
                    // One node alone: the range that it covers.
                    let read = |node: Node| {
                        assert_eq!(node.level, *level);
                        Ok::<Hash, std::convert::Infallible>(*hash)
                    };
                    write_left_out(0, 1 << level, read, &mut file).unwrap();
                }
                Piece::Succession(note) => write_succession(note, &mut file),
                Piece::Checkpoint(note) => write_checkpoint(note, &mut file),
            }
        }
        end(&mut file);
        file
    }

    fn place(&self, wanted: u64) -> usize {
        let is = |piece: &Piece| matches!(piece, Piece::Entry(_, bytes) if Entry::decode(bytes).unwrap().index == wanted);
        self.pieces.iter().position(is).unwrap()
    }
}

fn header(first: u64, end: u64, size: u64) -> Header {
    Header { origin: ORIGIN.into(), first, end, size, firm: None }
}

/// The whole log with a checkpoint after each 100 entries and at its end, by one key.
fn whole(log: &Log, secret: u8) -> Export {
    let mut pieces = Vec::new();
    for (index, entry) in (0..).zip(&log.entries) {
        pieces.push(Piece::Entry(Hash::leaf(entry), entry.clone()));
        if (index + 1) % 100 == 0 || index + 1 == log.size() {
            pieces.push(Piece::Checkpoint(log.checkpoint(index + 1, &signer(secret))));
        }
    }
    Export { header: header(0, log.size(), log.size()), pieces }
}

fn trust(log: &Log, size: u64) -> Trust {
    Trust { keys: keys(1), checkpoint: Some((size, log.root(size))) }
}

fn alone() -> Trust {
    Trust { keys: keys(1), checkpoint: None }
}

fn verify_in_parts(file: &[u8], part: usize, trust: Trust) -> Result<Verified, Refused> {
    let mut verifier = Verifier::new(trust);
    for part in file.chunks(part) {
        verifier.feed(part)?;
    }
    verifier.finish()
}

fn verify(file: &[u8], trust: Trust) -> Result<Verified, Refused> {
    verify_in_parts(file, 1 << 16, trust)
}

/// The message with its causes, as a command prints it.
fn say(refused: &Refused) -> String {
    let mut text = refused.to_string();
    let mut cause = refused.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn refused(export: &Export, trust: Trust) -> String {
    say(&verify(&export.file(), trust).unwrap_err())
}

#[test]
fn an_untouched_log_holds_whole_and_from_any_parts() {
    let log = Log::of(350);
    let file = whole(&log, 1).file();
    for part in [1, 3, 7, 100, 4_096, usize::MAX] {
        let verified = verify_in_parts(&file, part, trust(&log, 230)).unwrap();
        assert_eq!((verified.entries, verified.checkpoints, verified.continues), (350, 4, Some(230)));
        assert_eq!(verified.checkpoint.checkpoint, Checkpoint::new(ORIGIN, 350, log.root(350)));
        assert_eq!(
            verified.sentence(),
            "Nothing was changed, added, removed or moved: 350 entries from 0 up to but not 350, under 4 checkpoints, the \
             last of 350 entries. They continue the checkpoint of 230 entries that you trust."
        );
    }
    let verified = verify(&file, alone()).unwrap();
    assert!(verified.sentence().ends_with("whether the log was rewritten since then this cannot show."));
    for size in [0, 1, 100, 349, 350] {
        assert_eq!(verify(&file, trust(&log, size)).unwrap().continues, Some(size));
    }
    let empty = Export {
        header: header(0, 0, 0),
        pieces: vec![Piece::Checkpoint(Log::of(0).checkpoint(0, &signer(1)))],
    };
    assert_eq!(verify(&empty.file(), alone()).unwrap().entries, 0);
}

#[test]
fn an_edited_entry_is_named() {
    let log = Log::of(350);
    let mut export = whole(&log, 1);
    let place = export.place(120);
    let Piece::Entry(hash, _) = export.pieces[place].clone() else { unreachable!() };
    let edited = bytes(&Entry { detail: r#"{"key":"k","outcome":"refused"}"#, ..entry(120) });
    export.pieces[place] = Piece::Entry(hash, edited.clone());
    assert!(refused(&export, alone()).starts_with("entry 120 is wrong: it was changed: it has the hash"));

    // With its hash: the next checkpoint shows it, a copy of the tiles names it.
    export.pieces[place] = Piece::Entry(Hash::leaf(&edited), edited);
    assert_eq!(
        refused(&export, alone()),
        "the checkpoint after entry number 200 is wrong: the entries before it are not those it was signed for: the first \
         wrong one is entry 100 or one after it, up to entry 199"
    );
    let mut verifier =
        Verifier::new(alone()).with_copies(|index| log.nodes.get(&Node { level: 0, index }).copied());
    let named = verifier.feed(&export.file()).unwrap_err();
    assert!(
        say(&named).starts_with("entry 120 is wrong: it was changed together with its hash"),
        "{}",
        say(&named)
    );

    // Every single bit of an entry.
    let log = Log::of(9);
    let mut export = whole(&log, 1);
    let place = export.place(6);
    let Piece::Entry(hash, good) = export.pieces[place].clone() else { unreachable!() };
    for bit in 0..good.len() * 8 {
        let mut edited = good.clone();
        edited[bit / 8] ^= 1 << (bit % 8);
        export.pieces[place] = Piece::Entry(hash, edited);
        assert!(matches!(verify(&export.file(), alone()), Err(Refused::Entry { index: 6, .. })));
    }
}

#[test]
fn a_deleted_entry_is_named() {
    let log = Log::of(350);
    let mut export = whole(&log, 1);
    export.pieces.remove(export.place(120));
    assert_eq!(
        refused(&export, alone()),
        "entry 120 is wrong: in its place stands what says of itself to be entry 121: one was removed, added or moved"
    );
    // The last one before a checkpoint, and the last of all.
    let mut export = whole(&log, 1);
    export.pieces.remove(export.place(199));
    assert_eq!(
        refused(&export, alone()),
        "the checkpoint after entry number 199 is wrong: it is one of 200 entries: one from before, or one that was \
         removed from its place"
    );
    // Left out as if it belonged to somebody else.
    let mut export = whole(&log, 1);
    let place = export.place(120);
    export.pieces[place] = Piece::LeftOut(0, Hash::leaf(&log.entries[120]));
    assert_eq!(
        refused(&export, alone()),
        "entries 120 to 120 are missing: the export says that it holds them"
    );
    // With all later ones numbered anew.
    let mut fewer: Vec<Vec<u8>> = (0..120).map(|index| bytes(&entry(index))).collect();
    fewer.extend((121..350).map(|index| bytes(&Entry { index: index - 1, ..entry(index) })));
    let mut export = whole(&Log::of_bytes(fewer), 1);
    assert_eq!(
        refused(&export, trust(&log, 300)),
        "the log was rewritten: its first 300 entries are not those of the checkpoint that you trust; the first wrong one \
         is entry 200 or one after it, up to entry 299",
        "its checkpoints of 100 and 200 entries were signed anew by whoever has the key"
    );
    // Without the key he has only the checkpoints that there were.
    for piece in &mut export.pieces {
        if let Piece::Checkpoint(note) = piece {
            let size: u64 = note.split('\n').nth(1).unwrap().parse().unwrap();
            *note = log.checkpoint(size, &signer(1));
        }
    }
    assert!(refused(&export, alone()).starts_with(
        "the checkpoint after entry number 200 is wrong: the entries before it are not those it was signed for: the \
         first wrong one is entry 100"
    ));
}

#[test]
fn an_inserted_or_moved_entry_is_named() {
    let log = Log::of(350);
    let mut export = whole(&log, 1);
    let extra = bytes(&Entry { action: "payout.approve", ..entry(120) });
    export.pieces.insert(export.place(120), Piece::Entry(Hash::leaf(&extra), extra));
    assert_eq!(
        refused(&export, alone()),
        "entry 121 is wrong: in its place stands what says of itself to be entry 120: one was removed, added or moved"
    );
    let mut export = whole(&log, 1);
    let (one, other) = (export.place(120), export.place(130));
    export.pieces.swap(one, other);
    assert!(
        refused(&export, alone()).starts_with("entry 120 is wrong: in its place stands what says of itself")
    );
    // Two entries that changed their contents and kept their places.
    let mut export = whole(&log, 1);
    for (place, index, content) in [(one, 120, 130), (other, 130, 120)] {
        let moved = bytes(&Entry { index, ..entry(content) });
        export.pieces[place] = Piece::Entry(Hash::leaf(&moved), moved);
    }
    assert!(matches!(
        verify(&export.file(), alone()),
        Err(Refused::Checkpoint { size: 200, source: WrongCheckpoint::OtherRoot(_) })
    ));
}

#[test]
fn a_cut_tail_and_an_older_state_are_caught_by_a_checkpoint_kept_elsewhere() {
    let log = Log::of(350);
    // The log as it was at 300 entries is in itself a good log: a backup that was restored, or a tail that was cut.
    let mut cut = whole(&log, 1);
    cut.pieces.truncate(cut.place(300));
    cut.header = header(0, 300, 300);
    assert!(verify(&cut.file(), alone()).is_ok());
    assert_eq!(
        refused(&cut, trust(&log, 350)),
        "the log was cut or set back: this ends with a checkpoint of 300 entries, and there were 350 before"
    );
    // Set back and then continued otherwise, with the log's own key.
    let mut entries: Vec<Vec<u8>> = (0..300).map(|index| bytes(&entry(index))).collect();
    entries.extend((300..400).map(|index| bytes(&Entry { purpose: "another", ..entry(index) })));
    let forked = whole(&Log::of_bytes(entries), 1);
    assert_eq!(
        refused(&forked, trust(&log, 350)),
        "the log was rewritten: its first 350 entries are not those of the checkpoint that you trust; the first wrong one \
         is entry 300 or one after it, up to entry 349"
    );
    // An old checkpoint at the end, so that the newest entries are under none.
    let mut export = whole(&log, 1);
    export.pieces.pop();
    export.pieces.push(Piece::Checkpoint(log.checkpoint(300, &signer(1))));
    assert_eq!(
        refused(&export, alone()),
        "the checkpoint after entry number 350 is wrong: it is one of 300 entries: one from before, or one that was \
         removed from its place"
    );
    export.pieces.pop();
    assert_eq!(
        refused(&export, alone()),
        "the checkpoint after entry number 350 is wrong: it is missing: nobody has signed for what stands here"
    );
    // A header that says more than there is.
    let mut export = cut;
    export.header = header(0, 350, 350);
    assert_eq!(
        refused(&export, alone()),
        "the export is cut: it ends after 300 entries, before its end piece"
    );
}

#[test]
fn a_chain_that_was_rebuilt_is_caught_by_its_key_or_by_a_checkpoint_kept_elsewhere() {
    let log = Log::of(350);
    let other = (0..350).map(|index| bytes(&Entry { object: "another", ..entry(index) })).collect();
    let rebuilt = Log::of_bytes(other);
    assert_eq!(
        refused(&whole(&rebuilt, 2), alone()),
        "the checkpoint after entry number 100 is wrong: it is not believed: it is signed by none of the log's keys that \
         you trust"
    );
    assert!(refused(&whole(&rebuilt, 1), trust(&log, 5)).starts_with(
        "the log was rewritten: its first 5 entries are not those of the checkpoint that you trust"
    ));
    // With another key that says to be the next one.
    let mut export = whole(&rebuilt, 2);
    let start = Checkpoint::new(ORIGIN, 0, Hash::EMPTY);
    let own = succession(&start, &signer(3), &signer(2)).unwrap().to_string();
    export.pieces.insert(0, Piece::Succession(own));
    assert!(matches!(
        verify(&export.file(), alone()),
        Err(Refused::Key { size: 0, source: KeyError::Unsigned(_) })
    ));
    let mut foreign = whole(&log, 1);
    foreign.header.origin = "other.example".into();
    assert!(matches!(verify(&foreign.file(), alone()), Err(Refused::OtherLog { .. })));
}

#[test]
fn a_change_of_keys_stands_at_its_place_and_for_its_log() {
    let log = Log::of(350);
    let place_of = |export: &Export| export.place(200);
    let change = |size: u64, root: Hash| {
        succession(&Checkpoint::new(ORIGIN, size, root), &signer(1), &signer(2)).unwrap().to_string()
    };
    let mut export = whole(&log, 1);
    for piece in &mut export.pieces {
        if let Piece::Checkpoint(note) = piece {
            let size: u64 = note.split('\n').nth(1).unwrap().parse().unwrap();
            *note = log.checkpoint(size, &signer(if size > 200 { 2 } else { 1 }));
        }
    }
    assert!(matches!(
        verify(&export.file(), alone()),
        Err(Refused::Checkpoint { size: 300, source: WrongCheckpoint::Unbelieved(Unbelieved::Unsigned) })
    ));
    let mut good = export.clone();
    good.pieces.insert(place_of(&export), Piece::Succession(change(200, log.root(200))));
    let verified = verify(&good.file(), trust(&log, 350)).unwrap();
    assert_eq!(verified.checkpoint.key, signer(2).public(audit::note::Signs::Text));
    // The key that has handed over signs nothing more.
    let mut old = good.clone();
    old.pieces.pop();
    old.pieces.push(Piece::Checkpoint(log.checkpoint(350, &signer(1))));
    assert!(refused(&old, alone()).contains("another had that time"));
    let mut elsewhere = export.clone();
    elsewhere.pieces.insert(place_of(&export) - 1, Piece::Succession(change(200, log.root(200))));
    assert!(
        verify(&elsewhere.file(), alone()).is_ok(),
        "before the checkpoint of 200 entries is still after 200 entries"
    );
    let mut early = export.clone();
    early.pieces.insert(export.place(150), Piece::Succession(change(200, log.root(200))));
    assert!(refused(&early, alone()).contains("a change of keys that was stated for another place"));
    let mut other = export.clone();
    other.pieces.insert(place_of(&export), Piece::Succession(change(200, log.root(199))));
    assert!(matches!(verify(&other.file(), alone()), Err(Refused::OtherRootAtKey { size: 200, .. })));
}

/// A part of the log, or the entries of one firm, cut where the reader's checkpoint is.
fn part(log: &Log, first: u64, end_at: u64, cuts: &[u64], only: Option<u64>) -> Vec<u8> {
    let mut file = Vec::new();
    let size = log.size();
    begin(&Header { firm: only.map(firm), ..header(first, end_at, size) }, &mut file);
    let mut sizes: Vec<u64> = cuts.iter().copied().chain([first, end_at, size]).collect();
    sizes.sort_unstable();
    let mut at = 0;
    for size in sizes {
        let within = first <= at && size <= end_at;
        if within {
            for index in at..size {
                let entry = &log.entries[usize::try_from(index).unwrap()];
                if only.is_none_or(|only| only == index % 3) {
                    write_entry(&Hash::leaf(entry), entry, &mut file);
                } else {
                    write_left_out(index, index + 1, |node| log.read(node), &mut file).unwrap();
                }
            }
        } else {
            write_left_out(at, size, |node| log.read(node), &mut file).unwrap();
        }
        at = size;
    }
    write_checkpoint(&log.checkpoint(size, &signer(1)), &mut file);
    end(&mut file);
    file
}

#[test]
fn a_range_and_the_entries_of_one_firm_are_shown_without_the_others() {
    let log = Log::of(350);
    let file = part(&log, 70, 90, &[], None);
    let verified = verify(&file, alone()).unwrap();
    assert_eq!((verified.entries, verified.header.first, verified.header.end), (20, 70, 90));
    assert!(file.len() < 20 * 500 + 40 * 20, "the others are a few hashes");
    assert_eq!(verify(&file, trust(&log, 80)).unwrap().continues, Some(80));
    // A checkpoint in what was left out has to be a cut.
    assert_eq!(say(&verify(&file, trust(&log, 69)).unwrap_err()), say(&Refused::NotShown { trusted: 69 }));
    assert_eq!(verify(&part(&log, 70, 90, &[69], None), trust(&log, 69)).unwrap().continues, Some(69));
    assert_eq!(verify(&part(&log, 70, 90, &[213], None), trust(&log, 213)).unwrap().continues, Some(213));
    let other = Log::of_bytes((0..350).map(|index| bytes(&Entry { id: "x", ..entry(index) })).collect());
    assert!(matches!(
        verify(&part(&other, 70, 90, &[213], None), trust(&log, 213)),
        Err(Refused::Rewritten { size: 213, .. })
    ));

    let firms = part(&log, 60, 300, &[], Some(1));
    let verified = verify(&firms, trust(&log, 200)).unwrap();
    assert_eq!((verified.entries, verified.header.firm), (80, Some(firm(1))));
    assert!(verified.sentence().contains("80 entries of the firm from 60"));
    assert!(verified.sentence().contains("Whether one of the firm's was left out"));
    // As if they were all of them, or another's.
    let text = |firm: &str| format!("firm {firm}\n").into_bytes();
    let with = |from: Vec<u8>, to: Vec<u8>| {
        let place = firms.windows(from.len()).position(|window| window == from).unwrap();
        let mut changed = firms.clone();
        changed.splice(place..place + from.len(), to);
        changed
    };
    let (one, two) = (firm(1).uuid().to_string(), firm(2).uuid().to_string());
    assert!(matches!(
        verify(&with(text(&one), text(&two)), alone()),
        Err(Refused::Entry { index: 61, source: WrongEntry::OtherFirm })
    ));
    assert!(verify(&with(text(&one), text("all")), alone()).is_err());
}

#[test]
fn pieces_out_of_place_are_refused() {
    let log = Log::of(10);
    let good = whole(&log, 1).file();
    let at = |file: &[u8]| verify(file, alone()).map(|_| ()).map_err(|refused| say(&refused));
    assert_eq!(at(b""), Err(say(&Refused::NotAnExport)));
    assert_eq!(at(b"tradesense.audit"), Err(say(&Refused::NotAnExport)));
    assert_eq!(at(b"%PDF-1.7"), Err(say(&Refused::NotAnExport)));
    for cut in 26..good.len() {
        assert!(matches!(verify(&good[..cut], alone()), Err(Refused::Cut { .. })), "{cut}");
    }
    let with_end = |letter: u8, piece: &[u8]| {
        let mut file = good[..good.len() - 5].to_vec();
        file.push(letter);
        file.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_be_bytes());
        file.extend_from_slice(piece);
        at(&file).unwrap_err()
    };
    assert!(with_end(b'X', b"").contains("a piece of no known kind"));
    assert!(with_end(b'Z', b"x").contains("an end with something in it"));
    assert!(with_end(b'E', b"x").contains("an entry without its hash"));
    assert!(with_end(b'E', &[0; 40]).contains("outside the range"));
    assert!(with_end(b'N', &[0; 32]).contains("a hash that is none"));
    assert!(with_end(b'N', &[0; 33]).contains("entries after the last checkpoint"));
    assert!(with_end(b'N', &[3; 33]).contains("entries that do not begin here"));
    assert!(with_end(b'C', b"\xff").contains("no text"));
    assert!(with_end(b'C', b"x").contains("it cannot be read as a signed note"));
    assert!(with_end(b'K', b"x").contains("the statement of the next key cannot be read"));
    let mut longer = good.clone();
    longer.extend_from_slice(b"Z\0\0\0\0");
    assert!(at(&longer).unwrap_err().contains("a piece after the end"));
    let mut huge = good[..good.len() - 5].to_vec();
    huge.extend_from_slice(b"E\xff\xff\xff\xff");
    assert!(at(&huge).unwrap_err().contains("longer than any can be"));
    for (from, to) in [
        ("first 0\n", "first 1\n"),
        ("end 10\n", "end 11\n"),
        ("size 10\n", "size 09\n"),
        ("firm all", "firm ALL"),
    ] {
        let text = String::from_utf8_lossy(&good[..120]).into_owned();
        let place = text.find(from).unwrap();
        let mut changed = good.clone();
        changed[place..place + to.len()].copy_from_slice(to.as_bytes());
        assert!(at(&changed).is_err(), "{to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_byte_of_an_export_can_be_changed_unseen(
        place in any::<prop::sample::Index>(), to in any::<u8>(), part_of in 1_usize..500,
    ) {
        static FILE: std::sync::OnceLock<(Log, Vec<u8>)> = std::sync::OnceLock::new();
        let (log, file) = FILE.get_or_init(|| {
            let log = Log::of(40);
            let file = whole(&log, 1).file();
            (log, file)
        });
        let mut changed = file.clone();
        let place = place.index(changed.len());
        changed[place] = to;
        let verified = verify_in_parts(&changed, part_of, trust(log, 40));
        prop_assert_eq!(verified.is_ok(), &changed == file);
    }

    #[test]
    fn any_bytes_end_in_a_refusal(
        noise in prop::collection::vec(any::<u8>(), 0..300), letters in "[HENCKZ]{0,3}", part_of in 1_usize..50,
        keep in 0_usize..400,
    ) {
        let good = whole(&Log::of(3), 1).file();
        let mut file = good[..keep.min(good.len() - 1)].to_vec();
        for letter in letters.bytes() {
            file.push(letter);
            file.extend_from_slice(&u32::try_from(noise.len()).unwrap().to_be_bytes());
            file.extend_from_slice(&noise);
        }
        file.extend_from_slice(&noise);
        prop_assert!(verify_in_parts(&file, part_of, alone()).is_err());
        prop_assert!(verify_in_parts(&noise, part_of, alone()).is_err());
    }
}
