//! Who leads what, when several processes ask.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use app::leadership::Leadership as _;
use kernel::{OwnerId, Span};
use testkit::World;

const MINUTE: Span = Span::from_seconds(60);

fn owner(name: &str) -> OwnerId {
    OwnerId::derived(&[name.as_bytes()])
}

/// One name of a kind, and four of another.
fn names() -> Vec<String> {
    ["relay", "mail:0", "mail:1", "mail:2", "mail:3"].map(str::to_owned).into()
}

async fn lead(world: &World, name: &str, length: Span) -> BTreeSet<String> {
    world.store.lead(owner(name), &names(), length).await.unwrap().into_keys().collect()
}

#[tokio::test]
async fn whoever_comes_later_gets_a_share_of_what_there_are_several_of() {
    let world = World::new().await;
    assert_eq!(lead(&world, "a", MINUTE).await.len(), 5, "alone it leads everything");
    assert!(lead(&world, "b", MINUTE).await.is_empty(), "what somebody works on is not taken away");
    let kept = lead(&world, "a", MINUTE).await;
    assert_eq!(kept, names().into_iter().take(3).collect(), "it lets go of what is beyond its share");
    let taken = lead(&world, "b", MINUTE).await;
    assert_eq!(taken, names().into_iter().skip(3).collect());
    for _ in 0..3 {
        assert_eq!(lead(&world, "a", MINUTE).await, kept, "and then everybody keeps what they have");
        assert_eq!(lead(&world, "b", MINUTE).await, taken);
    }
    world.store.give_up(owner("a"), &names()).await.unwrap();
    assert_eq!(lead(&world, "b", MINUTE).await.len(), 5, "whoever is left leads everything");
}

#[tokio::test]
async fn whoever_is_not_heard_of_any_more_has_no_share() {
    let world = World::new().await;
    let gone = Span::from_micros(1);
    assert_eq!(lead(&world, "a", gone).await.len(), 5);
    let before = world.store.lead(owner("b"), &names(), MINUTE).await.unwrap();
    assert_eq!(before.len(), 5);
    assert!(lead(&world, "a", MINUTE).await.is_empty());
    let after = world.store.lead(owner("b"), &names(), MINUTE).await.unwrap();
    assert!(after.iter().all(|(name, token)| before[name] == *token), "a token stays while its holder does");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_never_share_a_name() {
    let world = std::sync::Arc::new(World::new().await);
    for _ in 0..10 {
        let asking = (0..8).map(|number| {
            let world = world.clone();
            tokio::spawn(async move { lead(&world, &format!("p{number}"), MINUTE).await })
        });
        let mut held = Vec::new();
        for asked in asking.collect::<Vec<_>>() {
            held.extend(asked.await.unwrap());
        }
        let distinct: BTreeSet<&String> = held.iter().collect();
        assert_eq!(distinct.len(), held.len(), "{held:?}");
    }
    let mut held = BTreeSet::new();
    for number in 0..8 {
        held.extend(lead(&world, &format!("p{number}"), MINUTE).await);
    }
    assert_eq!(held.len(), 5, "everything is led by somebody");
}
