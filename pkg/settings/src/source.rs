//! Texts that people wrote, and places in them.

use std::fmt;
use std::sync::Arc;

use crate::secret::MASK;

/// Columns of a line that a snippet shows.
const SHOWN_WIDTH: usize = 120;

/// Keys that tell a secret, in lower case; a snippet shows no value beside them.
const SECRET_KEYS: [&str; 10] = [
    "pass",
    "pasw",
    "secret",
    "token",
    "credential",
    "authorization",
    "api_key",
    "api-key",
    "apikey",
    "bearer",
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
        let mut shown = masked(line);
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

/// The line, with its value hidden where its key tells a secret.
fn masked(line: &str) -> String {
    let lower = line.to_lowercase();
    if !SECRET_KEYS.iter().any(|key| lower.contains(key)) {
        return line.to_owned();
    }
    match line.split_once(':') {
        Some((key, value)) if !value.trim().is_empty() => format!("{key}: {MASK}"),
        Some(_) => line.to_owned(),
        None => MASK.to_owned(),
    }
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
    fn a_place_outside_the_text_has_no_snippet() {
        assert_eq!(place("a\n", 9, 1, 1).snippet(), "");
    }
}
