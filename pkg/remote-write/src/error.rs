//! What can go wrong before anything is sent.

use std::path::PathBuf;

/// Remote write that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One of the endpoints cannot be used.
    #[error("remote_write[{index}] cannot be used")]
    Endpoint {
        /// Its place in the list, from 0.
        index: usize,
        /// Why not.
        #[source]
        source: Box<StartError>,
    },
    /// The directory of the spool cannot be used.
    #[error("cannot use the spool in {path}")]
    Spool {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A setting cannot be used.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key, below the endpoint.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A file that a setting names cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file, or a setting, does not hold a certificate or key in PEM.
    #[error("{path} holds no usable PEM")]
    Pem {
        /// The file, or the setting.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no authority to check the receiver's certificate by.
    #[error("no certificate authority found; install the system's or set tls_config.ca_file")]
    NoAuthorities,
    /// The TLS settings do not go together.
    #[error("TLS settings cannot be used")]
    Tls {
        /// What the library said.
        #[source]
        source: rustls::Error,
    },
    /// The HTTP client cannot be made.
    #[error("HTTP client cannot be made")]
    Client {
        /// What the library said.
        #[source]
        source: reqwest::Error,
    },
}
