//! One HTTP client for all tests.

use std::sync::LazyLock;

use anyhow::ensure;
use reqwest::{Client, RequestBuilder};

/// The client, with the TLS provider that it insists on even for plain HTTP.
#[must_use]
pub fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::new()
    });
    &CLIENT
}

/// Sends a request and gives the body of its 2xx answer.
///
/// # Errors
///
/// Any other answer, with its body.
pub async fn text_of(request: RequestBuilder) -> anyhow::Result<String> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await?;
    ensure!(status.is_success(), "{url} answered {status}: {body}");
    Ok(body)
}
