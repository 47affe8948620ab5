//! Who is in the cluster, and which generator owns a token.
//!
//! Placement is a pure function of the member list, so that every distributor that
//! knows the same members sends a trace to the same generator, and so that it can be
//! tested without a network. The member list comes from gossip.

pub mod agreement;
pub mod config;
pub mod gossip;
pub mod lifecycler;
pub mod lookup;
pub mod member;
pub mod metrics;
pub mod node_file;
pub mod protocols;
pub mod ring;
#[cfg(test)]
mod sample;
pub mod shuffle_shard;
mod time;
pub mod tokens;
pub mod view;

pub use config::{GossipSettings, MemberlistConfig, RingConfig};
pub use gossip::{Datagrams, MemberStatus, own_address};
pub use lookup::{MemberIndex, Placement};
pub use member::{Member, MemberState, Role};
pub use metrics::RingMetrics;
pub use node_file::{Node, NodeFileError};
pub use protocols::{NoProtocols, Protocols};
pub use ring::{ForgetError, Identity, Ring, StartRingError};
pub use shuffle_shard::Shard;
pub use view::{RingView, shares};
