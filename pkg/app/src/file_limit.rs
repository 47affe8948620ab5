//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one.
///
/// Systems set the soft limit low, at 1,024 often, for programs that still use
/// `select`; each connection takes one.
pub(crate) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => {
            tracing::debug!(?before, after = ?limit.current, "raised the limit on open files")
        }
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
