//! Asks spanmill's HTTP API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Identity, RequestBuilder, StatusCode};

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

/// Environment variables with files in PEM: roots that the server's certificate may come
/// from in place of those of the system; and a client certificate with its key.
const CA_FILE: &str = "SPANMILL_CA_FILE";
const CERT_FILE: &str = "SPANMILL_CERT_FILE";
const KEY_FILE: &str = "SPANMILL_KEY_FILE";

/// How long an answer may take that is not waited for on purpose.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Api {
    /// Connects with the first request.
    pub(crate) fn new(url: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        // Fails only if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scheme = if url.contains("://") { "" } else { "http://" };
        Ok(Self {
            client: client(|name| std::env::var(name).ok())?,
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

    /// What a request to remove something is answered.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<String> {
        let request = self.client.delete(self.of(path));
        self.answer("DELETE", path, request).await
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

/// A client with the certificates that the environment names.
fn client(of_environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<Client> {
    let read = |name: &str| {
        let file = of_environment(name).filter(|file| !file.is_empty());
        let text = file.map(|file| {
            std::fs::read(&file).with_context(|| format!("{name}: cannot read {file}"))
        });
        text.transpose()
    };
    let mut builder = Client::builder().no_proxy();
    if let Some(roots) = read(CA_FILE)? {
        let roots = Certificate::from_pem_bundle(&roots).context(CA_FILE)?;
        builder = builder.tls_certs_only(roots);
    }
    match (read(CERT_FILE)?, read(KEY_FILE)?) {
        (None, None) => {}
        (Some(mut pair), Some(key)) => {
            pair.push(b'\n');
            pair.extend(key);
            builder = builder.identity(Identity::from_pem(&pair).context(CERT_FILE)?);
        }
        _ => bail!("{CERT_FILE} and {KEY_FILE} go together; set both or none"),
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_the_environment_are_used_whole_or_refused() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let refused = |variables: &[(&str, &str)]| {
            let made = client(|name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            made.err().map(|error| error.to_string())
        };
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&[(CA_FILE, "")]), None);
        let missing = "/nowhere/ca.pem";
        let want = format!("SPANMILL_CA_FILE: cannot read {missing}");
        assert_eq!(refused(&[(CA_FILE, missing)]), Some(want));
        let some = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let want = "SPANMILL_CERT_FILE and SPANMILL_KEY_FILE go together; set both or none";
        assert_eq!(refused(&[(CERT_FILE, some)]).as_deref(), Some(want));
        assert_eq!(refused(&[(KEY_FILE, some)]).as_deref(), Some(want));
        let not_pem = refused(&[(CERT_FILE, some), (KEY_FILE, some)]);
        assert_eq!(not_pem.as_deref(), Some("SPANMILL_CERT_FILE"));
    }
}
