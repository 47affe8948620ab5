//! Halves of edges that come from another generator, since their traces are ours now.

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use proto::cluster;
use ring::MemberState;
use server::Tenancy;
use server::nodes::NotApplied;
use tonic::Status;

use super::{NodePushDependencies, NodePushes};
use crate::moving::AcceptEdgesError;

/// Nodes always say whose they are.
const TENANCY: Tenancy = Tenancy {
    multitenancy_enabled: true,
};

impl NodePushes {
    /// Takes halves of edges in; the answer says how many spans.
    pub(super) fn take_edges(&self, headers: &HeaderMap, halves: &Bytes) -> Result<Bytes, Status> {
        let NodePushDependencies {
            generator,
            ring,
            id,
            ..
        } = &self.0.dependencies;
        let tenant = TENANCY.tenant(headers);
        let tenant = tenant.map_err(|error| error.grpc_status())?;
        let placement = ring.placement();
        let own = placement.members().iter().find(|member| member.id == *id);
        if own.is_some_and(|own| own.state != MemberState::Active) {
            return Err(NotApplied::Leaving.grpc_status());
        }
        match generator.accept_edges(&tenant, halves) {
            Ok(spans) => {
                let answer = cluster::PushOutcome {
                    spans,
                    ..cluster::PushOutcome::default()
                };
                Ok(answer.encode_to_vec().into())
            }
            Err(error @ AcceptEdgesError::Unavailable { .. }) => {
                Err(Status::unavailable(error.to_string()))
            }
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }
}
