//! Where a distributor's spans go: the boundary of `pkg/model`, filled in.

use distributor::ClusterPusher;
use generator::Generator;
use model::{Push, PushError, PushOutcome, PushSpans};

/// Where a distributor's spans go.
#[derive(Clone, Debug)]
pub(crate) enum Pusher {
    /// To the generator in this process.
    Here(Generator),
    /// To the generators of the cluster, this process perhaps among them.
    Cluster(ClusterPusher),
}

impl PushSpans for Pusher {
    async fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        match self {
            Self::Here(generator) => generator.push(push).await,
            Self::Cluster(cluster) => cluster.push(push).await,
        }
    }
}
