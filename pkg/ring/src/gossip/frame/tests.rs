use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000_000;
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

fn sealer(label: &str, keys: &[[u8; 32]]) -> Sealer {
    Sealer::new(Seals::new(label, keys), 77)
}

fn opener(label: &str, keys: &[[u8; 32]]) -> Opener {
    Opener::new(Seals::new(label, keys))
}

fn one(sealer: &mut Sealer, message: &[u8]) -> Vec<u8> {
    let [datagram] = sealer.seal(message, NOW).unwrap().try_into().unwrap();
    datagram
}

#[test]
fn what_is_sealed_opens_and_does_not_show_the_message() {
    for keys in [&[][..], &[OLD]] {
        let datagram = one(&mut sealer("a", keys), b"who is there");
        assert_eq!(datagram.len(), HEADER + 12 + TAG);
        let is_plain = datagram.windows(12).any(|bytes| bytes == b"who is there");
        assert_eq!(is_plain, keys.is_empty());
        let opened = opener("a", keys).open(&datagram, NOW);
        assert_eq!(opened, Ok(Some(b"who is there".to_vec())));
    }
}

#[test]
fn datagrams_are_refused_with_the_reason() {
    let sealed = one(&mut sealer("a", &[OLD]), b"m");
    let plain = one(&mut sealer("a", &[]), b"m");
    let mut damaged = sealed.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut other_part = sealed.clone();
    other_part[35] = 2;
    let mut damaged_plain = plain.clone();
    damaged_plain[HEADER] ^= 1;
    let mut next_version = sealed.clone();
    next_version[0] = 2;
    let with = |label, keys: &[[u8; 32]]| opener(label, keys);
    for (name, mut opener, datagram, now, want) in [
        (
            "empty",
            with("a", &[OLD]),
            &[][..],
            NOW,
            Refusal::UnknownFormat,
        ),
        (
            "cut",
            with("a", &[OLD]),
            &sealed[..HEADER + TAG - 1],
            NOW,
            Refusal::UnknownFormat,
        ),
        (
            "of the next version",
            with("a", &[OLD]),
            &next_version,
            NOW,
            Refusal::UnknownFormat,
        ),
        (
            "of another cluster",
            with("b", &[OLD]),
            &sealed,
            NOW,
            Refusal::OtherCluster,
        ),
        (
            "not sealed",
            with("a", &[OLD]),
            &plain,
            NOW,
            Refusal::NotSealed,
        ),
        (
            "sealed for others",
            with("a", &[]),
            &sealed,
            NOW,
            Refusal::UnknownKey,
        ),
        (
            "with another key",
            with("a", &[NEW]),
            &sealed,
            NOW,
            Refusal::UnknownKey,
        ),
        (
            "late",
            with("a", &[OLD]),
            &sealed,
            NOW + 30_001,
            Refusal::Stale,
        ),
        (
            "early",
            with("a", &[OLD]),
            &sealed,
            NOW - 30_001,
            Refusal::Stale,
        ),
        ("damaged", with("a", &[OLD]), &damaged, NOW, Refusal::Forged),
        (
            "with an altered header",
            with("a", &[OLD]),
            &other_part,
            NOW,
            Refusal::Forged,
        ),
        (
            "damaged and plain",
            with("a", &[]),
            &damaged_plain,
            NOW,
            Refusal::Forged,
        ),
    ] {
        assert_eq!(opener.open(datagram, now), Err(want), "{name}");
    }
}

#[test]
fn label_hash_alone_does_not_make_two_clusters_one() {
    let sealed = one(&mut sealer("a", &[OLD]), b"m");
    let mut opener = opener("b", &[OLD]);
    opener.seals.label_hash = Seals::new("a", &[]).label_hash;
    assert_eq!(opener.open(&sealed, NOW), Err(Refusal::Forged));
}

#[test]
fn datagram_is_taken_once_also_if_it_comes_late() {
    for keys in [&[][..], &[OLD]] {
        let (mut sealer, mut opener) = (sealer("a", keys), opener("a", keys));
        let [first, second, third] = [0, 1, 2].map(|number| one(&mut sealer, &[number]));
        assert_eq!(opener.open(&first, NOW), Ok(Some(vec![0])));
        assert_eq!(opener.open(&first, NOW), Err(Refusal::Replayed));
        assert_eq!(opener.open(&third, NOW), Ok(Some(vec![2])));
        assert_eq!(opener.open(&second, NOW), Ok(Some(vec![1])));
        assert_eq!(opener.open(&second, NOW), Err(Refusal::Replayed));
    }
}

/// A forger could otherwise make us refuse what a member sends next.
#[test]
fn forged_datagram_does_not_move_the_window() {
    let (mut sealer, mut opener) = (sealer("a", &[OLD]), opener("a", &[OLD]));
    let true_one = one(&mut sealer, b"m");
    let mut forged = true_one.clone();
    forged[HEADER] ^= 1;
    assert_eq!(opener.open(&forged, NOW), Err(Refusal::Forged));
    assert_eq!(opener.open(&true_one, NOW), Ok(Some(b"m".to_vec())));
}

#[test]
fn keys_are_changed_without_a_pause_in_three_steps() {
    let steps: [&[[u8; 32]]; 4] = [&[OLD], &[OLD, NEW], &[NEW, OLD], &[NEW]];
    for neighbours in steps.windows(2) {
        let [before, after] = neighbours else {
            panic!("windows of two");
        };
        for (from, to) in [(before, after), (after, before)] {
            let datagram = one(&mut sealer("a", from), b"m");
            let opened = opener("a", to).open(&datagram, NOW);
            assert_eq!(opened, Ok(Some(b"m".to_vec())));
        }
    }
}

#[test]
fn long_message_is_split_and_put_together_in_any_order() {
    let message: Vec<u8> = (0..65_510_u32).map(|byte| (byte % 251) as u8).collect();
    let (mut sealer, mut opener) = (sealer("a", &[OLD]), opener("a", &[OLD]));
    let other = sealer.seal(&message, NOW).unwrap();
    let [first, second] = sealer.seal(&message, NOW).unwrap().try_into().unwrap();
    assert_eq!((first.len(), second.len()), (60_052, 5_562));
    assert_eq!(opener.open(&second, NOW), Ok(None));
    assert_eq!(opener.open(&other[0], NOW), Ok(None));
    assert_eq!(opener.open(&first, NOW), Ok(Some(message)));
}

#[test]
fn message_of_more_than_four_datagrams_is_refused() {
    let refused = sealer("a", &[]).seal(&vec![0; 240_001], NOW);
    assert_eq!(refused, Err(MessageTooLong { length: 240_001 }));
    assert_eq!(
        sealer("a", &[]).seal(&vec![0; 240_000], NOW).unwrap().len(),
        4
    );
}

#[test]
fn nonce_is_not_used_twice_when_the_counter_ends() {
    let mut sealer = sealer("a", &[OLD]);
    sealer.counter = u32::MAX - 3;
    let datagram = one(&mut sealer, b"m");
    let header = Header::read(datagram.first_chunk().unwrap()).unwrap();
    assert_eq!((header.session, header.counter), (78, 0));
}

/// Nodes of the versions before and after read them.
#[test]
fn datagrams_are_those_of_their_version() {
    for (name, keys) in [("gossip-sealed", &[OLD][..]), ("gossip-plain", &[])] {
        let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), name);
        let mut sealer = sealer("a", keys);
        sealer.counter = 5;
        let datagram = one(&mut sealer, b"m");
        format.check(u64::from(datagram[0]), &datagram).unwrap();
        for (version, kept) in format.kept().unwrap() {
            let opened = opener("a", keys).open(&kept, NOW);
            assert_eq!(opened, Ok(Some(b"m".to_vec())), "{name} {version}");
        }
    }
}

proptest! {
    /// forall bytes: opening ends, and takes nothing that no member made.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(opener("a", &[OLD]).open(&bytes, NOW).is_err());
        prop_assert!(opener("a", &[]).open(&bytes, NOW).is_err());
    }

    /// forall messages, keys and one changed byte: it is refused.
    #[test]
    fn altered_datagrams_are_refused(
        message in prop::collection::vec(any::<u8>(), 0..100),
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
        is_sealed in any::<bool>(),
    ) {
        let keys: &[[u8; 32]] = if is_sealed { &[OLD] } else { &[] };
        let mut datagram = one(&mut sealer("a", keys), &message);
        let place = place.index(datagram.len());
        datagram[place] ^= change;
        prop_assert!(opener("a", keys).open(&datagram, NOW).is_err());
    }
}
