//! Headers of requests, and which of them can be set.

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::Secret;

/// Set by the protocol or the connection: nobody else may.
///
/// Source: remote-write specification 1.0, "Protocol"; RFC 9110, section
/// 7.6.1.
const RESERVED: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-prometheus-remote-write-version",
];

/// The values of one header of `http_headers`, each sent as a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpHeader {
    /// Values that may be shown.
    pub values: Vec<String>,
    /// Values that may not.
    pub secrets: Vec<Secret>,
    /// Files with values, read at start.
    pub files: Vec<String>,
}

/// A header of requests to a receiver.
///
/// # Errors
///
/// Why it cannot be sent; the text does not show the value.
pub fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = parse_any(name, value)?;
    if RESERVED.contains(&name.as_str()) {
        return Err("is set by the protocol and cannot be changed".to_owned());
    }
    Ok((name, value))
}

/// As [`parse`], for a request that may have any header, as that to a proxy.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_any(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::try_from(name).map_err(|_| "is not a header name".to_owned())?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| "has a value that no header can have".to_owned())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}
