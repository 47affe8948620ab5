//! How a connection to a receiver is secured.

use rustls_pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::Secret;

/// `tls_config` of Prometheus. The files are read at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsClientConfig {
    /// PEM certificates of the authorities that we trust, in place of the
    /// system's. Default: the system's.
    pub ca: String,

    /// A file with them.
    pub ca_file: String,

    /// Our own certificate with its chain, in PEM; needs a key.
    pub cert: String,

    /// A file with it.
    pub cert_file: String,

    /// The key of our own certificate, in PEM; needs a certificate.
    pub key: Secret,

    /// A file with it.
    pub key_file: String,

    /// The name that the receiver's certificate must have. Default: the URL's
    /// host.
    pub server_name: String,

    /// Accepts any certificate: whoever sits between can read and change what
    /// is sent. Default: false.
    pub insecure_skip_verify: bool,

    /// The lowest version that is spoken. Default: 1.2; what is below is not
    /// spoken in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,

    /// The highest version that is spoken, at least 1.2. Default: 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TlsVersion {
    /// 1.0, which is not spoken.
    #[serde(rename = "TLS10")]
    Tls10,
    /// 1.1, which is not spoken.
    #[serde(rename = "TLS11")]
    Tls11,
    /// 1.2.
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3.
    #[serde(rename = "TLS13")]
    Tls13,
}

impl TlsClientConfig {
    /// Whether a version is spoken.
    pub fn speaks(&self, version: TlsVersion) -> bool {
        self.min_version.is_none_or(|min| min <= version)
            && self.max_version.is_none_or(|max| version <= max)
    }

    /// The first key that cannot be used, and why; found without reading a
    /// file.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str)> {
        for (key, inline, file) in [
            ("ca", !self.ca.is_empty(), &self.ca_file),
            ("cert", !self.cert.is_empty(), &self.cert_file),
            ("key", !self.key.is_empty(), &self.key_file),
        ] {
            if inline && !file.is_empty() {
                return Some((key, "a file with it is set as well; keep one"));
            }
        }
        let certificate = !self.cert.is_empty() || !self.cert_file.is_empty();
        let key = !self.key.is_empty() || !self.key_file.is_empty();
        if certificate && !key {
            return Some(("cert_file", "needs key or key_file"));
        }
        if key && !certificate {
            return Some(("key_file", "needs cert or cert_file"));
        }
        if !self.server_name.is_empty() && ServerName::try_from(self.server_name.as_str()).is_err()
        {
            return Some(("server_name", "is not a host name"));
        }
        if !self.speaks(TlsVersion::Tls12) && !self.speaks(TlsVersion::Tls13) {
            return Some((
                "max_version",
                "leaves no version; TLS12 and TLS13 are spoken",
            ));
        }
        None
    }
}
