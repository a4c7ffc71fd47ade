//! A small log in memory, with every node of its tree.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unnecessary_wraps,
    reason = "the helpers of tests fail them, and each test program uses a part of it"
)]

use std::collections::HashMap;
use std::convert::Infallible;

use audit::SigningKey;
use audit::checkpoint::{Checkpoint, Keys};
use audit::entry::{Document, Entry, Personal, Source};
use audit::note::{NoteSigner, Signs};
use audit::tiles::{Content, Tile, add_to_bundle, tile_of};
use audit::tree::{Frontier, Hash, Node};
use kernel::{FirmId, PersonId, RequestId, Timestamp};
use uuid::Uuid;

pub const ORIGIN: &str = "audit.example.com/main";

/// A log with its entries, its nodes and its root at every size.
pub struct Log {
    pub entries: Vec<Vec<u8>>,
    pub nodes: HashMap<Node, Hash>,
    pub frontiers: Vec<Frontier>,
}

impl Log {
    pub fn of(size: u64) -> Self {
        Self::of_bytes((0..size).map(|index| bytes(&entry(index))).collect())
    }

    pub fn of_bytes(entries: Vec<Vec<u8>>) -> Self {
        let mut nodes = HashMap::new();
        let mut frontier = Frontier::new();
        let mut frontiers = vec![frontier.clone()];
        for entry in &entries {
            let full = |node, hash| assert!(nodes.insert(node, hash).is_none(), "{node:?} is full once");
            frontier.push(Hash::leaf(entry), full).unwrap();
            frontiers.push(frontier.clone());
        }
        Self { entries, nodes, frontiers }
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap()
    }

    pub fn read(&self, node: Node) -> Result<Hash, Infallible> {
        Ok(*self.nodes.get(&node).unwrap_or_else(|| panic!("{node:?} is not full")))
    }

    pub fn root(&self, size: u64) -> Hash {
        self.frontiers[usize::try_from(size).unwrap()].root()
    }

    pub fn checkpoint(&self, size: u64, signer: &NoteSigner) -> String {
        Checkpoint::new(ORIGIN, size, self.root(size)).sign(signer).unwrap().to_string()
    }

    /// As it would lie in a bucket.
    pub fn file(&self, tile: &Tile) -> Vec<u8> {
        let first = tile.index * 256;
        let range = first..first + u64::from(tile.width);
        match tile.content {
            Content::Hashes(level) => {
                let node = |index| self.nodes[&Node { level: level * 8, index }];
                tile_of(&range.map(node).collect::<Vec<Hash>>())
            }
            Content::Entries => {
                let mut bundle = Vec::new();
                for index in range {
                    add_to_bundle(&mut bundle, &self.entries[usize::try_from(index).unwrap()]).unwrap();
                }
                bundle
            }
        }
    }
}

pub fn firm(number: u64) -> FirmId {
    FirmId::from_uuid(Uuid::from_u128(u128::from(number) + 1))
}

/// Entries of three firms in turn, of every source, with and without what an entry may have.
pub fn entry(index: u64) -> Entry<'static> {
    const IDS: [&str; 4] = ["17", "3/991", "0197b2c4/2", "é"];
    let hash = Hash::of(&index.to_be_bytes());
    let person = PersonId::from_uuid(Uuid::from_u128(u128::from(index) << 64));
    Entry {
        index,
        source: [Source::Act, Source::Command, Source::Verdict][usize::try_from(index % 3).unwrap()],
        id: IDS[usize::try_from(index % 4).unwrap()],
        firm: firm(index % 3),
        at: Timestamp::from_micros(1_790_000_000_000_000 + i64::try_from(index).unwrap()),
        actor: index.is_multiple_of(2).then_some(person),
        request: index.is_multiple_of(5).then(|| RequestId::from_uuid(Uuid::from_u128(u128::from(index)))),
        action: "command.place",
        purpose: if index.is_multiple_of(7) { "a question of the trader" } else { "" },
        object_kind: "account",
        object: "0197b2c4-53a1-7c3e-9c3b-5d2f8a11e0d4",
        detail: r#"{"key":"k","outcome":"placed"}"#,
        before: index.is_multiple_of(4).then_some(hash),
        after: (index % 4 == 1).then_some(hash),
        document: index.is_multiple_of(6).then_some(Document { length: 4_321, hash }),
        personal: index.is_multiple_of(8).then_some(Personal { person, hash }),
    }
}

pub fn bytes(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes).unwrap();
    bytes
}

pub fn signer(secret: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, SigningKey::from_secret(&[secret; 32])).unwrap()
}

pub fn witness(secret: u8) -> NoteSigner {
    NoteSigner::new("witness.example/w1", SigningKey::from_secret(&[secret; 32])).unwrap()
}

pub fn keys(secret: u8) -> Keys {
    Keys::new(signer(secret).public(Signs::Text)).unwrap()
}
