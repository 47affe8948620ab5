//! Certificates and keys in files that settings name.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file in PEM that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{setting}: cannot read {}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not PEM, or lacks what it should hold.
    #[error("{setting}: {} does not hold {expected} in PEM", path.display())]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
}

/// A file in PEM as it was read.
#[derive(PartialEq, Eq)]
pub struct PemFile {
    setting: &'static str,
    path: PathBuf,
    text: Vec<u8>,
}

impl PemFile {
    /// Reads the file that a setting names.
    ///
    /// # Errors
    ///
    /// [`PemError::Unreadable`].
    pub fn read(setting: &'static str, path: &Path) -> Result<Self, PemError> {
        match std::fs::read(path) {
            Ok(text) => Ok(Self {
                setting,
                path: path.to_owned(),
                text,
            }),
            Err(source) => Err(PemError::Unreadable {
                setting,
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The same; `None` if the setting is empty.
    ///
    /// # Errors
    ///
    /// [`PemError::Unreadable`].
    pub fn read_if_set(setting: &'static str, path: &Path) -> Result<Option<Self>, PemError> {
        let is_set = !path.as_os_str().is_empty();
        is_set.then(|| Self::read(setting, path)).transpose()
    }

    /// Its certificates, one at least.
    ///
    /// # Errors
    ///
    /// [`PemError::NotPem`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.lacks("a certificate")),
        }
    }

    /// Its private key.
    ///
    /// # Errors
    ///
    /// [`PemError::NotPem`].
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|_| self.lacks("a private key"))
    }

    fn lacks(&self, expected: &'static str) -> PemError {
        PemError::NotPem {
            setting: self.setting,
            path: self.path.clone(),
            expected,
        }
    }
}
