//! Certificates for the tests of TLS.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use tempfile::TempDir;

/// An authority that signs certificates for 127.0.0.1, which it keeps in files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// Files with a certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// An authority with a key of its own.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Another name than that of what it signs: where both are equal, BoringSSL
        // takes a certificate for its own authority.
        let name = "authority of the tests";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Python is strict: RFC 5280, 4.2.1.1 and 4.2.1.3.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self {
            issuer,
            directory: TempDir::new()?,
        };
        std::fs::write(authority.certificate(), authority.issuer.pem())?;
        Ok(authority)
    }

    /// The file with the authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// Signs a certificate, in files of that name.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn issue(&self, name: &str) -> anyhow::Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.use_authority_key_identifier_extension = true;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        params.subject_alt_names.push(SanType::IpAddress(loopback));
        let certificate = params.signed_by(&key, &self.issuer)?;
        let (certificate_file, key_file) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        std::fs::write(&certificate_file, certificate.pem())?;
        std::fs::write(&key_file, key.serialize_pem())?;
        Ok(Identity {
            certificate: certificate_file.display().to_string(),
            key: key_file.display().to_string(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
