//! Names of metrics and labels for scrapers that do not take every character.
//!
//! Source: Prometheus, "UTF-8 metric and label name escaping schemes".

use std::borrow::Cow;
use std::fmt::Write as _;

/// What becomes of a name outside of the legacy characters: letters, digits and
/// underscores, colons in names of metrics, no digit first. A name within them
/// stays as it is in every scheme, as in Prometheus' own client libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escaping {
    /// `allow-utf-8`: it stays, in quotes.
    AllowUtf8,
    /// `underscores`: each other character becomes an underscore.
    #[default]
    Underscores,
    /// `dots`: dots become `_dot_`, underscores are doubled, each other
    /// character becomes an underscore.
    Dots,
    /// `values`: after `U__`, underscores are doubled, and each other character
    /// becomes its code point between underscores.
    Values,
}

impl Escaping {
    /// The scheme of a parameter `escaping`; `None` if there is no such scheme.
    pub(crate) fn read(value: &str) -> Option<Self> {
        match value {
            // The two pages of the specification spell it differently.
            "allow-utf-8" | "allow-utf8" => Some(Self::AllowUtf8),
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            _ => None,
        }
    }

    /// The parameter's value in an answer.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name of a metric.
    pub(crate) fn metric(self, name: &str) -> Cow<'_, str> {
        if is_legacy_metric(name) {
            return Cow::Borrowed(name);
        }
        self.escape(name, ":")
    }

    /// The name of a label.
    pub(crate) fn label(self, name: &str) -> Cow<'_, str> {
        if is_legacy_label(name) {
            return Cow::Borrowed(name);
        }
        self.escape(name, "")
    }

    fn escape<'a>(self, name: &'a str, further: &str) -> Cow<'a, str> {
        if self == Self::AllowUtf8 {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (place, character) in name.chars().enumerate() {
            match (self, character) {
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                _ if is_legacy(character, further) && !is_first_digit(place, character) => {
                    escaped.push(character);
                }
                // Writing to a String cannot fail.
                (Self::Values, _) => drop(write!(escaped, "_{:X}_", u32::from(character))),
                _ => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

/// Whether every scraper takes this name of a metric.
pub(crate) fn is_legacy_metric(name: &str) -> bool {
    is_legacy_name(name, ":")
}

/// Whether every scraper takes this name of a label.
pub(crate) fn is_legacy_label(name: &str) -> bool {
    is_legacy_name(name, "")
}

fn is_legacy_name(name: &str, further: &str) -> bool {
    !name.is_empty()
        && name.chars().enumerate().all(|(place, character)| {
            is_legacy(character, further) && !is_first_digit(place, character)
        })
}

fn is_legacy(character: char, further: &str) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || further.contains(character)
}

fn is_first_digit(place: usize, character: char) -> bool {
    place == 0 && character.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification, and what it says without one.
    #[test]
    fn names_are_escaped_as_the_scheme_says() {
        for (name, underscores, dots, values) in [
            (
                "metric.name",
                "metric_name",
                "metric_dot_name",
                "U__metric_2E_name",
            ),
            (
                "metric.name/with/slashes",
                "metric_name_with_slashes",
                "metric_dot_name_with_slashes",
                "U__metric_2E_name_2F_with_2F_slashes",
            ),
            (
                "metric.name.with.dots",
                "metric_name_with_dots",
                "metric_dot_name_dot_with_dot_dots",
                "U__metric_2E_name_2E_with_2E_dots",
            ),
            ("http.a_b", "http_a_b", "http_dot_a__b", "U__http_2E_a__b"),
            ("9lives", "_lives", "_lives", "U___39_lives"),
            ("größe", "gr__e", "gr__e", "U__gr_F6__DF_e"),
            ("😀", "_", "_", "U___1F600_"),
            ("a\nb", "a_b", "a_b", "U__a_A_b"),
            (
                "plain_name:sum",
                "plain_name:sum",
                "plain_name:sum",
                "plain_name:sum",
            ),
        ] {
            for (scheme, want) in [
                (Escaping::AllowUtf8, name),
                (Escaping::Underscores, underscores),
                (Escaping::Dots, dots),
                (Escaping::Values, values),
            ] {
                assert_eq!(scheme.metric(name), want, "{name} in {scheme:?}");
            }
        }
    }

    #[test]
    fn colon_is_no_character_of_a_label() {
        assert_eq!(Escaping::Underscores.label("a:b"), "a_b");
        assert_eq!(Escaping::Values.label("a:b"), "U__a_3A_b");
        assert_eq!(Escaping::Dots.label("a_b"), "a_b");
    }

    #[test]
    fn schemes_are_read_and_named() {
        for name in ["allow-utf-8", "underscores", "dots", "values"] {
            assert_eq!(Escaping::read(name).map(Escaping::name), Some(name));
        }
        assert_eq!(Escaping::read("allow-utf8"), Some(Escaping::AllowUtf8));
        assert_eq!(Escaping::read("none"), None);
    }
}
