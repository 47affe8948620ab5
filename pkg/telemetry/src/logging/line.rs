//! Values as they stand in a log line.

use std::fmt::{self, Write};

use super::LogFormat;

/// The longest value written, in bytes: senders choose span and service names.
pub(super) const MAX_VALUE_BYTES: usize = 1_024;

/// Collects what a value's formatter writes, up to [`MAX_VALUE_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Clipped {
    text: String,
    clipped: bool,
}

impl Clipped {
    /// The text of a value, ending in `…` if it was cut.
    pub(super) fn of(value: fmt::Arguments<'_>) -> String {
        let mut clipped = Self::default();
        // A formatter that fails leaves what it has written so far.
        let _ = clipped.write_fmt(value);
        if clipped.clipped {
            clipped.text.push('…');
        }
        clipped.text
    }
}

impl Write for Clipped {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES.saturating_sub(self.text.len());
        let end = part.floor_char_boundary(room);
        self.text.push_str(part.get(..end).unwrap_or(""));
        if end < part.len() {
            self.clipped = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Writes one `key=value` (or `,"key":"value"`) pair.
///
/// `bare` values are numbers and booleans, which JSON writes without quotes.
pub(super) fn write_pair(
    out: &mut impl Write,
    format: LogFormat,
    key: &str,
    value: &str,
    bare: bool,
) -> fmt::Result {
    match format {
        LogFormat::Logfmt => {
            write!(out, " {key}=")?;
            if value.is_empty() || value.chars().any(must_be_quoted) {
                write_quoted(out, value)
            } else {
                out.write_str(value)
            }
        }
        LogFormat::Json => {
            out.write_char(',')?;
            write_quoted(out, key)?;
            out.write_char(':')?;
            if bare {
                out.write_str(value)
            } else {
                write_quoted(out, value)
            }
        }
    }
}

fn must_be_quoted(character: char) -> bool {
    character == ' '
        || character == '='
        || character == '"'
        || character == '\\'
        || is_unprintable(character)
}

/// Control characters, line and paragraph separators, and what changes the
/// direction of text: all that could make a line look like another.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// Writes a string in double quotes with the escapes of JSON, which logfmt
/// readers understand too.
fn write_quoted(out: &mut impl Write, value: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in value.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            other if is_unprintable(other) => write!(out, "\\u{:04x}", u32::from(other))?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}
