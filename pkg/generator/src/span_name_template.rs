//! Names of spans without what varies in them.
//!
//! A name that carries an identifier makes a series for each value. Its
//! template is a function of the name alone: the same on every node, whatever
//! came before (differences, D37).

use std::borrow::Cow;

use self::word::{Before, Verdict};

mod letters;
mod lists;
mod shapes;
mod word;

/// Stands for what varies, as in Tempo.
const PLACEHOLDER: &str = "<_>";

/// The template of a span's name: `GET /users/42` gives `GET /users/<_>`.
///
/// Numbers, UUIDs, hashes, tokens, timestamps, e-mail and IP addresses, quoted
/// text, values of queries, and long or escaped parts of paths become `<_>`;
/// several in a row become one. Versions and names with digits (`v2`, `s3`,
/// `sha256`) stay, and so do the parameters of routes. The template of a
/// template is itself. Time is linear in the name's length, of which 16 KiB
/// are read, and the template is at most twice as long and two bytes.
pub(crate) fn template(name: &str) -> Cow<'_, str> {
    let read = name.floor_char_boundary(LONGEST);
    template_of_all(name.get(..read).unwrap_or(name))
}

fn template_of_all(name: &str) -> Cow<'_, str> {
    let mut templating = Templating::new(name);
    while templating.step() {}
    if templating.out == name {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(templating.out)
    }
}

/// Bytes of a name that are read: longer ones are cut, so that none costs much.
const LONGEST: usize = 16 * 1024;

/// A name that is being read from left to right.
struct Templating<'n> {
    name: &'n str,
    out: String,
    /// Where the next step begins.
    at: usize,
    /// Where the last word or replaced part ended.
    word_end: usize,
    last: Last<'n>,
    /// Whether what is read is the query of a URL.
    in_query: bool,
    /// Whether it was before the last blank, which may yet be replaced.
    was_in_query: bool,
    has_at_sign: bool,
    /// Whether `"` quotes names, as in SQL.
    quotes_names: bool,
    /// Quotes that have no other behind them.
    unclosed: Vec<u8>,
}

/// The word before the place that is read.
#[derive(Clone, Copy)]
enum Last<'n> {
    None,
    Replaced,
    Word(&'n str),
    /// A version, after which `.` and a number go on with it.
    Version,
    /// A number that stayed, after which `.` or `-` and a number go on with it.
    Number,
}

impl<'n> Templating<'n> {
    fn new(name: &'n str) -> Self {
        const SQL: [&str; 12] = [
            "select", "insert", "update", "delete", "create", "alter", "drop", "truncate", "with",
            "merge", "explain", "copy",
        ];
        let verb = name.trim_start().split([' ', '\n', '\t']).next();
        let verb = verb.unwrap_or_default();
        Self {
            name,
            out: String::with_capacity(name.len() + PLACEHOLDER.len()),
            at: 0,
            word_end: usize::MAX,
            last: Last::None,
            in_query: false,
            was_in_query: false,
            has_at_sign: name.contains('@'),
            quotes_names: SQL.iter().any(|known| known.eq_ignore_ascii_case(verb)),
            unclosed: Vec::new(),
        }
    }

    /// Reads on; whether there was something.
    fn step(&mut self) -> bool {
        let name = self.name;
        let Some(rest) = name.get(self.at..).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        if rest.starts_with(PLACEHOLDER) {
            self.replace(PLACEHOLDER.len());
            return true;
        }
        let word = word_length(rest);
        if word > 0 {
            if self.step_in_path(rest) || self.step_in_shape(rest) {
                return true;
            }
            self.word(rest.get(..word).unwrap_or_default());
            return true;
        }
        let is_step = match rest.as_bytes().first() {
            Some(quote @ (b'\'' | b'"')) => self.quoted(rest, *quote),
            Some(b'{' | b':' | b'<') => self.parameter(rest) || self.ipv6(rest),
            Some(b'?' | b'&') => self.query(rest),
            Some(b'%') => self.step_in_path(rest),
            _ => false,
        };
        if !is_step {
            self.copy_one(rest);
        }
        true
    }

    fn previous(&self) -> Option<u8> {
        let previous = self.at.checked_sub(1)?;
        self.name.as_bytes().get(previous).copied()
    }

    /// Copies what is no part of a word.
    fn copy_one(&mut self, rest: &str) {
        let Some(one) = rest.chars().next() else {
            return;
        };
        if one.is_whitespace() {
            self.was_in_query = std::mem::take(&mut self.in_query);
        }
        self.out.push(one);
        self.at += one.len_utf8();
        // `VALUES (1), (2)` is `VALUES (<_>)`, however many there are.
        for list in ["(<_>), (<_>)", "(<_>),(<_>)"] {
            if self.out.ends_with(list) {
                self.out
                    .truncate(self.out.len() - list.len() + "(<_>)".len());
            }
        }
    }

    fn copy(&mut self, length: usize) {
        let text = self.name.get(self.at..self.at + length);
        self.out.push_str(text.unwrap_or_default());
        self.at += length;
    }

    /// Replaces so many bytes; what has been replaced right before joins.
    fn replace(&mut self, length: usize) {
        self.at += length;
        self.word_end = self.at;
        self.last = Last::Replaced;
        let before = self.out.strip_suffix(", ").or_else(|| {
            self.out
                .strip_suffix(['-', '_', '.', ':', ',', '+', ' '])
                .filter(|before| before.ends_with(PLACEHOLDER))
        });
        let before = before.unwrap_or(&self.out);
        if before.ends_with(PLACEHOLDER) {
            self.in_query |= self.was_in_query && self.out.ends_with(' ');
            self.out.truncate(before.len());
        } else {
            self.out.push_str(PLACEHOLDER);
        }
    }

    fn step_in_path(&mut self, rest: &str) -> bool {
        let value = match self.previous() {
            Some(b'/') => shapes::path_value(rest),
            _ => None,
        };
        value.inspect(|length| self.replace(*length)).is_some()
    }

    /// Shapes that begin like a word.
    fn step_in_shape(&mut self, rest: &str) -> bool {
        if self.word_end == self.at {
            return false;
        }
        let email = || shapes::email(rest).filter(|_| self.has_at_sign);
        let shape = shapes::uuid(rest)
            .or_else(|| shapes::mac(rest))
            .or_else(email);
        if let Some(length) = shape {
            self.replace(length);
            return true;
        }
        self.ipv6(rest)
    }

    fn ipv6(&mut self, rest: &str) -> bool {
        if self.word_end == self.at || self.previous() == Some(b':') {
            return false;
        }
        let address = shapes::ipv6(rest);
        address.inspect(|length| self.replace(*length)).is_some()
    }

    fn parameter(&mut self, rest: &str) -> bool {
        let after_slash = self.previous() == Some(b'/');
        let Some(length) = shapes::constrained_parameter(rest, after_slash) else {
            return false;
        };
        self.copy(length);
        self.word_end = self.at;
        self.last = Last::None;
        true
    }

    /// The value of a parameter of a URL's query.
    fn query(&mut self, rest: &str) -> bool {
        let begins = rest.starts_with('?')
            && self
                .previous()
                .is_some_and(|previous| !previous.is_ascii_whitespace());
        if !begins && !self.in_query {
            return false;
        }
        let parameter = rest.get(1..).and_then(shapes::query_parameter);
        let Some((key, value)) = parameter else {
            return false;
        };
        self.in_query = true;
        self.copy(1 + key);
        if value > 0 {
            self.replace(value);
        }
        true
    }

    /// Text in quotes, if that is what a quote begins.
    fn quoted(&mut self, rest: &str, quote: u8) -> bool {
        if self.word_end == self.at || self.unclosed.contains(&quote) {
            return false;
        }
        let Some(length) = quoted_length(rest, quote) else {
            // So that no more than one search goes to the end in vain.
            self.unclosed.push(quote);
            return false;
        };
        let before = self.name.get(..self.at).unwrap_or_default().trim_end();
        let names = quote == b'"' && self.quotes_names && !before.ends_with(['=', '<', '>']);
        if names {
            return false;
        }
        self.replace(length);
        true
    }

    fn word(&mut self, word: &'n str) {
        let separator = self.at.checked_sub(self.word_end);
        let separator = match separator {
            Some(1) => self.previous(),
            _ => None,
        };
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.number(word, separator);
        }
        let before = Before {
            separator,
            replaced: matches!(self.last, Last::Replaced),
        };
        match word::judge(word, before) {
            Verdict::Keep => self.keep(word, Last::Word(word)),
            Verdict::Version => self.keep(word, Last::Version),
            Verdict::Fold => {
                self.replace(word.len());
                self.padding(word.len());
            }
            Verdict::FoldPart { start, end } => {
                let (first, varying) = (word.get(..start), end - start);
                if let Some(first) = first.filter(|first| !first.is_empty()) {
                    self.word(first);
                }
                // What is after it is the next step's.
                self.replace(varying);
            }
        }
    }

    fn number(&mut self, number: &'n str, separator: Option<u8>) {
        let belongs = match (self.last, separator) {
            // The place of a parameter, `$1`.
            _ if self.quotes_names && self.previous() == Some(b'$') => number.len() <= 2,
            (Last::Word(word), Some(separator)) => word::belongs(number, word, separator),
            (Last::Version, Some(b'.')) | (Last::Number, Some(b'.' | b'-')) => number.len() <= 2,
            // Scripts that put no blank between.
            (Last::Word(word), None) => !word.is_ascii() && number.len() <= 2,
            _ => false,
        };
        match (belongs, self.last) {
            (true, Last::Version) => self.keep(number, Last::Version),
            (true, _) => self.keep(number, Last::Number),
            (false, _) => self.replace(number.len()),
        }
    }

    fn keep(&mut self, word: &str, last: Last<'n>) {
        self.copy(word.len());
        self.word_end = self.at;
        self.last = last;
    }

    /// The padding of a token in base 64.
    fn padding(&mut self, token: usize) {
        let rest = self.name.get(self.at..).unwrap_or_default();
        let padding = rest.bytes().take_while(|byte| *byte == b'=').count();
        let after = rest.get(padding..).unwrap_or_default();
        if token >= 8 && (1..=2).contains(&padding) && word_length(after) == 0 {
            self.at += padding;
            self.word_end = self.at;
        }
    }
}

/// The length of the run of letters and digits that a text begins with, either
/// of ASCII or of other scripts.
fn word_length(text: &str) -> usize {
    let ascii = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if ascii > 0 {
        return ascii;
    }
    text.bytes().take_while(|byte| !byte.is_ascii()).count()
}

/// The length of a text in quotes, doubled and escaped ones being part of it.
fn quoted_length(text: &str, quote: u8) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((position, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote && bytes.next_if(|(_, next)| *next == quote).is_none() {
            return Some(position + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests;
