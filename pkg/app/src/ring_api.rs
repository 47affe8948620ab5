//! What `/ring` answers, for who writes it and who reads it.
//!
//! Fields may come in addition; none changes its meaning.

use serde::{Deserialize, Serialize};

/// `/ring?format=json`: the cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RingAnswer {
    /// The id of the node that answers.
    pub id: String,
    /// Whether another node has its id; the later one of the two takes no spans.
    pub has_duplicate_id: bool,
    /// How long ago it last heard of any other node; none if it never did.
    pub last_heard_seconds: Option<f64>,
    /// Distributors that take spans from clients.
    pub live_distributors: u64,
    /// Generators that would be loaded to 70 % each by what the active ones do now.
    pub desired_generators: u64,
    /// All that it knows, by id, itself among them.
    pub members: Vec<MemberAnswer>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberAnswer {
    /// Its id.
    pub id: String,
    /// Which life of it this is: when it started, in milliseconds since the Unix epoch.
    pub incarnation: u64,
    /// `distributor`, `generator`, `all` or `unknown`.
    pub role: String,
    /// `joining`, `active`, `leaving`, `read_only`, `unknown`, or `dead`: it is silent.
    pub state: String,
    /// Where it stands; empty if it does not say.
    pub zone: String,
    /// Where its internal gRPC listens.
    pub address: String,
    /// Where it gossips.
    pub gossip_address: String,
    /// Tokens that it takes traffic for.
    pub tokens: u16,
    /// The part of all traces that it owns, from 0 to 1.
    pub share: f64,
    /// How much of what it can do it does; 1 is all.
    pub load: f64,
    /// How long ago its heartbeat was heard; 0 for the node that answers.
    pub heartbeat_age_seconds: f64,
    /// Its version.
    pub version: String,
    /// Whether it hashes traces as the node that answers; all ought to.
    pub has_same_cluster_seed: bool,
}

/// The body of `POST /ring/forget`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// The id of the member to forget.
    pub id: String,
}
