//! How a node proves to another that it is of the same cluster.

use http::{HeaderMap, HeaderValue};
use ring_crypto::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::{Problem, Secret};
use tonic::Status;

use crate::authentication::PeerIdentity;

/// The metadata key of the token.
pub const NODE_TOKEN_HEADER: &str = "spanmill-node-token";

/// The shortest token that is accepted: who can try many times does not guess it.
const MIN_TOKEN_BYTES: usize = 16;

/// What nodes show each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "NodeAuthentication")]
pub struct NodeAuthenticationConfig {
    /// What every node shows with its calls, and is asked for: the same on all. At least
    /// 16 printable characters. Default: empty, no token is shown or asked for.
    pub token: Secret,
    /// Another token that is accepted, and never shown: the next one before a change, the
    /// earlier one after it. Default: empty.
    pub other_token: Secret,
    /// Names in client certificates of nodes, alternative ones or common ones. A node whose
    /// certificate has one of these needs no token. Only on listeners that ask for client
    /// certificates. Default: empty.
    pub certificate_names: Vec<String>,
}

/// Tells nodes of the cluster from others.
#[derive(Clone, Debug)]
pub struct NodeAuthentication {
    /// Digests: compared in constant time, and of no use to who reads our memory.
    tokens: Vec<TokenDigest>,
    certificate_names: Vec<String>,
}

type TokenDigest = [u8; SHA256_OUTPUT_LEN];

/// A call that did not come from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANode {
    /// It shows nothing.
    #[error("only nodes of the cluster may call this: no token, and no certificate of a node")]
    NoProof,
    /// It shows something else.
    #[error("only nodes of the cluster may call this: the token is not this cluster's")]
    WrongToken,
}

impl NodeAuthenticationConfig {
    /// Checks what the types cannot; `path` is that of this block.
    pub fn validate(&self, path: &str) -> Vec<Problem> {
        let tokens = [("token", &self.token), ("other_token", &self.other_token)];
        let unusable = tokens.into_iter().filter(|(_, token)| {
            let text = token.expose();
            let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
            !(text.is_empty() || is_printable && text.len() >= MIN_TOKEN_BYTES)
        });
        let message = "is not accepted; expected at least 16 printable ASCII characters";
        unusable
            .map(|(key, _)| Problem::new(format!("{path}.{key}"), message))
            .collect()
    }

    /// What a node shows, as the value of [`NODE_TOKEN_HEADER`]; none where no token is
    /// set, or it is not [valid](Self::validate).
    pub fn shown(&self) -> Option<HeaderValue> {
        if self.token.is_empty() {
            return None;
        }
        let mut value = HeaderValue::from_str(self.token.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl NodeAuthentication {
    /// Asks for what the settings say; for nothing if they say nothing.
    pub fn new(config: &NodeAuthenticationConfig) -> Self {
        let tokens = [&config.token, &config.other_token];
        let tokens = tokens.into_iter().filter(|token| !token.is_empty());
        Self {
            tokens: tokens
                .map(|token| digest_of(token.expose().as_bytes()))
                .collect(),
            certificate_names: config.certificate_names.clone(),
        }
    }

    /// Whether calls have to prove anything.
    pub fn is_on(&self) -> bool {
        !self.tokens.is_empty() || !self.certificate_names.is_empty()
    }

    /// Checks who calls, by the headers and by the certificate of the connection.
    ///
    /// # Errors
    ///
    /// [`NotANode`].
    pub fn admit(&self, headers: &HeaderMap, peer: Option<&PeerIdentity>) -> Result<(), NotANode> {
        if !self.is_on() || peer.is_some_and(|peer| self.knows(peer)) {
            return Ok(());
        }
        let shown = headers.get(NODE_TOKEN_HEADER).ok_or(NotANode::NoProof)?;
        let shown = digest_of(shown.as_bytes());
        // All are compared, and each to its end.
        let found = self.tokens.iter().fold(false, |found, token| {
            let difference = token
                .iter()
                .zip(&shown)
                .fold(0, |difference, (a, b)| difference | (a ^ b));
            found | (difference == 0)
        });
        if found {
            Ok(())
        } else {
            Err(NotANode::WrongToken)
        }
    }

    fn knows(&self, peer: &PeerIdentity) -> bool {
        let mut names = peer.alternative_names.iter().chain(&peer.common_names);
        names.any(|name| self.certificate_names.contains(name))
    }
}

impl NotANode {
    /// The gRPC status that the caller sees.
    pub fn grpc_status(&self) -> Status {
        match self {
            Self::NoProof => Status::unauthenticated(self.to_string()),
            Self::WrongToken => Status::permission_denied(self.to_string()),
        }
    }
}

fn digest_of(token: &[u8]) -> TokenDigest {
    // SHA-256 has this length.
    digest(&SHA256, token)
        .as_ref()
        .try_into()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(token: &str, other: &str, names: &[&str]) -> NodeAuthenticationConfig {
        NodeAuthenticationConfig {
            token: Secret::new(token),
            other_token: Secret::new(other),
            certificate_names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn showing(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let shown = config(token, "", &[]).shown();
        headers
            .extend(shown.map(|value| (http::HeaderName::from_static(NODE_TOKEN_HEADER), value)));
        headers
    }

    const ONE: &str = "one-token-of-a-cluster";
    const OTHER: &str = "other-token-of-a-cluster";

    #[test]
    fn either_token_or_a_name_in_the_certificate_lets_a_node_in() {
        let peer = PeerIdentity {
            alternative_names: vec!["node.cluster".to_owned()],
            common_names: vec!["collector".to_owned()],
        };
        let both = config(ONE, OTHER, &["node.cluster"]);
        let by_name = config("", "", &["collector"]);
        for (config, token, peer, want) in [
            (config("", "", &[]), "", None, Ok(())),
            (config(ONE, "", &[]), "", None, Err(NotANode::NoProof)),
            (config(ONE, "", &[]), ONE, None, Ok(())),
            (config(ONE, "", &[]), OTHER, None, Err(NotANode::WrongToken)),
            (both.clone(), OTHER, None, Ok(())),
            (both.clone(), "", Some(&peer), Ok(())),
            (by_name.clone(), "", Some(&peer), Ok(())),
            (by_name.clone(), "", None, Err(NotANode::NoProof)),
            (by_name, ONE, None, Err(NotANode::WrongToken)),
            (
                config(ONE, "", &["x"]),
                "",
                Some(&peer),
                Err(NotANode::NoProof),
            ),
        ] {
            let found = NodeAuthentication::new(&config).admit(&showing(token), peer);
            assert_eq!(found, want, "{config:?} {token:?} {peer:?}");
        }
    }

    #[test]
    fn what_a_stranger_is_told_names_no_token() {
        let codes =
            [NotANode::NoProof, NotANode::WrongToken].map(|error| error.grpc_status().code());
        assert_eq!(
            codes,
            [tonic::Code::Unauthenticated, tonic::Code::PermissionDenied]
        );
        let shown = config(ONE, "", &[]).shown().unwrap();
        assert_eq!(format!("{shown:?}"), "Sensitive");
    }

    #[test]
    fn tokens_that_are_short_or_do_not_fit_a_header_are_refused() {
        assert_eq!(config("", ONE, &[]).validate("n"), []);
        let problems = config("short", "not one\nline of it", &[]).validate("n");
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(paths, ["n.token", "n.other_token"]);
    }
}
