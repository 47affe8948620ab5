//! Asks spanmill's HTTP API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, StatusCode};

/// The HTTP API of a spanmill, as a tenant.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    url: String,
    tenant: Option<String>,
    token: Option<String>,
    timeout: Duration,
}

/// The environment variable with the token of a credential, which is not to stand on a
/// command line for others to read.
const TOKEN: &str = "SPANMILL_TOKEN";

/// How long an answer may take that is not waited for on purpose.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Api {
    /// Connects with the first request.
    pub(crate) fn new(url: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        // Fails only if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scheme = if url.contains("://") { "" } else { "http://" };
        Ok(Self {
            client: Client::builder().no_proxy().build()?,
            url: format!("{scheme}{}", url.trim_end_matches('/')),
            tenant: tenant.map(str::to_owned),
            token: std::env::var(TOKEN).ok(),
            timeout: TIMEOUT,
        })
    }

    /// The same for answers that take so much longer.
    pub(crate) fn waiting(self, longer: Duration) -> Self {
        Self {
            timeout: TIMEOUT + longer,
            ..self
        }
    }

    /// The text of a page.
    pub(crate) async fn text(&self, path: &str) -> anyhow::Result<String> {
        self.answer("GET", path, self.client.get(self.of(path)))
            .await
    }

    /// What a request with a JSON body is answered.
    pub(crate) async fn post(&self, path: &str, body: String) -> anyhow::Result<String> {
        let request = self.client.post(self.of(path));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        self.answer("POST", path, request).await
    }

    fn of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn answer(
        &self,
        method: &str,
        path: &str,
        request: RequestBuilder,
    ) -> anyhow::Result<String> {
        let url = &self.url;
        let mut request = request.timeout(self.timeout);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = match request.send().await {
            Err(problem) if problem.is_connect() => {
                return Err(problem).with_context(|| {
                    format!(
                        "cannot reach {url}; is spanmill running? start it with \"make run\", or \
                         name its HTTP API with --url"
                    )
                });
            }
            response => response.with_context(|| format!("{method} {url}{path}"))?,
        };
        let status = response.status();
        let body = response.text().await?;
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::UNAUTHORIZED => bail!(
                "{url} wants to know the tenant, or who asks: name the tenant with --tenant, and \
                 put the token of a credential into {TOKEN} ({})",
                body.trim()
            ),
            _ => bail!("{method} {url}{path}: {status}: {}", body.trim()),
        }
    }
}
