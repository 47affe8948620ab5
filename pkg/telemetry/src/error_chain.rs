//! Errors with all their causes.

use std::error::Error;
use std::fmt;

/// Shows an error and its causes, joined by `: `.
///
/// A cause that its parent's text already ends with is not repeated.
pub fn error_chain(error: &(dyn Error + 'static)) -> impl fmt::Display {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the spool")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn chain_names_every_cause_once() {
        let outer = Outer(std::io::Error::other("disk is full"));
        assert_eq!(
            error_chain(&outer).to_string(),
            "cannot open the spool: disk is full"
        );
    }
}
