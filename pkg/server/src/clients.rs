//! How many connections each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use telemetry::LogThrottle;

/// Connections by client, of one listener.
#[derive(Debug)]
pub(crate) struct Clients {
    limit: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    throttle: LogThrottle,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    client: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Clients {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            counts: Arc::default(),
            throttle: LogThrottle::new(Duration::from_secs(10)),
        }
    }

    /// Counts a connection; none where its client has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Counted> {
        let client = client_of(address);
        {
            let mut counts = self.counts.lock();
            let count = counts.entry(client).or_default();
            if *count < self.limit {
                *count += 1;
                return Some(Counted {
                    client,
                    counts: Arc::clone(&self.counts),
                });
            }
        }
        if let Some(suppressed) = self.throttle.admit() {
            tracing::warn!(
                %client,
                limit = self.limit,
                suppressed,
                "client has as many connections as it may, closing further ones"
            );
        }
        None
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// What stands for a client: its address, of IPv6 the network that one site has.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_has_its_limit_until_a_connection_ends() {
        let clients = Clients::new(2);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let first = clients.enter(one);
        let second = clients.enter("::ffff:10.0.0.1".parse().unwrap());
        assert!(first.is_some() && second.is_some());
        assert!(clients.enter(one).is_none());
        let other = clients.enter("10.0.0.2".parse().unwrap());
        assert!(other.is_some());
        drop(first);
        assert!(clients.enter(one).is_some());
        drop((second, other));
        assert!(clients.counts.lock().is_empty());
    }

    #[test]
    fn network_of_ipv6_is_one_client() {
        let clients = Clients::new(1);
        let _held = clients.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(clients.enter("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(clients.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
