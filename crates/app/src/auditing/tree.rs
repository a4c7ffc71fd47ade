//! Roots and proofs from the hashes that are stored: first it is asked which nodes are needed, then they are read in one go.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use audit::tree::{self, Frontier, Hash, Node};

use super::{AuditStore, Break, LogError, Stretch};

/// The log's end at a size, from which its root follows and from which it goes on.
pub async fn frontier(store: &dyn AuditStore, size: u64) -> Result<Frontier, LogError> {
    let nodes = read(store, tree::cover(0, size).collect()).await?;
    Frontier::read(size, |node| nodes.get(&node).copied().ok_or_else(|| no_node(node).into()))
}

/// The root of the first `size` entries.
pub async fn root(store: &dyn AuditStore, size: u64) -> Result<Hash, LogError> {
    Ok(frontier(store, size).await?.root())
}

/// The proof that an entry is in the log at a size; none if it is not.
pub async fn prove_inclusion(
    store: &dyn AuditStore,
    index: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, LogError> {
    let nodes = read(store, asked(|ask| tree::prove_inclusion(index, size, ask))).await?;
    tree::prove_inclusion(index, size, |node| nodes.get(&node).copied().ok_or_else(|| no_node(node).into()))
}

/// The proof that the log continues what it was at an older size; none if it was not shorter.
pub async fn prove_consistency(
    store: &dyn AuditStore,
    older: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, LogError> {
    let nodes = read(store, asked(|ask| tree::prove_consistency(older, size, ask))).await?;
    tree::prove_consistency(older, size, |node| nodes.get(&node).copied().ok_or_else(|| no_node(node).into()))
}

type Asked = Result<Option<Vec<Hash>>, Infallible>;

/// Which nodes a proof asks for.
fn asked(prove: impl FnOnce(&mut dyn FnMut(Node) -> Result<Hash, Infallible>) -> Asked) -> BTreeSet<Node> {
    let mut nodes = BTreeSet::new();
    // The hashes of this proof are not looked at.
    let Ok(_) = prove(&mut |node| {
        nodes.insert(node);
        Ok(Hash::EMPTY)
    });
    nodes
}

pub(super) async fn read(
    store: &dyn AuditStore,
    wanted: BTreeSet<Node>,
) -> Result<HashMap<Node, Hash>, LogError> {
    let stretches: Vec<Stretch> = wanted.iter().map(|node| stretch(*node)).collect();
    let rows = store.hashes(&stretches).await?;
    let mut nodes = HashMap::new();
    for ((node, stretch), mut row) in wanted.into_iter().zip(stretches).zip(rows) {
        if u64::try_from(row.len()) != Ok(stretch.count) {
            return Err(no_node(node).into());
        }
        while row.len() > 1 {
            let pairs = row.chunks_exact(2);
            row = pairs
                .filter_map(
                    |pair| {
                        if let [left, right] = pair { Some(Hash::node(left, right)) } else { None }
                    },
                )
                .collect();
        }
        nodes.extend(row.first().map(|hash| (node, *hash)));
    }
    Ok(nodes)
}

/// Where in the tiles a node comes from.
fn stretch(node: Node) -> Stretch {
    let halvings = u32::from(node.level.checked_rem(8).unwrap_or(0));
    let count = 1_u64.checked_shl(halvings).unwrap_or(1);
    let level = node.level.checked_div(8).unwrap_or(0);
    Stretch { level, first: node.index.saturating_mul(count), count }
}

pub(super) fn no_node(node: Node) -> Break {
    let Stretch { level, first, .. } = stretch(node);
    Break::NoNode { level, place: first }
}
