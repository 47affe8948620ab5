//! Who is in the cluster, and which generator owns a token.
//!
//! Placement is a pure function of the member list, so that every distributor that
//! knows the same members sends a trace to the same generator, and so that it can be
//! tested without a network.

pub mod agreement;
pub mod lookup;
pub mod member;
#[cfg(test)]
mod sample;
pub mod shuffle_shard;
pub mod tokens;
pub mod view;

pub use lookup::{MemberIndex, Placement};
pub use member::{Member, MemberState, Role};
pub use shuffle_shard::Shard;
pub use view::RingView;
