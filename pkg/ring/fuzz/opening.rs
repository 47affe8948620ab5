//! What must hold of any bytes that come as gossip: they are refused, and what a member
//! sends after them is taken as if they had not been there.

use spanmill_ring::gossip::frame::{Opener, Sealer, Seals};

const NOW_MS: u64 = 1_700_000_000_000;

/// Takes the bytes for datagrams, cut after each whose length the first byte says, with
/// and without a key; then takes them for a message.
pub(crate) fn check(bytes: &[u8]) {
    for keys in [&[][..], &[[7; 32]]] {
        let seals = Seals::new("label", keys);
        let mut opener = Opener::new(seals.clone());
        let mut rest = bytes;
        while let [length, after @ ..] = rest {
            let (datagram, next) = after.split_at(after.len().min(usize::from(*length)));
            let opened = opener.open(datagram, NOW_MS);
            // Without a key, anybody can make one.
            assert!(opened.is_err() || keys.is_empty(), "{datagram:?}");
            rest = next;
        }
        let mut taken = None;
        let mut sealer = Sealer::new(seals, u64::MAX);
        for datagram in sealer.seal(bytes, NOW_MS).into_iter().flatten() {
            taken = opener.open(&datagram, NOW_MS).ok().flatten();
        }
        assert_eq!(taken.as_deref(), Some(bytes));
    }
}
