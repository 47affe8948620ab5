//! Who we are to a receiver.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::Secret;

/// Basic authentication: a user name and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BasicAuth {
    /// The user name.
    pub username: String,
    /// A file with the user name, read at start; used if `username` is empty.
    pub username_file: String,
    /// The password.
    pub password: Secret,
    /// A file with the password, read at start; used if `password` is empty.
    pub password_file: String,
}

/// The `Authorization` header: a type and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Authorization {
    /// The scheme. Default: `Bearer`.
    pub r#type: String,
    /// What follows the scheme.
    pub credentials: Secret,
    /// A file with the credentials, read at start; used if `credentials` is
    /// empty.
    pub credentials_file: String,
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            r#type: "Bearer".to_owned(),
            credentials: Secret::default(),
            credentials_file: String::new(),
        }
    }
}
