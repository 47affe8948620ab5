//! Who may push.

use server::NodeAuthenticationConfig;
use settings::Secret;

use crate::harness::{Cluster, Options, request};

fn token(token: &str) -> NodeAuthenticationConfig {
    NodeAuthenticationConfig {
        token: Secret::new(token),
        ..NodeAuthenticationConfig::default()
    }
}

const OURS: &str = "token-of-our-cluster";
const THEIRS: &str = "token-of-their-cluster";

#[tokio::test]
async fn stranger_with_another_token_or_none_brings_no_span_in() {
    for shown in [THEIRS, ""] {
        let options = Options {
            asked: token(OURS),
            shown: token(shown),
            ..Options::default()
        };
        let cluster = Cluster::with(2, options);
        let refused = cluster.push(&request(0..100)).await.unwrap_err();
        assert_eq!(refused.http_status(), 503);
        for node in &cluster.nodes {
            assert_eq!(node.generator.tenants(), []);
            assert!(node.refused("not_a_node") > 0);
        }
        assert_eq!(cluster.ledger(), (300, 0, 300));
        let text = refused.failure().message;
        assert!(!text.contains(THEIRS), "{text}");
    }
}

#[tokio::test]
async fn token_changes_without_a_gap() {
    let both = NodeAuthenticationConfig {
        other_token: Secret::new(THEIRS),
        ..token(OURS)
    };
    for shown in [OURS, THEIRS] {
        let options = Options {
            asked: both.clone(),
            shown: token(shown),
            ..Options::default()
        };
        let cluster = Cluster::with(2, options);
        cluster.push(&request(0..100)).await.unwrap();
        assert_eq!(cluster.counted(), cluster.owned(0..100, 0));
    }
}
