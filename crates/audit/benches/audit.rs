//! What verifying an export and proving an entry cost, on one core and without a database. Prints one JSON object.
//!
//! `cargo xtask bench audit`
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement ends where it cannot go on"
)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use audit::SigningKey;
use audit::checkpoint::{Checkpoint, Keys};
use audit::entry::{Entry, Source};
use audit::export::{Header, Trust, Verifier, begin, end, write_checkpoint, write_entry};
use audit::note::{NoteSigner, Signs};
use audit::tiles::{Content, Tile, Tiles, WIDTH, tile_of};
use audit::tree::{Frontier, Hash, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion};
use kernel::{FirmId, PersonId, RequestId, Timestamp};
use uuid::Uuid;

const ORIGIN: &str = "audit.example.com/main";
const ENTRIES: u64 = 2_000_000;
const PROOFS: u64 = 20_000;
/// As a file is read.
const PART: usize = 1 << 20;

#[expect(clippy::disallowed_methods, reason = "a measurement reads the wall clock")]
fn now() -> Instant {
    Instant::now()
}

/// How long this thread has had a core, in a machine that it shares.
fn on_a_core() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}

/// An order as the journal has it: the most frequent kind of entry.
fn entry(index: u64, bytes: &mut Vec<u8>) {
    let id = format!("3/{index}");
    let detail = format!(
        r#"{{"act":{{"Place":{{"kind":"market","quantity":"0.10","side":"buy","stop_loss":"1.08{:03}","symbol":"EURUSD"}}}},"key":"k{index}","outcome":{{"Placed":{{"ticket":{index}}}}}}}"#,
        index.checked_rem(1000).unwrap()
    );
    let entry = Entry {
        index,
        source: Source::Command,
        id: &id,
        firm: FirmId::from_uuid(Uuid::from_u128(7)),
        at: Timestamp::from_micros(1_790_000_000_000_000_i64.saturating_add_unsigned(index)),
        actor: Some(PersonId::from_uuid(Uuid::from_u128(u128::from(index)))),
        request: Some(RequestId::from_uuid(Uuid::from_u128(u128::from(index).rotate_left(64)))),
        action: "command.Place",
        purpose: "",
        object_kind: "account",
        object: "0197b2c4-53a1-7c3e-9c3b-5d2f8a11e0d4",
        detail: &detail,
        before: None,
        after: None,
        document: None,
        personal: None,
    };
    bytes.clear();
    entry.encode(bytes).unwrap();
}

fn per_second(count: u64, time: Duration) -> u64 {
    let count = u128::from(count).saturating_mul(1_000_000_000);
    u64::try_from(count.checked_div(time.as_nanos().max(1)).unwrap()).unwrap()
}

fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let place = sorted.len().saturating_mul(percent).checked_div(100).unwrap();
    sorted[place.min(sorted.len().saturating_sub(1))].as_micros()
}

fn main() {
    let signer = NoteSigner::new(ORIGIN, SigningKey::from_secret(&[7; 32])).unwrap();
    let keys = Keys::new(signer.public(Signs::Text)).unwrap();

    // The log: its export, and its tiles as they would lie in a bucket.
    let mut file = Vec::new();
    begin(&Header { origin: ORIGIN.into(), first: 0, end: ENTRIES, size: ENTRIES, firm: None }, &mut file);
    let mut frontier = Frontier::new();
    let mut rows: HashMap<(u8, u64), Vec<Hash>> = HashMap::new();
    let mut bytes = Vec::new();
    let mut leaf_bytes = 0_usize;
    let mut appending = Duration::ZERO;
    for index in 0..ENTRIES {
        entry(index, &mut bytes);
        leaf_bytes = leaf_bytes.saturating_add(bytes.len());
        let started = now();
        let leaf = Hash::leaf(&bytes);
        frontier
            .push(leaf, |node, hash| {
                if node.level.checked_rem(8) == Some(0) {
                    let tile = node.index.checked_div(WIDTH.into()).unwrap();
                    rows.entry((node.level.checked_div(8).unwrap(), tile)).or_default().push(hash);
                }
            })
            .unwrap();
        appending = appending.saturating_add(started.elapsed());
        write_entry(&leaf, &bytes, &mut file);
    }
    let root = frontier.root();
    let note = Checkpoint::new(ORIGIN, ENTRIES, root).sign(&signer).unwrap().to_string();
    write_checkpoint(&note, &mut file);
    end(&mut file);
    let tiles: HashMap<(u8, u64), Vec<u8>> =
        rows.into_iter().map(|(place, hashes)| (place, tile_of(&hashes))).collect();

    // Verified, as often as it takes to see past a neighbour on the machine.
    let verify = || {
        let (started, had) = (now(), on_a_core());
        let mut verifier = Verifier::new(Trust { keys: keys.clone(), checkpoint: Some((ENTRIES, root)) });
        file.chunks(PART).for_each(|part| verifier.feed(part).unwrap());
        let shown = verifier.finish().unwrap();
        assert_eq!((shown.entries, shown.checkpoint.checkpoint.root), (ENTRIES, root));
        (started.elapsed(), on_a_core().saturating_sub(had))
    };
    let (mut rounds, mut core): (Vec<Duration>, Vec<Duration>) = (0..5).map(|_| verify()).unzip();
    rounds.sort();
    core.sort();

    // Proofs made from tiles alone and verified.
    let fetch = |tile: &Tile| -> Result<Vec<u8>, Infallible> {
        let Content::Hashes(level) = tile.content else { return Ok(Vec::new()) };
        Ok(tiles[&(level, tile.index)].clone())
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut place = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.checked_rem(ENTRIES).unwrap()
    };
    let mut inclusion = Vec::new();
    let mut inclusion_core = Vec::new();
    let mut checking = Vec::new();
    let mut consistency = Vec::new();
    for _ in 0..PROOFS {
        let index = place();
        entry(index, &mut bytes);
        let leaf = Hash::leaf(&bytes);
        let (started, had) = (now(), on_a_core());
        let mut read = Tiles::new(ENTRIES, fetch);
        let proof = prove_inclusion(index, ENTRIES, |node| read.node(node)).unwrap().unwrap();
        inclusion.push(started.elapsed());
        inclusion_core.push(on_a_core().saturating_sub(had));
        let started = now();
        verify_inclusion(&leaf, index, ENTRIES, &proof, &root).unwrap();
        checking.push(started.elapsed());
    }
    for _ in 0..200 {
        let older = place().max(1);
        let mut read = Tiles::new(ENTRIES, fetch);
        let older_root = Frontier::read(older, |node| read.node(node)).unwrap().root();
        let started = now();
        let mut read = Tiles::new(ENTRIES, fetch);
        let proof = prove_consistency(older, ENTRIES, |node| read.node(node)).unwrap().unwrap();
        verify_consistency(older, ENTRIES, &proof, &older_root, &root).unwrap();
        consistency.push(started.elapsed());
    }
    for times in [&mut inclusion, &mut inclusion_core, &mut checking, &mut consistency] {
        times.sort();
    }
    println!(
        concat!(
            r#"{{"entries":{},"entry_bytes":{},"export_bytes_per_entry":{},"verified_per_second":{},"#,
            r#""verified_per_second_slowest":{},"verified_per_core_second":{},"appended_per_second":{},"proof_p50_us":{},"proof_p99_us":{},"proof_core_p99_us":{},"#,
            r#""proof_check_p99_us":{},"consistency_p99_us":{},"tree_bytes_per_entry":{}}}"#
        ),
        ENTRIES,
        leaf_bytes.checked_div(usize::try_from(ENTRIES).unwrap()).unwrap(),
        file.len().checked_div(usize::try_from(ENTRIES).unwrap()).unwrap(),
        per_second(ENTRIES, rounds[2]),
        per_second(ENTRIES, rounds[4]),
        per_second(ENTRIES, core[2]),
        per_second(ENTRIES, appending),
        percentile(&inclusion, 50),
        percentile(&inclusion, 99),
        percentile(&inclusion_core, 99),
        percentile(&checking, 99),
        percentile(&consistency, 99),
        tiles.values().map(Vec::len).sum::<usize>().checked_div(usize::try_from(ENTRIES).unwrap()).unwrap(),
    );
}
