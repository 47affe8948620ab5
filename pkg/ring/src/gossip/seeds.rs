//! Where a node that knows nobody asks: addresses and names in `join_members`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use tokio::net::lookup_host;

/// An address of the block for documentation: a packet for it takes the default route.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    host: String,
    port: u16,
}

/// What names stand for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) addresses: BTreeSet<SocketAddr>,
    /// Names that stand for nothing, with why.
    pub(crate) failures: Vec<String>,
}

impl Seed {
    /// Reads `host:port`, `host` (with the port at which we gossip ourselves), and these
    /// behind `dns+`, `dnssrv+` or `dnssrvnoa+`, as Tempo has them. SRV records are not
    /// asked for: of `_port._tcp.name` the addresses of `name` are taken, which for a
    /// headless service are the same. None if it is neither.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let name = ["dnssrvnoa+", "dnssrv+", "dns+"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        if let Ok(address) = name.parse::<SocketAddr>() {
            return Some(Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some(Self {
                host: address.to_string(),
                port: default_port,
            });
        }
        let (name, port) = match name.split_once(':') {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (name, default_port),
        };
        let labels = name.split('.').skip_while(|label| label.starts_with('_'));
        let host = labels.collect::<Vec<_>>().join(".");
        let is_name = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_')
        };
        let is_sensible = !host.is_empty() && host.chars().all(is_name);
        is_sensible.then_some(Self { host, port })
    }
}

/// Looks all names up.
pub(crate) async fn resolve(seeds: &[Seed]) -> Resolved {
    let mut resolved = Resolved::default();
    for Seed { host, port } in seeds {
        match lookup_host((host.as_str(), *port)).await {
            Ok(addresses) => resolved.addresses.extend(addresses),
            Err(error) => resolved.failures.push(format!("{host}: {error}")),
        }
    }
    resolved
}

/// The address by which others reach this machine, if they are where `peer` is: the one
/// that packets to it would have. Loopback where there is no way to it.
///
/// No packet is sent.
pub fn own_address(peer: Option<SocketAddr>) -> IpAddr {
    let peer = peer.unwrap_or((SOMEWHERE, 9).into());
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let route = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    route.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_to_join_are_read_as_tempo_has_them() {
        for (text, want) in [
            ("10.0.0.1:7000", Some(("10.0.0.1", 7000))),
            ("10.0.0.1", Some(("10.0.0.1", 7946))),
            ("[::1]:7000", Some(("::1", 7000))),
            ("::1", Some(("::1", 7946))),
            (
                "gossip-ring.tempo.svc.cluster.local:7000",
                Some(("gossip-ring.tempo.svc.cluster.local", 7000)),
            ),
            ("gossip-ring", Some(("gossip-ring", 7946))),
            ("dns+gossip-ring:7000", Some(("gossip-ring", 7000))),
            (
                "dnssrv+_gossip._tcp.gossip-ring.tempo",
                Some(("gossip-ring.tempo", 7946)),
            ),
            ("dnssrvnoa+gossip-ring", Some(("gossip-ring", 7946))),
            ("", None),
            ("dns+", None),
            ("name:port", None),
            ("http://name", None),
            ("a b", None),
        ] {
            let seed = Seed::parse(text, 7946);
            let got = seed.as_ref().map(|seed| (seed.host.as_str(), seed.port));
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[tokio::test]
    async fn names_that_stand_for_nothing_do_not_keep_others_back() {
        let parse = |text| Seed::parse(text, 7946).unwrap();
        let resolved = resolve(&[parse("no-such-name.invalid"), parse("127.0.0.1:7000")]).await;
        let want: SocketAddr = ([127, 0, 0, 1], 7000).into();
        assert_eq!(resolved.addresses, BTreeSet::from([want]));
        assert!(resolved.failures[0].starts_with("no-such-name.invalid: "));
    }

    #[test]
    fn address_for_who_is_on_this_machine_is_on_it() {
        let peer: SocketAddr = ([127, 0, 0, 1], 7946).into();
        assert_eq!(own_address(Some(peer)), IpAddr::from([127, 0, 0, 1]));
    }
}
