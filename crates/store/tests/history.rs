//! A shard's history is read at one instant, by its owner's leave or without, and by each firm only its own.

use crate::common::{Owner, story};
use app::trading::{HistoryStore as _, RowsOf, Whose};
use testkit::{World, instruments};

#[tokio::test]
async fn a_snapshot_is_the_state_and_takes_nothing_over() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut owner = Owner::take(&world, 0).await;
    let snapshot = world.store.snapshot(0, RowsOf::All).await.unwrap().unwrap();
    assert_eq!((snapshot.shard, snapshot.seq), (0, owner.seq));
    assert_eq!(snapshot.quote_position, owner.position);
    let engine = snapshot.state.restore(instruments()).unwrap();
    assert_eq!(engine.state_hash().unwrap(), owner.engine.state_hash().unwrap());

    // The owner was not deposed: it still commits.
    let next = owner.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    owner.quote("EURUSD", 121_300, 121_302);
    owner.buy(next, "EURUSD", 1).unwrap();
    let _proof = owner.commit().await.unwrap();
    let later = world.store.snapshot(0, RowsOf::One(story.passed)).await.unwrap().unwrap();
    assert!(later.seq > snapshot.seq);
    let journal = world.store.journal(0, snapshot.seq, 100).await.unwrap();
    assert_eq!(journal.len(), 2, "from the row named on");
    assert!(world.store.snapshot(77, RowsOf::Nobody).await.unwrap().is_none());
}

#[tokio::test]
async fn each_firm_finds_its_own_accounts() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let other = story(&world, "other", 3).await;
    let find = async |whose: Whose| world.store.find(&whose).await.unwrap();

    let of_one = find(Whose::Slug(one.firm, "two-step".to_owned())).await.unwrap();
    assert_eq!(of_one.len(), 3, "two bought, and one passed");
    assert!(of_one.iter().all(|whereabouts| whereabouts.shard == 0));
    let challenge = find(Whose::ChallengeOf(other.passed)).await.unwrap();
    assert_eq!(challenge.len(), 2);
    assert!(challenge.iter().all(|whereabouts| whereabouts.shard == 3));
    assert!(challenge.iter().any(|whereabouts| whereabouts.account == other.passed));

    let loaded = crate::common::take_over(&world, 0).await;
    let version = loaded.state.programs.first().unwrap().0.clone();
    assert_eq!(find(Whose::Version(None, version.clone())).await.unwrap().len(), 3);
    assert_eq!(find(Whose::Version(Some(one.firm), version.clone())).await.unwrap(), of_one);
    assert_eq!(find(Whose::Version(Some(other.firm), version)).await, None, "the version of somebody else");
    assert_eq!(find(Whose::Slug(one.firm, "no-such".to_owned())).await, None);
    assert_eq!(find(Whose::ChallengeOf(kernel::AccountId::derived(&[b"nobody"]))).await, None);
}
