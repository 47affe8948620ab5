//! Texts that people wrote, and places in them.

use std::fmt;
use std::sync::Arc;

use crate::secret::MASK;

/// Columns of a line that a snippet shows.
const SHOWN_WIDTH: usize = 120;

/// Keys that tell a secret, in lower case; a snippet shows no value beside them.
const SECRET_KEYS: [&str; 12] = [
    "pass",
    "pasw",
    "secret",
    "token",
    "credential",
    "authorization",
    "basic_auth",
    "api_key",
    "api-key",
    "apikey",
    "bearer",
    "header",
];

/// A document's name and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Names a text: the name is a path, or says where the text came from.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }

    /// What messages call the document.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Where something stands in a document.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Place {
    /// The beginning of a document.
    pub fn start_of(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            line: 1,
            column: 1,
            length: 1,
        }
    }

    /// The document.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The character in the line, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The line with carets below what is meant, each line ended; empty where
    /// the document has no such line.
    pub fn snippet(&self) -> String {
        let index = (self.line as usize).saturating_sub(1);
        let Some(line) = self.source.text.lines().nth(index) else {
            return String::new();
        };
        let mut shown = match is_below_headers(&self.source.text, index) {
            true => MASK.to_owned(),
            false => masked(line),
        };
        let mut start = (self.column as usize).saturating_sub(1);
        let skipped = start.saturating_sub(SHOWN_WIDTH / 2);
        if skipped > 0 && line.chars().count() > SHOWN_WIDTH {
            shown = std::iter::once('\u{2026}')
                .chain(shown.chars().skip(skipped + 1))
                .collect();
            start -= skipped;
        }
        let shown: String = shown
            .chars()
            .take(SHOWN_WIDTH)
            .map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => char::REPLACEMENT_CHARACTER,
                c => c,
            })
            .collect();
        let width = shown.chars().count();
        let carets = (self.length as usize)
            .min(width.saturating_sub(start))
            .max(1);
        let gutter = " ".repeat(self.line.to_string().len());
        format!(
            "{gutter} |\n{} | {shown}\n{gutter} | {}{}\n",
            self.line,
            " ".repeat(start),
            "^".repeat(carets)
        )
    }
}

/// Whether a line, or the path of a setting, has a key that tells a secret.
pub(crate) fn tells_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    SECRET_KEYS.iter().any(|key| lower.contains(key))
}

/// The line, with its value hidden where its key tells a secret, or where it has
/// a URL with more than a place: a user's name, a password, a query.
fn masked(line: &str) -> String {
    let by_key = tells_secret(line);
    let by_url = line
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains(['@', '?']));
    if !by_key && !by_url {
        return line.to_owned();
    }
    match line.split_once(':') {
        Some((key, value)) if !value.trim().is_empty() => format!("{key}: {MASK}"),
        Some(_) => line.to_owned(),
        None => MASK.to_owned(),
    }
}

/// Whether a line stands below a key for headers, any of which may hold a
/// secret.
fn is_below_headers(text: &str, index: usize) -> bool {
    let spaces = |line: &str| line.len() - line.trim_start().len();
    let dash = |line: &str| usize::from(line.trim_start().starts_with("- "));
    // An item may stand right below the key of its list, and its own first key
    // stands behind the dash.
    let start = |line: &str| spaces(line) + dash(line);
    let key = |line: &str| spaces(line) + 2 * dash(line);
    let lines: Vec<_> = text.lines().take(index + 1).collect();
    let mut above = lines.iter().rev().filter(|line| !line.trim().is_empty());
    let mut nearest = above.next().map_or(0, |line| start(line));
    above.any(|line| {
        let encloses = key(line) < nearest;
        nearest = nearest.min(start(line));
        encloses && line.to_lowercase().contains("header")
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, line: u32, column: u32, length: u32) -> Place {
        Place {
            source: Source::new("x.yaml", text),
            line,
            column,
            length,
        }
    }

    #[test]
    fn carets_stand_below_what_is_meant() {
        let place = place("a: 1\n  bad: 2\n", 2, 3, 3);
        assert_eq!(place.to_string(), "x.yaml:2:3");
        assert_eq!(place.snippet(), "  |\n2 |   bad: 2\n  |   ^^^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_carets() {
        let text = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let snippet = place(&text, 1, 501, 3).snippet();
        let lines: Vec<_> = snippet.lines().collect();
        let column = lines[2].find("^^^").unwrap();
        let shown: String = lines[1].chars().skip(column).take(3).collect();
        assert_eq!(shown, "bad");
        assert!(lines[1].chars().count() <= SHOWN_WIDTH + 4);
    }

    #[test]
    fn secrets_and_control_characters_are_not_shown() {
        let text = "pasword: 1\nmy_password: hunter2\nx: \u{1b}[31m\n";
        assert!(!place(text, 2, 1, 11).snippet().contains("hunter2"));
        assert!(!place(text, 3, 1, 1).snippet().contains('\u{1b}'));
    }

    #[test]
    fn urls_with_more_than_a_place_and_headers_are_not_shown() {
        let text = "- {name: a, url: 'ftp://u:hunter2@h'}
- url: ftp://h/?key=hunter2
- url: ftp://shown
  headers: {X-Key: hunter2}
- proxy_connect_header:
    X-Key:
    - hunter2

    X-Other: [hunter2]
  url: ftp://shown
";
        let shown: Vec<_> = (1..=11)
            .map(|line| place(text, line, 1, 1).snippet())
            .collect();
        let all = shown.concat();
        assert!(!all.contains("hunter2"), "{all}");
        assert_eq!(all.matches("ftp://shown").count(), 2, "{all}");
    }

    #[test]
    fn a_place_outside_the_text_has_no_snippet() {
        assert_eq!(place("a\n", 9, 1, 1).snippet(), "");
    }
}
