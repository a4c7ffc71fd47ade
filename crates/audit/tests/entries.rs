//! The one byte form of an entry.

mod log;

use audit::entry::{Document, Entry, MOST_BYTES, NotAnEntry, Personal, Source, TooLong};
use audit::tree::Hash;
use kernel::{FirmId, PersonId, RequestId, Timestamp};
use log::{bytes, entry};
use proptest::prelude::*;
use uuid::Uuid;

/// Field by field as the table in the module has it, put together by hand.
#[test]
fn the_form_is_the_documented_one() {
    let hash = Hash::of(b"state");
    let person = PersonId::from_uuid(Uuid::from_u128(0x22));
    let entry = Entry {
        index: 258,
        source: Source::Verdict,
        id: "9",
        firm: FirmId::from_uuid(Uuid::from_u128(0x11)),
        at: Timestamp::from_micros(-2),
        actor: Some(person),
        request: None,
        action: "ab",
        purpose: "",
        object_kind: "c",
        object: "é",
        detail: "{}",
        before: None,
        after: Some(hash),
        document: Some(Document { length: 3, hash }),
        personal: Some(Personal { person, hash }),
    };
    let state = hash.to_string();
    let expected = [
        "01",
        "0000000000000102",
        "03",
        "00000000000000000000000000000011",
        "fffffffffffffffe",
        "01",
        "00000000000000000000000000000022",
        "00",
        "000139",
        "00026162",
        "0000",
        "000163",
        "0002c3a9",
        "00027b7d",
        "00",
        "01",
        &state,
        "01",
        "00000003",
        &state,
        "01",
        "00000000000000000000000000000022",
        &state,
    ]
    .concat();
    assert_eq!(hex::encode(bytes(&entry)), expected);
    assert_eq!(Entry::decode(&hex::decode(expected).unwrap()), Ok(entry));
}

#[test]
fn a_changed_form_is_refused_with_the_reason() {
    let good = bytes(&entry(1));
    let say = |bytes: &[u8]| Entry::decode(bytes).unwrap_err();
    assert_eq!(say(&[]), NotAnEntry::Cut("version"));
    assert_eq!(say(&good[..20]), NotAnEntry::Cut("firm"));
    let with = |place: usize, value: u8| {
        let mut changed = good.clone();
        changed[place] = value;
        changed
    };
    assert_eq!(say(&with(0, 2)), NotAnEntry::Version(2));
    assert_eq!(say(&with(9, 4)), NotAnEntry::Source(4));
    assert_eq!(say(&with(34, 2)), NotAnEntry::Mark { what: "actor", found: 2 });
    assert_eq!(say(&with(38, 0xff)), NotAnEntry::Text("id"));
    assert_eq!(say(&with(36, 0xff)), NotAnEntry::Cut("id"));
    assert_eq!(say(&[good.as_slice(), &[0]].concat()), NotAnEntry::Longer(1));
    assert_eq!(say(&vec![1; MOST_BYTES + 1]), NotAnEntry::TooLong(MOST_BYTES + 1));
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_nothing_is_written() {
    for length in [65_535, 65_536] {
        let detail = "x".repeat(length);
        let mut bytes = b"before".to_vec();
        assert_eq!(Entry { detail: &detail, ..entry(1) }.encode(&mut bytes), Err(TooLong));
        assert_eq!(bytes, b"before");
    }
    let rest = bytes(&Entry { detail: "", ..entry(1) }).len();
    let detail = "x".repeat(MOST_BYTES - rest);
    assert_eq!(bytes(&Entry { detail: &detail, ..entry(1) }).len(), MOST_BYTES);
}

fn hashes() -> impl Strategy<Value = Option<Hash>> {
    prop::option::of(any::<[u8; 32]>().prop_map(Hash::new))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_entry_is_read_as_it_was_written(
        (index, code, firm, at) in (any::<u64>(), 1_u8..=3, any::<u128>(), any::<i64>()),
        (actor, request) in (prop::option::of(any::<u128>()), prop::option::of(any::<u128>())),
        texts in prop::array::uniform6("\\PC{0,20}"),
        (before, after, document, personal) in (hashes(), hashes(), hashes(), hashes()),
        length in any::<u32>(),
    ) {
        let [id, action, purpose, object_kind, object, detail] = &texts;
        let person = PersonId::from_uuid(Uuid::from_u128(firm.rotate_left(7)));
        let entry = Entry {
            index, source: Source::from_code(code).unwrap(), id, action, purpose, object_kind, object, detail,
            firm: FirmId::from_uuid(Uuid::from_u128(firm)),
            at: Timestamp::from_micros(at),
            actor: actor.map(|id| PersonId::from_uuid(Uuid::from_u128(id))),
            request: request.map(|id| RequestId::from_uuid(Uuid::from_u128(id))),
            before, after,
            document: document.map(|hash| Document { length, hash }),
            personal: personal.map(|hash| Personal { person, hash }),
        };
        let written = bytes(&entry);
        prop_assert_eq!(Entry::decode(&written), Ok(entry));
        for cut in 0..written.len() {
            prop_assert!(Entry::decode(&written[..cut]).is_err());
        }
    }

    #[test]
    fn whatever_is_accepted_is_written_again_with_the_same_bytes(
        index in 0_u64..100, place in any::<prop::sample::Index>(), to in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut changed = bytes(&entry(index));
        let place = place.index(changed.len());
        changed[place] = to;
        for form in [&changed, &noise] {
            if let Ok(entry) = Entry::decode(form) {
                prop_assert_eq!(&bytes(&entry), form);
            }
        }
    }
}
