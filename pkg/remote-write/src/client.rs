//! One request to one receiver.

mod proxy;
mod resolver;
pub(crate) mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use model::Clock;
use reqwest::redirect;
use settings::Secret;
use tokio::time::timeout;

use self::resolver::GuardedResolver;
use crate::answer::Answer;
pub(crate) use crate::answer::{Attempt, FailureCause};
use crate::config::EndpointConfig;
use crate::error::StartError;
use crate::headers;
use crate::protocol::Protocol;

/// Bytes of an answer that are read; with more the connection is given up.
///
/// Receivers answer with a line or two. Only what is read here is in memory.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// How long the rest of an answer may take once its status is known, so that
/// a receiver that drips it does not hold a request up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends requests to one endpoint over kept connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: reqwest::Url,
    clock: Clock,
}

impl Client {
    /// Prepares a client; connects when it first sends, and then only to what
    /// the author of the endpoint may reach. Behind a proxy that is the proxy;
    /// where names lead is then its business.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or used.
    pub(crate) fn new(config: &EndpointConfig, clock: Clock) -> Result<Self, StartError> {
        let mut url = config.parsed_url().map_err(|problem| StartError::Invalid {
            key: "url".to_owned(),
            problem,
        })?;
        // They are sent as a header, and must not show in an error's text.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let proxy = proxy::url_for(&url, config, |name| std::env::var(name).ok())?;
        let https = [Some(&url), proxy.as_ref()]
            .into_iter()
            .flatten()
            .any(|url| url.scheme() == "https");
        // Whatever the environment says.
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy::through(proxy, &url, config)?);
        }
        if let Some(allowed) = config.author.allowed_addresses() {
            builder = builder.dns_resolver(GuardedResolver(Arc::clone(allowed)));
        }
        let http = builder
            .timeout(config.remote_timeout)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(config.queue_config.max_shards)
            .tls_backend_preconfigured(tls::client_config(
                &config.tls_config,
                https,
                config.enable_http2,
            )?)
            .build()
            .map_err(|source| StartError::Client { source })?;
        Ok(Self { http, url, clock })
    }

    /// Makes one attempt. Cancel-safe, but the receiver may have got it.
    pub(crate) async fn send(
        &self,
        headers: &HeaderMap,
        protocol: Protocol,
        body: Bytes,
    ) -> Attempt {
        let mut headers = headers.clone();
        headers::set_version(&mut headers, protocol);
        let request = self.http.post(self.url.clone()).headers(headers).body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let error = error.without_url();
                return Attempt::Failed {
                    problem: telemetry::error_chain(&error).to_string(),
                    retry_after: None,
                    cause: FailureCause::Silent,
                };
            }
        };
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        // To its end if it is short, so that the connection can be kept.
        let body = timeout(ANSWER_TIMEOUT, read_capped(&mut response))
            .await
            .unwrap_or_default();
        let answer = Answer {
            status,
            headers: &headers,
            body: &body,
        };
        Attempt::answered(&answer, protocol, self.clock.unix_nanos())
    }
}

async fn read_capped(response: &mut reqwest::Response) -> Vec<u8> {
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        let room = MAX_ANSWER_BYTES - answer.len();
        answer.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    answer
}

/// The headers of an endpoint's requests, before the tenant's.
///
/// # Errors
///
/// A file with a secret that cannot be read, or a header that cannot be sent.
pub(crate) fn endpoint_headers(config: &EndpointConfig) -> Result<HeaderMap, StartError> {
    let mut base = headers::protocol();
    let refused = headers::overlay(&mut base, &config.headers);
    if let Some((name, problem)) = refused.into_iter().next() {
        return Err(StartError::Invalid {
            key: format!("headers.{name}"),
            problem,
        });
    }
    for (name, header) in &config.http_headers {
        let invalid = |problem| StartError::Invalid {
            key: format!("http_headers.{name}"),
            problem,
        };
        let mut values = header.values.clone();
        values.extend(
            header
                .secrets
                .iter()
                .map(|secret| secret.expose().to_owned()),
        );
        for file in &header.files {
            values.push(secret_or_file(&Secret::default(), file)?);
        }
        for value in values {
            let (name, value) = headers::parse(name, &value).map_err(invalid)?;
            base.append(name, value);
        }
    }
    if let Some(value) = authorization(config)? {
        let mut value = HeaderValue::try_from(value).map_err(|_| StartError::Invalid {
            key: "authorization".to_owned(),
            problem: "has characters that no header can have".to_owned(),
        })?;
        value.set_sensitive(true);
        base.insert(header::AUTHORIZATION, value);
    }
    Ok(base)
}

fn authorization(config: &EndpointConfig) -> Result<Option<String>, StartError> {
    if let Some(basic) = &config.basic_auth {
        let user = secret_or_file(&Secret::new(basic.username.clone()), &basic.username_file)?;
        let password = secret_or_file(&basic.password, &basic.password_file)?;
        return Ok(Some(basic_credentials(&user, &password)));
    }
    if let Some(authorization) = &config.authorization {
        let credentials =
            secret_or_file(&authorization.credentials, &authorization.credentials_file)?;
        return Ok(Some(format!("{} {credentials}", authorization.r#type)));
    }
    let bearer = secret_or_file(&config.bearer_token, &config.bearer_token_file)?;
    if !bearer.is_empty() {
        return Ok(Some(format!("Bearer {bearer}")));
    }
    let url = config.parsed_url().map_err(|problem| StartError::Invalid {
        key: "url".to_owned(),
        problem,
    })?;
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let given = !user.is_empty() || !password.is_empty();
    Ok(given.then(|| basic_credentials(&decoded(user), &decoded(password))))
}

fn basic_credentials(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

/// Undoes the percent encoding of a URL's user name or password.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = after
            .get(if hex.is_some() { 2 } else { 0 }..)
            .unwrap_or(&[]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn secret_or_file(secret: &Secret, file: &str) -> Result<String, StartError> {
    if !secret.is_empty() || file.is_empty() {
        return Ok(secret.expose().to_owned());
    }
    let text = tls::read(Path::new(file))?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests;
