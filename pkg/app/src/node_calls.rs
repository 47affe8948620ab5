//! `/spanmill.v1.Node/...`: what nodes ask each other about tenants.
//!
//! Questions and answers are JSON, of which fields that are not known are passed over: nodes
//! of two versions understand each other. A call that a node does not know is answered with
//! `UNIMPLEMENTED`.

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::NodeAuthentication;
use server::authentication::PeerIdentity;
use server::grpc::{calls, unary};
use tonic::Status;

use crate::deletion::Deletion;
use crate::pages::tenants::Tenants;

/// A call of one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeCall {
    /// Deletes a tenant; answered when that is done.
    DeleteTenant,
    /// Which tenants were deleted, and when.
    Deletions,
    /// Which tenants there are, and by what they are where they are in a list.
    Standings,
    /// What there is of some tenants.
    Tenants,
    /// What the series of a tenant are made of.
    Survey,
    /// What a processor would add for a tenant.
    Trial,
}

/// What answers other nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeAnswers {
    pub(crate) authentication: NodeAuthentication,
    pub(crate) deletion: Deletion,
    pub(crate) tenants: Tenants,
}

impl NodeCall {
    /// All that there are.
    const ALL: [Self; 6] = [
        Self::DeleteTenant,
        Self::Deletions,
        Self::Standings,
        Self::Tenants,
        Self::Survey,
        Self::Trial,
    ];

    /// The one with a path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.path() == path)
    }

    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::DeleteTenant => "/spanmill.v1.Node/DeleteTenant",
            Self::Deletions => "/spanmill.v1.Node/Deletions",
            Self::Standings => "/spanmill.v1.Node/Standings",
            Self::Tenants => "/spanmill.v1.Node/Tenants",
            Self::Survey => "/spanmill.v1.Node/Survey",
            Self::Trial => "/spanmill.v1.Node/Trial",
        }
    }
}

impl NodeAnswers {
    /// The gRPC methods, as routes for the internal listener. They tell nodes from others
    /// themselves: whatever else guards that listener is to let their paths through.
    pub(crate) fn routes(self, max_message_bytes: usize) -> Router {
        let answers = Arc::new(self);
        let paths = NodeCall::ALL.map(NodeCall::path);
        calls(paths, max_message_bytes, move |parts, body| {
            let answers = Arc::clone(&answers);
            async move {
                // Before the body, so that strangers cost us little.
                if let Err(status) = admit(&answers.authentication, &parts) {
                    return status.into_http();
                }
                let answer = async |question: Bytes| answers.answer(&parts, &question).await;
                unary(body, answer).await
            }
        })
    }

    async fn answer(&self, parts: &Parts, question: &[u8]) -> Result<Bytes, Status> {
        match NodeCall::of(parts.uri.path()) {
            Some(NodeCall::DeleteTenant) => write(&self.deletion.obey(&read(question)?).await?),
            Some(NodeCall::Deletions) => write(&self.deletion.done()),
            Some(NodeCall::Standings) => write(&self.tenants.standings(read(question)?).await),
            Some(NodeCall::Tenants) => write(&self.tenants.described(read(question)?).await),
            Some(NodeCall::Survey) => write(&self.tenants.surveyed(read(question)?).await),
            Some(NodeCall::Trial) => write(&self.tenants.tried(read(question)?).await),
            None => Err(Status::unimplemented("no such call")),
        }
    }
}

/// Lets nodes of the cluster in. What cannot be undone is never done for somebody who has
/// shown nothing, nor does anybody hear here what to undo.
fn admit(authentication: &NodeAuthentication, parts: &Parts) -> Result<(), Status> {
    let peer = parts.extensions.get::<Arc<PeerIdentity>>();
    authentication
        .admit(&parts.headers, peer.map(|peer| &**peer))
        .map_err(|error| error.grpc_status())?;
    let deletes = matches!(
        NodeCall::of(parts.uri.path()),
        Some(NodeCall::DeleteTenant | NodeCall::Deletions)
    );
    if deletes && !authentication.is_on() {
        return Err(Status::failed_precondition(
            "without node_authentication a node deletes no tenant because another one has",
        ));
    }
    Ok(())
}

/// Reads a question or an answer.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(message: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(message).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Writes a question or an answer.
///
/// # Errors
///
/// Where it is none that JSON can have.
pub(crate) fn write<T: Serialize>(message: &T) -> Result<Bytes, Status> {
    let written = serde_json::to_vec(message);
    written
        .map(Bytes::from)
        .map_err(|error| Status::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use server::NodeAuthenticationConfig;
    use server::nodes::NODE_TOKEN_HEADER;
    use settings::Secret;
    use tonic::Code;

    use super::*;

    #[test]
    fn tenants_are_deleted_for_nodes_that_show_who_they_are_and_for_nobody_else() {
        const TOKEN: &str = "the-token-of-the-cluster-of-nodes";
        let open = NodeAuthentication::new(&NodeAuthenticationConfig::default());
        let guarded = NodeAuthentication::new(&NodeAuthenticationConfig {
            token: Secret::new(TOKEN),
            ..NodeAuthenticationConfig::default()
        });
        let (delete, survey) = (NodeCall::DeleteTenant, NodeCall::Survey);
        let told = NodeCall::Deletions;
        for (authentication, call, token, want) in [
            (&open, survey, None, Ok(())),
            (&open, delete, None, Err(Code::FailedPrecondition)),
            (&open, delete, Some(TOKEN), Err(Code::FailedPrecondition)),
            (&open, told, None, Err(Code::FailedPrecondition)),
            (&guarded, survey, None, Err(Code::Unauthenticated)),
            (&guarded, delete, None, Err(Code::Unauthenticated)),
            (&guarded, delete, Some(TOKEN), Ok(())),
            (&guarded, told, None, Err(Code::Unauthenticated)),
            (&guarded, told, Some(TOKEN), Ok(())),
        ] {
            let mut request = Request::post(call.path());
            if let Some(token) = token {
                request = request.header(NODE_TOKEN_HEADER, token);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let admitted = admit(authentication, &parts).map_err(|status| status.code());
            assert_eq!(admitted, want, "{call:?} {token:?}");
        }
    }
}
