//! Names into addresses, but only those that may be reached.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use overrides::AllowedAddresses;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// Asks the system for the addresses of a name and leaves out those that are
/// not allowed.
///
/// It is asked at each connection, so a name whose address changes once it
/// was checked gains nothing.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver(pub(super) Arc<AllowedAddresses>);

/// A name of which no address may be reached.
#[derive(Debug, thiserror::Error)]
#[error(
    "overrides may not reach {host}, which is {addresses}; overrides.remote_write_allowed_addresses \
     can allow it"
)]
struct NotAllowed {
    host: String,
    addresses: String,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = lookup_host((host, 0)).await?.collect();
            Ok(permitted(&allowed, host, found)?)
        })
    }
}

/// The addresses of a host that may be reached.
fn permitted(allowed: &AllowedAddresses, host: &str, found: Vec<SocketAddr>) -> io::Result<Addrs> {
    let (kept, refused): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| allowed.allows_host(host) || allowed.allows(address.ip()));
    if kept.is_empty() && !refused.is_empty() {
        let addresses: Vec<_> = refused
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        return Err(io::Error::other(NotAllowed {
            host: host.to_owned(),
            addresses: addresses.join(", "),
        }));
    }
    Ok(Box::new(kept.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of the addresses of a host, or the error.
    fn left(allowed: &[&str], host: &str, found: &[&str]) -> Result<Vec<String>, String> {
        let allowed = allowed.iter().map(|item| item.parse().unwrap()).collect();
        let found = found
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
        permitted(&AllowedAddresses::new(allowed), host, found.collect())
            .map(|left| left.map(|address| address.ip().to_string()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_allowed_addresses_of_a_name_are_left() {
        let found = ["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "fe80::1"];
        assert_eq!(left(&["public"], "a", &found).unwrap(), ["8.8.8.8"]);
        assert_eq!(
            left(&["10.0.0.0/8"], "a", &found).unwrap(),
            ["::ffff:10.0.0.1"]
        );
        assert_eq!(left(&["A"], "a.", &found).unwrap().len(), 4);
        assert_eq!(
            left(&["private", "b"], "a", &["127.0.0.1", "::1"]).unwrap_err(),
            "overrides may not reach a, which is 127.0.0.1, ::1; \
             overrides.remote_write_allowed_addresses can allow it"
        );
        assert_eq!(left(&["private"], "a", &[]), Ok(vec![]));
    }
}
