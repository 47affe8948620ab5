//! How a connection to a receiver is secured.

use serde::{Deserialize, Serialize};

/// `tls_config` of Prometheus. The files are read at start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsClientConfig {
    /// PEM certificates of the authorities that we trust, in place of the
    /// system's. Default: the system's.
    pub ca_file: String,

    /// Our own certificate with its chain, in PEM; needs `key_file`.
    pub cert_file: String,

    /// The key of our own certificate, in PEM; needs `cert_file`.
    pub key_file: String,

    /// The name that the receiver's certificate must have. Default: the URL's
    /// host.
    pub server_name: String,

    /// Accepts any certificate: whoever sits between can read and change what
    /// is sent. Default: false.
    pub insecure_skip_verify: bool,
}

impl TlsClientConfig {
    /// What cannot be used, found without reading a file.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.cert_file.is_empty() != self.key_file.is_empty() {
            return Some("cert_file and key_file must be set together");
        }
        if !self.server_name.is_empty()
            && rustls::pki_types::ServerName::try_from(self.server_name.as_str()).is_err()
        {
            return Some("server_name is not a host name");
        }
        None
    }
}
