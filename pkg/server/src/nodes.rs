//! What the nodes of a cluster tell each other with a call, and how they prove that they
//! are nodes.

mod proof;
mod push_metadata;

pub use proof::{NODE_TOKEN_HEADER, NodeAuthentication, NodeAuthenticationConfig, NotANode};
pub use push_metadata::{
    MetadataError, NODE_PUSH, NODE_PUSH_ALL, NODE_PUSH_SERVICE, NODE_TAKE_EDGES,
    NOT_APPLIED_HEADER, NotApplied, PushMetadata,
};
