//! Why a tenant's own settings were not read or changed.

use http::StatusCode;
use settings::Problems;

/// A request on a tenant's own settings that was not done.
#[derive(Debug, thiserror::Error)]
pub enum UserOverridesError {
    /// The document, or what it became, cannot be used.
    #[error("{}", lines(.0))]
    Invalid(Problems),
    /// The document is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    NotJson(String),
    /// What it became is longer than a document may be.
    #[error("the settings would be {length} bytes long; at most {limit} are accepted")]
    TooLong {
        /// Their length.
        length: usize,
        /// What is accepted.
        limit: usize,
    },
    /// The tenant has none.
    #[error("this tenant has set no overrides")]
    NotFound,
    /// What is stored is no document.
    #[error("what is stored {0}; replace or delete it, with If-Match: *")]
    Broken(String),
    /// No version was given where one is needed.
    #[error(
        "send the header If-Match with the ETag of a GET, or 0 where there are no overrides yet"
    )]
    VersionRequired,
    /// The version that was given is no more, or never was.
    #[error("If-Match is not the version that is stored; GET the overrides again")]
    VersionMismatch,
    /// The runtime file sets the same.
    #[error(
        "the operator has set {}; to set it nevertheless, add \
         skip-conflicting-overrides-check=true",
        .0.join(", ")
    )]
    Conflicting(Vec<String>),
    /// As many other tenants as may have set some of their own.
    #[error("{limit} tenants have set overrides already, and no more may; ask the operator")]
    TooManyTenants {
        /// How many may.
        limit: usize,
    },
    /// Others changed them again and again meanwhile.
    #[error("others changed these overrides {attempts} times meanwhile; try again")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// Too many changes wait, or the one before takes too long.
    #[error("too many changes of overrides are under way; try again")]
    Busy,
    /// The store does not answer as it should. The settings in force stay.
    #[error("the store of overrides cannot be used now; try again")]
    Unavailable(#[source] StoreError),
    /// The process stops.
    #[error("spanmill is stopping; try again")]
    Stopping,
}

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory.
    #[error("{path}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds the lock of the tenant's file for too long.
    #[error("{path} is locked by another process")]
    Locked {
        /// The file.
        path: String,
    },
    /// A request to the object store.
    #[error("object store")]
    Object(#[source] object_store::Error),
    /// A stored document is longer than any that is written.
    #[error("stored document has {length} bytes; at most {limit} are accepted")]
    TooLong {
        /// Its length.
        length: u64,
        /// What is accepted.
        limit: usize,
    },
    /// It wrote although the condition did not hold.
    #[error(
        "the object store writes whatever If-Match says, so that changes would be lost; use one \
         with conditional writes, or set confirm_versioning to false"
    )]
    Unconditional,
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
}

impl UserOverridesError {
    /// The HTTP status that the client sees.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::NotJson(_) => StatusCode::BAD_REQUEST,
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::VersionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            Self::Conflicting(_) => StatusCode::CONFLICT,
            Self::Contended { .. } | Self::Busy | Self::Unavailable(_) | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TooManyTenants { .. } => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// Problems that an answer tells.
const MAX_TOLD: usize = 20;

/// The problems, one a line, by dotted path.
fn lines(problems: &Problems) -> String {
    let line = |problem: &settings::Problem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    let mut told: Vec<_> = problems.iter().take(MAX_TOLD).map(line).collect();
    let left = problems.iter().count() - told.len();
    if left > 0 {
        told.push(format!("and {left} more"));
    }
    told.join("\n")
}

#[cfg(test)]
mod tests {
    use settings::Problem;

    use super::*;

    #[test]
    fn each_error_has_its_status() {
        let timed_out = || UserOverridesError::Unavailable(StoreError::TimedOut);
        for (error, status) in [
            (UserOverridesError::Invalid(Problems::new()), 400),
            (UserOverridesError::NotJson(String::new()), 400),
            (UserOverridesError::NotFound, 404),
            (UserOverridesError::Conflicting(Vec::new()), 409),
            (UserOverridesError::VersionMismatch, 412),
            (
                UserOverridesError::TooLong {
                    length: 2,
                    limit: 1,
                },
                413,
            ),
            (UserOverridesError::VersionRequired, 428),
            (UserOverridesError::Broken(String::new()), 500),
            (UserOverridesError::Contended { attempts: 1 }, 503),
            (UserOverridesError::Busy, 503),
            (timed_out(), 503),
            (UserOverridesError::Stopping, 503),
            (UserOverridesError::TooManyTenants { limit: 1 }, 507),
        ] {
            assert_eq!(error.http_status(), status, "{error}");
        }
    }

    #[test]
    fn problems_are_told_one_a_line() {
        let mut problems = Problems::new();
        problems.push(Problem::new("a.b", "is wrong"));
        problems.push(Problem::new("", "so is this"));
        let error = UserOverridesError::Invalid(problems);
        assert_eq!(error.to_string(), "a.b: is wrong\nso is this");
        let many = (0..50).map(|index| Problem::new(index.to_string(), "is wrong"));
        let mut problems = Problems::new();
        problems.extend(many);
        let text = UserOverridesError::Invalid(problems).to_string();
        assert!(text.ends_with("\n19: is wrong\nand 30 more"), "{text}");
    }
}
