//! Clients of object stores, with one kind of TLS: rustls with ring.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, Error, ObjectStore, RetryConfig};
use rustls::{ClientConfig, RootCertStore};

use crate::user_configurable::config::{AzureConfig, GcsConfig, S3Config};

/// How long a connection may take, and one try of a request.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const REQUEST_PATIENCE: Duration = Duration::from_secs(8);

/// How often a request is tried again, and for how long.
const RETRIES: usize = 3;
const RETRY_PATIENCE: Duration = Duration::from_secs(10);

/// A client of a bucket of Google Cloud Storage.
///
/// # Errors
///
/// Settings that cannot be used.
pub(crate) fn gcs(config: &GcsConfig) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&config.bucket_name)
        .with_http_connector(Connector)
        .with_retry(retry());
    // Tempo names the JSON API there, and this is a client of the XML one.
    let endpoint = config.endpoint.trim_end_matches('/');
    let endpoint = endpoint.trim_end_matches("/storage/v1");
    if !endpoint.is_empty() {
        builder = builder.with_base_url(endpoint);
    }
    if config.insecure {
        let options = ClientOptions::new().with_allow_http(true);
        builder = builder
            .with_skip_signature(true)
            .with_client_options(options);
    }
    Ok(Arc::new(builder.build()?))
}

/// A client of a bucket of S3.
///
/// # Errors
///
/// As [`gcs`].
pub(crate) fn s3(config: &S3Config) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&config.bucket)
        .with_http_connector(Connector)
        .with_retry(retry());
    let region = match config.region.as_str() {
        "" => region_of(&config.endpoint),
        region => Some(region),
    };
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if !config.endpoint.is_empty() {
        let scheme = if config.insecure { "http" } else { "https" };
        builder = builder.with_endpoint(format!("{scheme}://{}", config.endpoint));
    }
    builder = builder.with_allow_http(config.insecure);
    if !config.access_key.is_empty() {
        builder = builder
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(config.secret_key.expose());
    }
    if !config.session_token.is_empty() {
        builder = builder.with_token(config.session_token.expose());
    }
    Ok(Arc::new(builder.build()?))
}

/// A client of a container of Azure Blob Storage.
///
/// # Errors
///
/// As [`gcs`].
pub(crate) fn azure(config: &AzureConfig) -> object_store::Result<Arc<dyn ObjectStore>> {
    let account = &config.storage_account_name;
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_account(account)
        .with_container_name(&config.container_name)
        .with_endpoint(format!("https://{account}.{}", config.endpoint_suffix))
        .with_http_connector(Connector)
        .with_retry(retry());
    if !config.storage_account_key.is_empty() {
        builder = builder.with_access_key(config.storage_account_key.expose());
    }
    if !config.user_assigned_id.is_empty() {
        builder = builder.with_client_id(&config.user_assigned_id);
    }
    Ok(Arc::new(builder.build()?))
}

/// The region in the name of an endpoint of AWS.
fn region_of(endpoint: &str) -> Option<&str> {
    let name = endpoint.strip_suffix(".amazonaws.com")?;
    let region = name.strip_prefix("s3.")?;
    let region = region.strip_prefix("dualstack.").unwrap_or(region);
    (!region.is_empty() && !region.contains('.')).then_some(region)
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_PATIENCE,
        ..RetryConfig::default()
    }
}

/// Makes the HTTP clients.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().map_err(refused)?)
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(REQUEST_PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(refused)?;
        Ok(HttpClient::new(client))
    }
}

/// What the system trusts, is trusted.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Single ones that cannot be read are left out, as other programs do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic {
        store: "HTTP client",
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use settings::Secret;

    use super::*;

    #[test]
    fn regions_are_read_from_endpoints_of_aws() {
        for (endpoint, region) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3.dualstack.us-east-2.amazonaws.com", Some("us-east-2")),
            ("s3.amazonaws.com", None),
            ("minio:9000", None),
            ("", None),
        ] {
            assert_eq!(region_of(endpoint), region, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn clients_are_made_and_show_no_secret() {
        let canary = || Secret::new("Y2FuYXJ5LXNlY3JldA==");
        let s3 = s3(&S3Config {
            bucket: "b".to_owned(),
            access_key: "shown".to_owned(),
            secret_key: canary(),
            session_token: canary(),
            ..S3Config::default()
        });
        let azure = azure(&AzureConfig {
            storage_account_name: "account".to_owned(),
            storage_account_key: canary(),
            container_name: "c".to_owned(),
            ..AzureConfig::default()
        });
        let gcs = gcs(&GcsConfig {
            bucket_name: "b".to_owned(),
            endpoint: "http://127.0.0.1:1/storage/v1/".to_owned(),
            insecure: true,
            ..GcsConfig::default()
        });
        for (store, name) in [
            (s3, "AmazonS3(b)"),
            (azure, "MicrosoftAzure { account: account, container: c }"),
            (gcs, "GoogleCloudStorage(b)"),
        ] {
            assert_eq!(store.unwrap().to_string(), name);
        }
    }
}
