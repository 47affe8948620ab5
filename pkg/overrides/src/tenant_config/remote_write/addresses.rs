//! Which addresses may be reached by what is not in the operator's own file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Addresses that answer with a machine's credentials, by the clouds' own
/// documentation: AWS (also for containers, and over IPv6), GCP and Azure;
/// Azure's host; Alibaba; Oracle.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The addresses that destinations from the runtime file may have; all others
/// are refused.
///
/// Default: public and private ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AllowedAddresses(#[schemars(with = "Vec<String>")] Vec<AllowedAddress>);

/// Some addresses, or one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedAddress {
    /// All of a kind.
    Kind(AddressKind),
    /// All in a range, such as `10.1.0.0/16`, or a single one.
    Range(IpNet),
    /// Whatever a host's name stands for. It is compared with the host of a
    /// URL, in any case.
    Host(String),
}

/// Kinds of addresses that have a word in settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum AddressKind {
    /// All that are none of the others, nor for several, nor for special use.
    Public,
    /// Those of private networks: `10.0.0.0/8`, `172.16.0.0/12`,
    /// `192.168.0.0/16`, `100.64.0.0/10`, `fc00::/7` and `fec0::/10`.
    Private,
    /// Those of this host: `127.0.0.0/8` and `::1`.
    Loopback,
    /// Those of this link: `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
}

impl Default for AllowedAddresses {
    fn default() -> Self {
        Self(vec![
            AllowedAddress::Kind(AddressKind::Public),
            AllowedAddress::Kind(AddressKind::Private),
        ])
    }
}

impl AllowedAddresses {
    /// Allows these.
    pub fn new(allowed: Vec<AllowedAddress>) -> Self {
        Self(allowed)
    }

    /// Whether a host may be reached whatever address it has.
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0.iter().any(|allowed| {
            matches!(allowed, AllowedAddress::Host(name) if name.eq_ignore_ascii_case(host))
        })
    }

    /// Whether an address may be reached.
    ///
    /// An IPv6 address that carries one of IPv4 counts as that. Addresses of
    /// metadata services, and those that belong to no host, are in no kind:
    /// only a range allows them.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = carried(address);
        let kind = kind(address);
        self.0.iter().any(|allowed| match allowed {
            AllowedAddress::Kind(allowed) => Some(*allowed) == kind,
            AllowedAddress::Range(range) => range.contains(&address),
            AllowedAddress::Host(_) => false,
        })
    }
}

/// The IPv4 address that an IPv6 address carries, or the address itself.
fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let v4 =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        // Unspecified and loopback look as if they carried one.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // Mapped, compatible, translated (RFC 4291, 2765), and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4 (RFC 3056).
        | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// The kind of an address; `None` where it has none.
fn kind(address: IpAddr) -> Option<AddressKind> {
    if METADATA.contains(&address) {
        return None;
    }
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<AddressKind> {
    match address.octets() {
        [127, ..] => Some(AddressKind::Loopback),
        [169, 254, ..] => Some(AddressKind::LinkLocal),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            Some(AddressKind::Private)
        }
        // This network; multicast, reserved and broadcast.
        [0 | 224..=255, ..] => None,
        _ => Some(AddressKind::Public),
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<AddressKind> {
    if address.is_loopback() {
        return Some(AddressKind::Loopback);
    }
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Some(AddressKind::LinkLocal),
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(AddressKind::Private),
        // Unspecified and the rest of what is reserved beside it; multicast.
        [0 | 0xff00..=0xffff, ..] => None,
        _ => Some(AddressKind::Public),
    }
}

impl FromStr for AllowedAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(kind) = text.parse() {
            return Ok(Self::Kind(kind));
        }
        let range = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        if let Ok(range) = range {
            return Ok(Self::Range(range.trunc()));
        }
        match url::Host::parse(text) {
            Ok(url::Host::Domain(name)) => Ok(Self::Host(name.trim_end_matches('.').to_owned())),
            _ => Err(format!(
                "{text:?} is not accepted; expected public, private, loopback, link-local, a range \
                 such as 10.1.0.0/16, an address or a host name"
            )),
        }
    }
}

impl fmt::Display for AllowedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => kind.fmt(f),
            Self::Range(range) => range.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl Serialize for AllowedAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowedAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(items: &[&str]) -> AllowedAddresses {
        AllowedAddresses::new(items.iter().map(|item| item.parse().unwrap()).collect())
    }

    #[test]
    fn every_address_is_of_one_kind_or_needs_a_range() {
        for (kind, addresses) in [
            (
                "public",
                &["8.8.8.8", "172.32.0.1", "2001:db8::1", "64:ff9b::808:808"][..],
            ),
            (
                "private",
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fd12::1",
                    "fec0::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                "loopback",
                &[
                    "127.0.0.1",
                    "127.255.0.9",
                    "::1",
                    "::ffff:127.0.0.1",
                    "::127.0.0.1",
                    "::ffff:0:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                ],
            ),
            (
                "link-local",
                &["169.254.0.1", "fe80::1", "::ffff:169.254.1.1"],
            ),
            (
                "",
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "::",
                    "224.0.0.1",
                    "239.1.1.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "ff02::1",
                    "169.254.169.254",
                    "::ffff:169.254.169.254",
                    "169.254.170.2",
                    "fd00:ec2::254",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                ],
            ),
        ] {
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                for word in ["public", "private", "loopback", "link-local"] {
                    let allows = allowed(&[word]).allows(address);
                    assert_eq!(allows, word == kind, "{address}: {word}");
                }
                assert!(allowed(&["0.0.0.0/0", "::/0"]).allows(address));
                let by_default = AllowedAddresses::default().allows(address);
                assert_eq!(
                    by_default,
                    matches!(kind, "public" | "private"),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let list = allowed(&["10.1.0.7/16", "127.0.0.1", "Mimir.Internal."]);
        assert!(list.allows([10, 1, 9, 9].into()));
        assert!(list.allows([127, 0, 0, 1].into()));
        assert!(!list.allows([127, 0, 0, 2].into()));
        assert!(!list.allows([8, 8, 8, 8].into()));
        assert!(list.allows_host("mimir.INTERNAL"));
        assert!(!list.allows_host("x.mimir.internal"));
        let shown = serde_json::to_value(&list).unwrap();
        assert_eq!(
            shown,
            serde_json::json!(["10.1.0.0/16", "127.0.0.1/32", "mimir.internal"])
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is() {
        for text in ["", "10.0.0.0/33", "http://a", "a b", "127.1", "0x7f.1"] {
            let error = text.parse::<AllowedAddress>().unwrap_err();
            assert!(error.contains("expected public"), "{text}: {error}");
        }
    }
}
