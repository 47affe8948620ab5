//! Credentials as they are written down.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use model::TenantId;
use schemars::JsonSchema;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use settings::{Problem, Secret};

use super::access::Role;
use super::password;

/// Stands for every tenant.
const ALL: &str = "*";

/// Who may use this process. Without any credential everyone who reaches a listener may,
/// and the tenant's header is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Authentication")]
pub struct AuthenticationConfig {
    /// Credentials that hold as long as the process runs. Default: none.
    pub credentials: Vec<CredentialConfig>,
    /// File with more of them, a `credentials` list as here, which may change: it is
    /// looked at each second. While it cannot be used, what it said before holds.
    /// Default: empty, none.
    pub file: PathBuf,
}

/// The file with credentials, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CredentialsDocument {
    pub(super) credentials: Vec<CredentialConfig>,
}

/// One credential: how it is recognised, by one of `bearer_hash`, `basic` and
/// `client_certificate`, and what it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Credential")]
pub struct CredentialConfig {
    /// Its name in logs and metrics; no two have the same.
    pub name: String,
    /// Hash of a bearer token, `sha256:` and 64 hexadecimal digits. For random tokens of
    /// 128 bits or more; `spanmillctl hash-credential --generate` makes both.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub bearer_hash: Secret,
    /// Username and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicConfig>,
    /// Client certificate of the connection, on listeners that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificateConfig>,
    /// The tenants that it is good for: a list of ids, or `"*"` for all. Where there is
    /// just one, requests need not name it.
    #[serde(deserialize_with = "one_or_more")]
    pub tenants: Vec<String>,
    /// What it may be used for.
    pub roles: Vec<Role>,
}

/// A username and its password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "BasicCredential")]
pub struct BasicConfig {
    /// The username; no two credentials have the same.
    pub username: String,
    /// Hash of the password, a PHC string of Argon2, as `spanmillctl hash-credential`
    /// makes it.
    pub password_hash: Secret,
}

/// What a client certificate must say; its chain is checked by the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "CertificateCredential")]
pub struct ClientCertificateConfig {
    /// The common name of its subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject_common_name: String,
    /// One of its alternative names: a DNS name, an e-mail address or a URI such as a
    /// SPIFFE id. It comes before the common name where both are known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub san: String,
}

impl AuthenticationConfig {
    /// Whether requests must show a credential.
    pub fn is_on(&self) -> bool {
        !self.credentials.is_empty() || !self.file.as_os_str().is_empty()
    }

    /// Checks what the types cannot, and reports every problem at once. The file is not
    /// read. `path` is where the block stands.
    pub fn validate(&self, path: &str) -> Vec<Problem> {
        Taken::default().validate(&self.credentials, &format!("{path}.credentials"))
    }

    /// Whether any credential is a token or a password, which others could overhear.
    /// Those of the file are not known here, and count as such.
    pub fn can_be_overheard(&self) -> bool {
        let is_named = !self.file.as_os_str().is_empty();
        is_named
            || self
                .credentials
                .iter()
                .any(|one| one.client_certificate.is_none())
    }
}

impl CredentialConfig {
    pub(super) fn is_for_all_tenants(&self) -> bool {
        self.tenants.iter().any(|tenant| tenant == ALL)
    }

    /// What is wrong with it by itself: the setting, and a message.
    fn problem(&self) -> Option<(&'static str, String)> {
        let ways = [
            !self.bearer_hash.is_empty(),
            self.basic.is_some(),
            self.client_certificate.is_some(),
        ];
        if self.name.is_empty() {
            return Some(("name", "may not be empty".into()));
        }
        if ways.into_iter().filter(|is_set| *is_set).count() != 1 {
            let message = "needs just one of bearer_hash, basic and client_certificate";
            return Some(("", message.into()));
        }
        if !self.bearer_hash.is_empty() && password::token_digest(&self.bearer_hash).is_none() {
            let message = "is not sha256: and 64 hexadecimal digits; spanmillctl hash-credential \
                           --token makes one";
            return Some(("bearer_hash", message.into()));
        }
        if let Some(basic) = &self.basic {
            if basic.username.is_empty() || basic.username.contains(':') {
                let message = "may not be empty or hold a colon";
                return Some(("basic.username", message.into()));
            }
            if !password::is_hash(&basic.password_hash) {
                let message = "is not a PHC string of Argon2 that takes up to 256 MiB; \
                               spanmillctl hash-credential makes one";
                return Some(("basic.password_hash", message.into()));
            }
        }
        if let Some(certificate) = &self.client_certificate
            && certificate.san.is_empty() == certificate.subject_common_name.is_empty()
        {
            let message = "needs one of subject_common_name and san";
            return Some(("client_certificate", message.into()));
        }
        if self.tenants.is_empty() {
            return Some(("tenants", "may not be empty; \"*\" is all".into()));
        }
        let bad = self.tenants.iter().filter(|tenant| *tenant != ALL);
        for tenant in bad {
            if let Err(error) = TenantId::parse(tenant) {
                return Some(("tenants", error.to_string()));
            }
        }
        if self.roles.is_empty() {
            let message = "may not be empty; expected some of write, read, admin";
            return Some(("roles", message.into()));
        }
        None
    }

    /// What no other credential may have, with the setting that has it.
    fn keys(&self) -> [(&'static str, String); 2] {
        let recognised = if let Some(basic) = &self.basic {
            ("basic.username", format!("user {}", basic.username))
        } else if let Some(certificate) = &self.client_certificate {
            let key = format!(
                "certificate {} {}",
                certificate.san, certificate.subject_common_name
            );
            ("client_certificate", key)
        } else {
            let digest = self.bearer_hash.expose().to_ascii_lowercase();
            ("bearer_hash", format!("token {digest}"))
        };
        [("name", format!("name {}", self.name)), recognised]
    }
}

/// What credentials have that no other may have.
#[derive(Debug, Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    /// Checks credentials that stand in a list at `path`, against each other and those
    /// that were checked before.
    pub(super) fn validate(
        &mut self,
        credentials: &[CredentialConfig],
        path: &str,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, credential) in credentials.iter().enumerate() {
            let at = |key: &str| match key {
                "" => format!("{path}[{index}]"),
                key => format!("{path}[{index}].{key}"),
            };
            if let Some((key, message)) = credential.problem() {
                problems.push(Problem::new(at(key), message));
                continue;
            }
            for (key, value) in credential.keys() {
                if !self.0.insert(value) {
                    problems.push(Problem::new(at(key), "another credential has the same"));
                }
            }
        }
        problems
    }
}

/// A text stands for a list of it alone.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMore;

    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tenants, or \"*\"")
        }

        fn visit_str<E>(self, one: &str) -> Result<Vec<String>, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(OneOrMore)
}
