//! Forwarders that cannot start, and requests that they do not take.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A forwarder that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderStartError {
    /// An endpoint is not `host:port`.
    #[error("{endpoint:?} is no endpoint of a forwarder")]
    Address {
        /// The endpoint.
        endpoint: String,
    },
    /// A condition of its filter cannot be used.
    #[error("forwarder {forwarder}: the condition {condition:?} cannot be used")]
    Condition {
        /// The forwarder's name.
        forwarder: String,
        /// The condition.
        condition: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its TLS settings cannot be used.
    #[error("forwarder {forwarder}: cannot use its tls settings")]
    Tls {
        /// The forwarder's name.
        forwarder: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A required forwarder that did not take a request; nothing of it was counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It may be sent again.
    #[error("forwarder {forwarder} does not take spans now: {reason}")]
    Unavailable {
        /// Its name.
        forwarder: String,
        /// Why not.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// No retry can help.
    #[error("forwarder {forwarder} refuses this request: {reason}")]
    Refused {
        /// Its name.
        forwarder: String,
        /// Why.
        reason: String,
    },
}
