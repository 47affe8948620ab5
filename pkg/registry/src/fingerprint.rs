//! Hashes that name label sets.
//!
//! Both are keyed with secrets of the process, so that nobody outside can
//! choose values that collide. The registry compares label bytes as well; the
//! lane key stands alone. docs/adr has the figures.

use std::hash::Hasher as _;
use std::sync::OnceLock;

use rand::RngCore as _;
use siphasher::sip::SipHasher13;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// A 128-bit hash over the raw values of a label set.
///
/// It finds a lane's row and nothing else: different keys may lead to one label
/// set (5 and "5"), and the registry settles that by the labels themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LaneKey(pub(crate) u128);

/// Hashes raw values to lane keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: &'static [u8; SECRET_BYTES],
}

/// XXH3's default length of a secret.
const SECRET_BYTES: usize = 192;

static SECRETS: OnceLock<Secrets> = OnceLock::new();

#[derive(Debug)]
struct Secrets {
    lane: [u8; SECRET_BYTES],
    labels: [u64; 2],
}

fn secrets() -> &'static Secrets {
    SECRETS.get_or_init(|| {
        let mut random = rand::rng();
        let mut lane = [0; SECRET_BYTES];
        random.fill_bytes(&mut lane);
        Secrets {
            lane,
            labels: [random.next_u64(), random.next_u64()],
        }
    })
}

impl KeyHasher {
    /// A hasher with the process's secret.
    pub fn new() -> Self {
        Self {
            secret: &secrets().lane,
        }
    }

    /// The key of `bytes`.
    #[inline]
    pub fn key(self, bytes: &[u8]) -> LaneKey {
        LaneKey(xxh3_128_with_secret(bytes, self.secret))
    }
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl LaneKey {
    /// The key as bytes, to hash one key into another.
    #[inline]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_ne_bytes()
    }

    /// A hash for tables by this key: it is one already.
    #[inline]
    pub fn low_bits(self) -> u64 {
        self.0 as u64
    }
}

/// The hash by which the registry finds a canonical label set.
pub(crate) fn hash_labels(labels: &[u8]) -> u64 {
    let [k0, k1] = secrets().labels;
    let mut hasher = SipHasher13::new_with_keys(k0, k1);
    hasher.write(labels);
    hasher.finish()
}
