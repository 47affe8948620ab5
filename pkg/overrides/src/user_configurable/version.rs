//! Versions of stored documents, and what a request says about them.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// What clients call the version of a document: a hash of the stored bytes. As no two
/// writes store the same bytes, no two writes give the same version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// The version of stored bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(format!("{:032x}", xxh3_128(bytes)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The header `If-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `0`: there is no document yet.
    New,
    /// `*`: there is one.
    Any,
    /// It has one of these versions.
    Versions(Vec<String>),
}

impl IfMatch {
    /// Reads a header: versions with or without quotes, separated by commas.
    pub fn parse(header: &str) -> Self {
        let tags: Vec<String> = header
            .split(',')
            .map(|tag| tag.trim().trim_matches('"').to_owned())
            .collect();
        match tags.as_slice() {
            [tag] if tag == "0" => Self::New,
            [tag] if tag == "*" => Self::Any,
            _ => Self::Versions(tags),
        }
    }

    /// Whether it holds for what is stored.
    pub(crate) fn holds_for(&self, stored: Option<&Version>) -> bool {
        match self {
            Self::New => stored.is_none(),
            Self::Any => stored.is_some(),
            Self::Versions(versions) => stored.is_some_and(|stored| versions.contains(&stored.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_read_with_and_without_quotes() {
        let (one, two) = (Version::of(b"1"), Version::of(b"2"));
        let header = |text: String| IfMatch::parse(&text);
        for (text, none, first, second) in [
            ("0".to_owned(), true, false, false),
            ("\"0\"".to_owned(), true, false, false),
            ("*".to_owned(), false, true, true),
            (one.to_string(), false, true, false),
            (format!("\"{one}\""), false, true, false),
            (format!("\"x\", \"{two}\""), false, false, true),
            // A weak one never matches here: RFC 9110, 13.1.1.
            (format!("W/\"{one}\""), false, false, false),
            (String::new(), false, false, false),
        ] {
            let if_match = header(text.clone());
            let holds = [None, Some(&one), Some(&two)].map(|stored| if_match.holds_for(stored));
            assert_eq!(holds, [none, first, second], "{text}");
        }
    }
}
