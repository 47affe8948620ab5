//! Which requests go through a proxy, and which do not.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// What `no_proxy` says: hosts that are reached directly.
///
/// Source: Prometheus documentation, `http_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Direct>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Direct {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Any,
    Range(IpNet),
    /// A name, and what is below it.
    Name(String),
    /// What is below a name.
    Below(String),
}

impl NoProxy {
    /// Reads a list separated by commas. Of `*` everything is reached directly.
    pub fn parse(text: &str) -> Self {
        let items = text.split(',').map(|item| item.trim().to_lowercase());
        Self(
            items
                .filter(|item| !item.is_empty())
                .map(|item| Direct::parse(&item))
                .collect(),
        )
    }

    /// Whether requests to a URL go without the proxy.
    pub fn covers(&self, url: &Url) -> bool {
        self.0.iter().any(|direct| direct.covers(url))
    }
}

impl Direct {
    fn parse(item: &str) -> Self {
        let any_port = |hosts| Self { hosts, port: None };
        if item == "*" {
            return any_port(Hosts::Any);
        }
        if let Some(range) = range(item) {
            return any_port(Hosts::Range(range));
        }
        let (host, port) = match item.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (item, None),
            },
            None => (item, None),
        };
        let hosts = match (
            range(host),
            host.strip_prefix("*.").or(host.strip_prefix('.')),
        ) {
            (Some(range), _) => Hosts::Range(range),
            (None, Some(below)) => Hosts::Below(format!(".{below}")),
            (None, None) => Hosts::Name(host.to_owned()),
        };
        Self { hosts, port }
    }

    fn covers(&self, url: &Url) -> bool {
        if self.port.is_some() && self.port != url.port_or_known_default() {
            return false;
        }
        let name = url.host_str().unwrap_or_default().trim_end_matches('.');
        match &self.hosts {
            Hosts::Any => true,
            Hosts::Range(range) => match url.host() {
                Some(Host::Ipv4(address)) => range.contains(&IpAddr::V4(address)),
                Some(Host::Ipv6(address)) => range.contains(&IpAddr::V6(address)),
                Some(Host::Domain(_)) | None => false,
            },
            Hosts::Name(host) => {
                name == host
                    || name
                        .strip_suffix(host.as_str())
                        .is_some_and(|rest| rest.ends_with('.'))
            }
            Hosts::Below(suffix) => name.ends_with(suffix.as_str()),
        }
    }
}

/// A range, or an address, which may stand in brackets.
fn range(text: &str) -> Option<IpNet> {
    let text = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_reached_directly_by_name_address_range_and_port() {
        for (no_proxy, url, direct) in [
            ("", "http://a/", false),
            ("*", "http://a/", true),
            ("a.example", "http://a.example/", true),
            ("A.Example", "http://a.example./", true),
            ("a.example", "http://b.a.example/", true),
            ("a.example", "http://ba.example/", false),
            (".a.example", "http://b.a.example/", true),
            (".a.example", "http://a.example/", false),
            ("*.a.example", "http://b.a.example/", true),
            ("x, a.example:8080 ,", "http://a.example:8080/", true),
            ("a.example:8080", "http://a.example/", false),
            ("a.example:443", "https://a.example/", true),
            ("10.0.0.0/8", "http://10.1.2.3:9/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("10.1.2.3:9", "http://10.1.2.3:9/", true),
            ("10.1.2.3:9", "http://10.1.2.3/", false),
            ("[::1]:9", "http://[::1]:9/", true),
            ("::1", "http://[::1]/", true),
            ("10.0.0.0/8", "http://a.example/", false),
        ] {
            let covers = NoProxy::parse(no_proxy).covers(&url.parse().unwrap());
            assert_eq!(covers, direct, "{no_proxy:?} {url}");
        }
    }
}
