//! The headers of requests: the protocol's, the endpoint's, the tenant's.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
pub(crate) use overrides::tenant_config::remote_write::headers::parse;
use settings::Secret;

use crate::protocol::Protocol;

/// Selects the tenant at the receiver, as in Cortex, Mimir and Tempo.
const ORG_ID: HeaderName = HeaderName::from_static("x-scope-orgid");

/// The headers that the protocol asks for, in version 1.0.
pub(crate) fn protocol() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("spanmill/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(
        HeaderName::from_static("x-prometheus-remote-write-version"),
        HeaderValue::from_static("0.1.0"),
    );
    headers
}

/// Makes the headers of a request those of a version.
///
/// Source: remote-write specifications, "Protocol".
pub(crate) fn set_version(headers: &mut HeaderMap, protocol: Protocol) {
    let (content_type, version) = match protocol {
        Protocol::V1 => return,
        Protocol::V2 => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "2.0.0",
        ),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        HeaderName::from_static("x-prometheus-remote-write-version"),
        HeaderValue::from_static(version),
    );
}

/// Lays headers over others; those that cannot be sent are left out and
/// returned with the reason.
pub(crate) fn overlay<'a>(
    base: &mut HeaderMap,
    headers: &'a BTreeMap<String, Secret>,
) -> Vec<(&'a str, String)> {
    let mut refused = Vec::new();
    for (name, value) in headers {
        match parse(name, value.expose()) {
            Ok((name, value)) => {
                base.insert(name, value);
            }
            Err(problem) => refused.push((name.as_str(), problem)),
        }
    }
    refused
}

/// Adds the tenant, unless a header says it already.
pub(crate) fn add_org_id(headers: &mut HeaderMap, tenant: &str) {
    // The characters of a tenant id are all allowed in a header.
    if let Ok(tenant) = HeaderValue::from_str(tenant) {
        headers.entry(ORG_ID).or_insert(tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect()
    }

    #[test]
    fn reserved_and_malformed_headers_are_left_out() {
        let mut base = protocol();
        let before = base.clone();
        let given = headers(&[
            ("CONTENT-TYPE", "text/plain"),
            ("Host", "h"),
            ("Transfer-Encoding", "chunked"),
            ("X-Prometheus-Remote-Write-Version", "9"),
            ("bad name", "x"),
            ("x-bad-value", "a\r\nInjected: 1"),
        ]);
        let refused = overlay(&mut base, &given);
        assert_eq!(base, before);
        assert_eq!(refused.len(), 6);
        assert!(!format!("{refused:?}").contains("Injected"), "{refused:?}");
    }

    #[test]
    fn tenant_is_added_unless_a_header_of_any_case_names_one() {
        let mut base = protocol();
        overlay(&mut base, &headers(&[("X-A", "endpoint")]));
        overlay(&mut base, &headers(&[("x-a", "tenant")]));
        add_org_id(&mut base, "acme");
        assert_eq!(base["x-a"], "tenant");
        assert_eq!(base["x-scope-orgid"], "acme");
        let mut fixed = protocol();
        overlay(&mut fixed, &headers(&[("X-SCOPE-ORGID", "fixed")]));
        add_org_id(&mut fixed, "acme");
        assert_eq!(fixed["x-scope-orgid"], "fixed");
    }
}
