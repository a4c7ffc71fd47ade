//! The tree against published values and another's implementation, and proofs of which every term is bound.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod log;

use std::convert::Infallible;

use audit::tiles::{BundleError, Content, Tile, TileError, Tiles, check_bundle, grown, read_bundle};
use audit::tree::{
    Frontier, FrontierError, Hash, Node, ProofError, cover, prove_consistency, prove_inclusion,
    verify_consistency, verify_inclusion,
};
use log::Log;
use proptest::prelude::*;

/// The leaves and roots with which implementations of RFC 6962 test themselves.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const IN_96: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const IN_5F: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const IN_6B: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const IN_BC: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const IN_CA: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const IN_0E: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const INCLUSION: [(u64, u64, &[&str]); 6] = [
    (0, 1, &[]),
    (0, 2, &[IN_96]),
    (2, 3, &[ROOTS[2]]),
    (1, 5, &[ROOTS[1], IN_5F, IN_BC]),
    (0, 8, &[IN_96, IN_5F, IN_6B]),
    (5, 8, &[IN_BC, IN_CA, ROOTS[4]]),
];
const CONSISTENCY: [(u64, u64, &[&str]); 4] =
    [(1, 1, &[]), (1, 8, &[IN_96, IN_5F, IN_6B]), (2, 5, &[IN_5F, IN_BC]), (6, 8, &[IN_0E, IN_CA, ROOTS[4]])];

fn published() -> Log {
    Log::of_bytes(LEAVES.iter().map(|leaf| hex::decode(leaf).unwrap()).collect())
}

fn hashes(proof: &[&str]) -> Vec<Hash> {
    proof.iter().map(|hash| Hash::from_slice(&hex::decode(hash).unwrap()).unwrap()).collect()
}

fn inclusion(log: &Log, index: u64, size: u64) -> Vec<Hash> {
    prove_inclusion(index, size, |node| log.read(node)).unwrap().unwrap()
}

fn consistency(log: &Log, older: u64, size: u64) -> Vec<Hash> {
    prove_consistency(older, size, |node| log.read(node)).unwrap().unwrap()
}

fn leaf(log: &Log, index: u64) -> Hash {
    log.read(Node { level: 0, index }).unwrap()
}

#[test]
fn the_published_roots_and_proofs_come_out() {
    let log = published();
    for (size, root) in (0..).zip(ROOTS) {
        assert_eq!(log.root(size).to_string(), root);
    }
    assert_eq!(Hash::EMPTY, Hash::of(b""));
    for (index, size, proof) in INCLUSION {
        assert_eq!(inclusion(&log, index, size), hashes(proof), "{index} in {size}");
        verify_inclusion(&leaf(&log, index), index, size, &hashes(proof), &log.root(size)).unwrap();
    }
    for (older, size, proof) in CONSISTENCY {
        assert_eq!(consistency(&log, older, size), hashes(proof), "{older} to {size}");
        verify_consistency(older, size, &hashes(proof), &log.root(older), &log.root(size)).unwrap();
    }
}

#[test]
fn roots_and_proofs_are_those_of_another_implementation() {
    let log = Log::of(70);
    for size in 1..=70 {
        let mut other = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        log.entries.iter().take(size).for_each(|entry| other.push(entry.clone()));
        let flat = |proof: Vec<Hash>| proof.iter().flat_map(|hash| *hash.bytes()).collect::<Vec<u8>>();
        let size_here = u64::try_from(size).unwrap();
        assert_eq!(log.root(size_here).bytes().as_slice(), other.root().as_bytes().as_slice());
        for place in 0..size {
            let place_here = u64::try_from(place).unwrap();
            assert_eq!(flat(inclusion(&log, place_here, size_here)), other.prove_inclusion(place).as_bytes());
            let older = place_here + 1;
            let proof = other.prove_consistency(size - place - 1);
            assert_eq!(flat(consistency(&log, older, size_here)), proof.as_bytes(), "{older} to {size}");
        }
    }
}

#[test]
fn every_proof_of_every_small_log_holds_and_nothing_else_does() {
    let log = Log::of(40);
    for size in 0..=40 {
        let root = log.root(size);
        for index in 0..size {
            let proof = inclusion(&log, index, size);
            for other in 0..=size {
                let verified = verify_inclusion(&leaf(&log, index), other, size, &proof, &root);
                assert_eq!(verified.is_ok(), other == index, "{index} as {other} of {size}");
            }
        }
        for older in 0..=size {
            let proof = consistency(&log, older, size);
            for claimed in 0..=size + 1 {
                let root_of = log.root(older);
                let verified = verify_consistency(claimed, size, &proof, &root_of, &root);
                assert_eq!(verified.is_ok(), claimed == older, "{older} as {claimed} to {size}");
            }
        }
        assert_eq!(prove_inclusion(size, size, |node| log.read(node)), Ok(None));
        assert_eq!(prove_consistency(size + 1, size, |node| log.read(node)), Ok(None));
    }
}

/// One way in which somebody might alter a proof.
#[derive(Debug, Clone)]
enum Forgery {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, [u8; 32]),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut,
    Extend([u8; 32]),
}

fn forgeries() -> impl Strategy<Value = Forgery> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(place, bit)| Forgery::Flip(place, bit)),
        any::<Index>().prop_map(Forgery::Remove),
        (any::<Index>(), any::<[u8; 32]>()).prop_map(|(place, hash)| Forgery::Insert(place, hash)),
        any::<Index>().prop_map(Forgery::Double),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Forgery::Swap(one, other)),
        Just(Forgery::Cut),
        any::<[u8; 32]>().prop_map(Forgery::Extend),
    ]
}

fn flip(hash: &mut Hash, bit: u8) {
    let mut bytes = *hash.bytes();
    bytes[usize::from(bit >> 3)] ^= 1 << (bit & 7);
    *hash = Hash::new(bytes);
}

fn forge(proof: &[Hash], forgery: &Forgery) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    let length = proof.len();
    match forgery {
        Forgery::Insert(place, hash) => proof.insert(place.index(length + 1), Hash::new(*hash)),
        Forgery::Extend(hash) => proof.push(Hash::new(*hash)),
        _ if length == 0 => {}
        Forgery::Flip(place, bit) => flip(&mut proof[place.index(length)], *bit),
        Forgery::Remove(place) => {
            proof.remove(place.index(length));
        }
        Forgery::Double(place) => proof.insert(place.index(length), proof[place.index(length)]),
        Forgery::Swap(one, other) => proof.swap(one.index(length), other.index(length)),
        Forgery::Cut => {
            proof.pop();
        }
    }
    proof
}

fn big() -> &'static Log {
    static LOG: std::sync::OnceLock<Log> = std::sync::OnceLock::new();
    LOG.get_or_init(|| Log::of(1_200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_term_of_an_inclusion_proof_can_be_altered(
        size in 1_u64..=1_200, place in any::<prop::sample::Index>(), forgery in forgeries(),
        other_size in 1_u64..=1_200, other_index in 0_u64..1_200, bit in any::<u8>(),
    ) {
        let log = big();
        let index = u64::try_from(place.index(usize::try_from(size).unwrap())).unwrap();
        let (leaf, root, proof) = (leaf(log, index), log.root(size), inclusion(log, index, size));
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
        let forged = forge(&proof, &forgery);
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &forged, &root).is_ok(), forged == proof);
        let (mut other_leaf, mut other_root) = (leaf, root);
        flip(&mut other_leaf, bit);
        flip(&mut other_root, bit);
        prop_assert!(verify_inclusion(&other_leaf, index, size, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &other_root).is_err());
        prop_assert_eq!(verify_inclusion(&leaf, other_index, size, &proof, &root).is_ok(), other_index == index);
        // A root belongs to its size: with another one the same way is too long, too short or turns elsewhere.
        let own_root = log.root(other_size);
        prop_assert_eq!(
            verify_inclusion(&leaf, index, other_size, &proof, &own_root).is_ok(),
            other_size == size
        );
    }

    #[test]
    fn no_term_of_a_consistency_proof_can_be_altered(
        size in 1_u64..=1_200, place in any::<prop::sample::Index>(), forgery in forgeries(),
        other in 1_u64..=1_200, bit in any::<u8>(),
    ) {
        let log = big();
        let older = u64::try_from(place.index(usize::try_from(size).unwrap())).unwrap() + 1;
        let (older_root, root) = (log.root(older), log.root(size));
        let proof = consistency(log, older, size);
        prop_assert_eq!(verify_consistency(older, size, &proof, &older_root, &root), Ok(()));
        let forged = forge(&proof, &forgery);
        prop_assert_eq!(
            verify_consistency(older, size, &forged, &older_root, &root).is_ok(),
            forged == proof
        );
        let (mut other_older, mut other_root) = (older_root, root);
        flip(&mut other_older, bit);
        flip(&mut other_root, bit);
        prop_assert!(verify_consistency(older, size, &proof, &other_older, &root).is_err());
        prop_assert!(verify_consistency(older, size, &proof, &older_root, &other_root).is_err());
        prop_assert_eq!(
            verify_consistency(other, size, &proof, &log.root(other), &root).is_ok(),
            other == older || (proof.is_empty() && other == size)
        );
        prop_assert_eq!(
            verify_consistency(older, other, &proof, &older_root, &log.root(other)).is_ok(),
            other == size || (proof.is_empty() && other == older)
        );
    }

    #[test]
    fn verification_of_anything_ends_without_a_panic(
        one in any::<u64>(), other in any::<u64>(), proof in prop::collection::vec(any::<[u8; 32]>(), 0..130),
        root in any::<[u8; 32]>(),
    ) {
        let proof: Vec<Hash> = proof.into_iter().map(Hash::new).collect();
        let root = Hash::new(root);
        prop_assert!(verify_inclusion(&root, one, other, &proof, &root).is_err() || proof.is_empty());
        prop_assert!(verify_consistency(one, other, &proof, &root, &root).is_err() || one == other);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_log_goes_on_from_what_was_stored_of_it(first in 0_u64..=1_200, more in 0_u64..=1_200) {
        let log = big();
        let end = (first + more).min(1_200);
        let nodes = log.frontiers[usize::try_from(first).unwrap()].nodes().to_vec();
        let mut frontier = Frontier::from_nodes(first, nodes).unwrap();
        prop_assert_eq!(&Frontier::read(first, |node| log.read(node)).unwrap(), &frontier);
        for index in first..end {
            frontier.push(leaf(log, index), |_, _| ()).unwrap();
        }
        prop_assert_eq!(&frontier, &log.frontiers[usize::try_from(end).unwrap()]);
        // And over a range of which only the roots of its parts are known.
        let mut jumped = log.frontiers[usize::try_from(first).unwrap()].clone();
        for node in cover(first, end) {
            jumped.push_node(node.level, log.read(node).unwrap(), |_, _| ()).unwrap();
        }
        prop_assert_eq!(jumped, frontier);
    }

    #[test]
    fn proofs_made_of_tiles_are_those_made_of_the_tree(size in 1_u64..=1_200, place in any::<prop::sample::Index>()) {
        let log = big();
        let index = u64::try_from(place.index(usize::try_from(size).unwrap())).unwrap();
        let mut tiles = Tiles::new(size, |tile: &Tile| Ok::<_, Infallible>(log.file(tile)));
        let proof = prove_inclusion(index, size, |node| tiles.node(node)).unwrap().unwrap();
        prop_assert_eq!(proof, inclusion(log, index, size));
        let mut tiles = Tiles::new(size, |tile: &Tile| Ok::<_, Infallible>(log.file(tile)));
        let proof = prove_consistency(index, size, |node| tiles.node(node)).unwrap().unwrap();
        prop_assert_eq!(proof, consistency(log, index, size));
        let mut tiles = Tiles::new(size, |tile: &Tile| Ok::<_, Infallible>(log.file(tile)));
        prop_assert_eq!(Frontier::read(size, |node| tiles.node(node)).unwrap().root(), log.root(size));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_tile_has_one_name(
        level in prop::option::of(0_u8..=7), index in any::<u64>(), width in 1_u16..=256,
        text in "(tile/[0-9a-z]{1,8}/)?[x0-9/.p+-]{0,24}",
    ) {
        let content = level.map_or(Content::Entries, Content::Hashes);
        let tile = Tile { content, index, width };
        prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
        if let Some(parsed) = Tile::parse(&text) {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_are_a_bundle_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), first in any::<u64>()) {
        if let Ok(entries) = read_bundle(first, &bytes) {
            prop_assert_eq!(entries.iter().map(|entry| entry.len() + 2).sum::<usize>(), bytes.len());
        }
        let _refused = check_bundle(first, &bytes, &bytes);
    }
}

#[test]
fn a_frontier_refuses_what_is_none() {
    let hash = Hash::of(b"x");
    assert_eq!(
        Frontier::from_nodes(5, vec![hash]),
        Err(FrontierError::Nodes { size: 5, wanted: 2, found: 1 })
    );
    assert_eq!(Frontier::from_nodes(u64::MAX, vec![hash; 64]), Err(FrontierError::Full));
    let mut full = Frontier::from_nodes(audit::tree::MOST_SIZE, vec![hash; 63]).unwrap();
    assert_eq!(full.push(hash, |_, _| ()), Err(FrontierError::Full));
    let mut odd = Frontier::from_nodes(1, vec![hash]).unwrap();
    assert_eq!(odd.push_node(1, hash, |_, _| ()), Err(FrontierError::Level { size: 1, level: 1 }));
    assert_eq!(odd.push_node(200, hash, |_, _| ()), Err(FrontierError::Full));
    assert_eq!(odd.size(), 1, "a refused node leaves the log as it was");
}

#[test]
fn a_refused_proof_says_why() {
    let log = published();
    let proof = inclusion(&log, 5, 8);
    let say = |verified: Result<(), ProofError>| verified.unwrap_err().to_string();
    let (leaf, root) = (leaf(&log, 5), log.root(8));
    assert_eq!(
        say(verify_inclusion(&leaf, 5, 8, &proof[1..], &root)),
        "the proof has 2 hashes, where there must be 3"
    );
    assert_eq!(
        say(verify_inclusion(&leaf, 8, 8, &proof, &root)),
        "entry 8 is not within the first 8 entries"
    );
    assert!(say(verify_inclusion(&leaf, 4, 8, &proof, &root)).ends_with(&format!("and not to {root}")));
    assert_eq!(
        say(verify_consistency(8, 6, &[], &root, &log.root(6))),
        "a log of 6 entries does not continue one of 8"
    );
    assert_eq!(
        verify_consistency(0, 8, &[], &root, &root),
        Err(ProofError::OlderRoot { wanted: root, found: Hash::EMPTY })
    );
    assert_eq!(verify_consistency(0, 8, &[], &Hash::EMPTY, &root), Ok(()));
}

#[test]
fn tiles_are_named_and_counted_as_published() {
    let tile = |content, index, width| Tile { content, index, width };
    assert_eq!(
        tile(Content::Hashes(0), 1_234_067, 256).to_string(),
        "tile/0/x001/x234/067",
        "the specification's own example"
    );
    assert_eq!(tile(Content::Entries, 0, 3).to_string(), "tile/entries/000.p/3");
    // A log of 70,000 entries, as the specification counts its tiles.
    let files: Vec<Tile> = grown(0, 70_000).collect();
    let count =
        |content, width| files.iter().filter(|file| (file.content, file.width) == (content, width)).count();
    assert_eq!(count(Content::Hashes(0), 256), 273);
    assert_eq!(count(Content::Hashes(0), 112), 1);
    assert_eq!(count(Content::Hashes(1), 256), 1);
    assert_eq!(count(Content::Hashes(1), 17), 1);
    assert_eq!(count(Content::Hashes(2), 1), 1);
    assert_eq!(count(Content::Entries, 256) + count(Content::Entries, 112), 274);
    assert_eq!(files.len(), 273 + 1 + 1 + 1 + 1 + 274);
    let at_256: Vec<String> = grown(0, 256).map(|file| file.to_string()).collect();
    assert_eq!(at_256, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    let later: Vec<String> = grown(256, 300).map(|file| file.to_string()).collect();
    assert_eq!(later, ["tile/entries/001.p/44", "tile/0/001.p/44"]);
    assert_eq!(grown(300, 300).count(), 0);
    for wrong in [
        "tile/8/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/00/000",
        "tile/+1/000",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/01",
        "/tile/0/000",
        "tile/0/",
    ] {
        assert_eq!(Tile::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_wrong_tile_or_bundle_is_noticed() {
    let log = Log::of(600);
    let mut short = Tiles::new(600, |tile: &Tile| Ok::<_, Infallible>(log.file(tile)[1..].to_vec()));
    assert!(matches!(short.node(Node { level: 0, index: 3 }), Err(TileError::Length { found: 8191, .. })));
    let mut good = Tiles::new(600, |tile: &Tile| Ok::<_, Infallible>(log.file(tile)));
    for node in [(0, 600), (8, 2), (9, 1), (16, 0), (200, 0), (0, u64::MAX), (63, 1)] {
        let (level, index) = node;
        assert!(matches!(good.node(Node { level, index }), Err(TileError::NoNode { .. })), "{node:?}");
    }
    for index in 0..600 {
        assert_eq!(good.node(Node { level: 0, index }).unwrap(), leaf(&log, index));
    }
    let mut unread = Tiles::new(600, |_: &Tile| Err("the bucket is away"));
    assert_eq!(
        unread.node(Node { level: 0, index: 3 }).unwrap_err().to_string(),
        "tile/0/000 cannot be read"
    );

    let bundle = Tile { content: Content::Entries, index: 1, width: 256 };
    let hashes = log.file(&Tile { content: Content::Hashes(0), ..bundle });
    let entries = log.file(&bundle);
    assert_eq!(check_bundle(256, &entries, &hashes), Ok(()));
    let mut changed = entries.clone();
    let second = 2 + log.entries[256].len() + 2;
    changed[second] ^= 1;
    assert_eq!(check_bundle(256, &changed, &hashes), Err(BundleError::Changed { index: 257 }));
    assert_eq!(check_bundle(256, &entries[..=second], &hashes), Err(BundleError::Cut { index: 257 }));
    assert_eq!(
        check_bundle(256, &entries[..second - 2], &hashes),
        Err(BundleError::Count { first: 256, wanted: 256, found: 1 })
    );
}
