//! Who a connection is from, by its client certificate.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// The names in the client certificate of a connection, whose chain was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Alternative names: DNS names, e-mail addresses, URIs.
    pub alternative_names: Vec<String>,
    /// Common names of the subject.
    pub common_names: Vec<String>,
}

impl PeerIdentity {
    /// The names of a certificate; none where it cannot be read.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
            return Self::default();
        };
        let common_names = certificate.subject().iter_common_name();
        let common_names = common_names
            .filter_map(|name| name.as_str().ok())
            .map(str::to_owned)
            .collect();
        // Without the extension, or with two of them, there are no such names.
        let extension = certificate.subject_alternative_name().ok().flatten();
        let names = extension.map(|extension| extension.value.general_names.as_slice());
        let alternative_names = names.unwrap_or_default().iter();
        let alternative_names = alternative_names
            .filter_map(|name| match name {
                GeneralName::DNSName(name)
                | GeneralName::RFC822Name(name)
                | GeneralName::URI(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        Self {
            alternative_names,
            common_names,
        }
    }
}
