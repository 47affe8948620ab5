//! The tokens of a node, derived from its seed.

use model::Token;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many tokens a generator has: with 512 the busiest of 3 to 64 generators has
/// 1.15 times the mean at most.
pub const TOKENS: u16 = 512;

/// The first `count` tokens of a node. They are the same for the same seed, and the
/// first ones stay when there are more of them.
pub fn derive(token_seed: u64, count: u16) -> impl Iterator<Item = Token> {
    (0..count.min(TOKENS))
        .map(move |index| Token((xxh3_64_with_seed(&index.to_le_bytes(), token_seed) >> 32) as u32))
}
