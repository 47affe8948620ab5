//! What the cluster knows of one of its nodes.

use std::net::SocketAddr;
use std::sync::Arc;

use strum::{EnumString, IntoStaticStr, VariantArray};

/// A node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, one in the cluster, kept across restarts.
    pub id: Arc<str>,
    /// Which life of it this is: higher after each start.
    pub incarnation: u64,
    /// What it does.
    pub role: Role,
    /// What it takes.
    pub state: MemberState,
    /// Where it stands; empty if it does not say.
    pub zone: Arc<str>,
    /// Where its internal gRPC listens.
    pub address: SocketAddr,
    /// What its tokens are derived from; kept across restarts.
    pub token_seed: u64,
    /// How many of its tokens it takes traffic for, in `0..=`[`TOKENS`](crate::tokens::TOKENS):
    /// a generator that joins goes up in steps.
    pub tokens: u16,
    /// Its version, as it writes it.
    pub version: Arc<str>,
    /// Whether the failure detector takes it for alive.
    pub is_alive: bool,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Takes spans in and sends them on; has no tokens.
    Distributor,
    /// Makes series.
    Generator,
    /// Both.
    All,
    /// Something that this version does not know.
    Unknown,
}

impl Role {
    /// Whether it has tokens.
    pub fn generates(self) -> bool {
        matches!(self, Self::Generator | Self::All)
    }

    /// Whether clients send spans to it.
    pub fn distributes(self) -> bool {
        matches!(self, Self::Distributor | Self::All)
    }
}

/// What a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MemberState {
    /// It restores, and takes nothing yet.
    Joining,
    /// It takes spans.
    Active,
    /// It takes no new spans, and is about to go.
    Leaving,
    /// It takes no new spans, and stays.
    ReadOnly,
    /// It says something that this version does not know.
    Unknown,
}

impl Member {
    /// Whether spans are sent to it: it makes series, is active and alive.
    pub fn owns_tokens(&self) -> bool {
        self.role.generates() && self.state == MemberState::Active && self.is_alive
    }
}
