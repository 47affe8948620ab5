//! Where a request comes from.

use std::fmt;
use std::net::SocketAddr;

/// The other end of the connection that a request came over, in the request's
/// extensions: a client, or the last proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
