//! Questions to the other nodes of the cluster.

use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use futures_util::future::join_all;
use ring::Member;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::grpc::BytesCodec;
use tokio::time::timeout;
use tonic::{Request, Status};

use super::Cluster;
use crate::node_calls::{NodeCall, read, write};

/// The longest answer that is read: tens of thousands of tenants.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What one node answered, or why not.
#[derive(Clone, Debug)]
pub(crate) struct Asked<T> {
    /// Its id.
    pub(crate) node: Arc<str>,
    pub(crate) answer: Result<T, String>,
}

impl Cluster {
    /// All nodes but this one that are in the ring, the dead among them.
    pub(crate) fn others(&self) -> Vec<Member> {
        let own = &self.ring.identity().id;
        let members = self.ring.members();
        let others = members.iter().map(|status| &status.member);
        others.filter(|other| other.id != *own).cloned().collect()
    }

    /// Asks nodes the same, all at once, each at most for so long. Cancel-safe; whether the
    /// others were asked is unknown then.
    pub(crate) async fn ask_all<Q: Serialize, A: DeserializeOwned>(
        &self,
        nodes: &[Member],
        call: NodeCall,
        question: &Q,
        within: Duration,
    ) -> Vec<Asked<A>> {
        let asked = nodes
            .iter()
            .map(|node| self.ask(node, call, question, within));
        join_all(asked).await
    }

    /// Asks a node, at most for so long. Cancel-safe; whether it was asked is unknown then.
    pub(crate) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: &Member,
        call: NodeCall,
        question: &Q,
        within: Duration,
    ) -> Asked<A> {
        let answer = match node.is_alive {
            true => self.answer(node, call, question, within).await,
            false => Err("it is silent".to_owned()),
        };
        Asked {
            node: Arc::clone(&node.id),
            answer,
        }
    }

    async fn answer<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: &Member,
        call: NodeCall,
        question: &Q,
        within: Duration,
    ) -> Result<A, String> {
        let asked = async {
            let mut request = Request::new(write(question)?);
            request.metadata_mut().as_mut().extend(self.clients.proof());
            let channel = self.clients.channel(node);
            let mut client =
                tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
            let ready = client.ready().await;
            ready.map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static(call.path());
            let answer = client.unary(request, path, BytesCodec).await?;
            read(&answer.into_inner())
        };
        match timeout(within, asked).await {
            Ok(answered) => answered.map_err(|status: Status| status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
    }
}
