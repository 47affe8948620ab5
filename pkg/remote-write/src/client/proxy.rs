//! The proxy on the way to a receiver.

use http::{HeaderMap, HeaderValue, header};
use overrides::tenant_config::remote_write::headers::parse_any;
use overrides::tenant_config::remote_write::proxy::NoProxy;
use reqwest::{Proxy, Url};

use super::{basic_credentials, decoded};
use crate::config::EndpointConfig;
use crate::error::StartError;

/// The URL of the proxy through which requests to `url` go; `None` where they
/// go directly.
///
/// `variable` gives environment variables.
///
/// # Errors
///
/// A proxy that cannot be used.
pub(super) fn url_for(
    url: &Url,
    config: &EndpointConfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Url>, StartError> {
    let invalid = |key: &str, problem| StartError::Invalid {
        key: key.to_owned(),
        problem,
    };
    if !config.proxy_from_environment {
        let direct = NoProxy::parse(&config.no_proxy).covers(url);
        let proxy = config.parsed_proxy_url();
        let proxy = proxy.map_err(|problem| invalid("proxy_url", problem))?;
        return Ok(proxy.filter(|_| !direct));
    }
    let either_case = |name: &str| {
        let value = variable(name).or_else(|| variable(&name.to_lowercase()));
        value.filter(|value| !value.is_empty())
    };
    let name = match url.scheme() {
        "https" => "HTTPS_PROXY",
        _ => "HTTP_PROXY",
    };
    let no_proxy = NoProxy::parse(&either_case("NO_PROXY").unwrap_or_default());
    let Some(text) = either_case(name).filter(|_| !no_proxy.covers(url)) else {
        return Ok(None);
    };
    // As everywhere, a host and a port alone will do.
    let text = match text.contains("://") {
        true => text,
        false => format!("http://{text}"),
    };
    let proxy = config.usable_url(&text);
    proxy
        .map(Some)
        .map_err(|problem| invalid("proxy_from_environment", format!("{name} {problem}")))
}

/// How to go through a proxy to a receiver.
///
/// # Errors
///
/// A proxy or a header for it that cannot be used.
pub(super) fn through(
    mut proxy: Url,
    url: &Url,
    config: &EndpointConfig,
) -> Result<Proxy, StartError> {
    let (user, password) = (
        decoded(proxy.username()),
        decoded(proxy.password().unwrap_or_default()),
    );
    // They are sent as a header, and must not show in an error's text.
    let _ = proxy.set_username("");
    let _ = proxy.set_password(None);
    // What a proxy is asked for is the receiver.
    proxy.set_path("");
    proxy.set_query(None);
    proxy.set_fragment(None);
    let mut through = Proxy::all(proxy).map_err(|source| StartError::Client { source })?;
    if !user.is_empty() || !password.is_empty() {
        let mut value =
            HeaderValue::try_from(basic_credentials(&user, &password)).map_err(|_| {
                StartError::Invalid {
                    key: "proxy_url".to_owned(),
                    problem: "has credentials that no header can have".to_owned(),
                }
            })?;
        value.set_sensitive(true);
        through = through.custom_http_auth(value);
    }
    // Without a tunnel they would go on to the receiver.
    if url.scheme() == "https" {
        through = through.headers(connect_headers(config)?);
    }
    Ok(through)
}

fn connect_headers(config: &EndpointConfig) -> Result<HeaderMap, StartError> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.proxy_connect_header {
        for value in values {
            let (name, value) =
                parse_any(name, value.expose()).map_err(|problem| StartError::Invalid {
                    key: format!("proxy_connect_header.{name}"),
                    problem,
                })?;
            headers.append(name, value);
        }
    }
    let ours = super::headers::protocol().remove(header::USER_AGENT);
    if let Some(ours) = ours {
        headers.entry(header::USER_AGENT).or_insert(ours);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
