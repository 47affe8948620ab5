//! One sample on its line.

use super::{Format, Labels};

/// The NaN that Prometheus sends for any that is scraped.
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The series' name.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: Labels,
    /// The value.
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch; `None` for the time of the scrape.
    pub(crate) timestamp_ms: Option<i64>,
    /// What stands for the value.
    pub(crate) exemplar: Option<Exemplar>,
}

/// An exemplar of a sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exemplar {
    /// Such as a trace id.
    pub(crate) labels: Labels,
    /// The observed value.
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch; `None` for that of the sample.
    pub(crate) timestamp_ms: Option<i64>,
}

/// What is left of a line.
struct Cursor<'a>(&'a str);

impl Sample {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(line: &str, format: Format) -> Result<Self, &'static str> {
        let mut cursor = Cursor(line);
        let name = cursor.name(":").ok_or("no name")?;
        let labels = cursor.labels()?.unwrap_or_default();
        let value = cursor.value()?;
        let timestamp_ms = cursor.timestamp(format)?;
        let exemplar = match format {
            Format::Prometheus => None,
            Format::OpenMetrics => cursor.exemplar()?,
        };
        if !cursor.is_at_end() {
            return Err("more than a sample");
        }
        Ok(Self {
            name: name.to_owned(),
            labels,
            value,
            timestamp_ms,
            exemplar,
        })
    }
}

impl<'a> Cursor<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    /// Steps over a character, if it is the next.
    fn take(&mut self, character: char) -> bool {
        self.skip_blanks();
        let rest = self.0.strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A name of letters, digits, underscores and the further characters.
    fn name(&mut self, further: &str) -> Option<&'a str> {
        self.skip_blanks();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || further.contains(c);
        let end = self.0.find(|c| !is_part(c)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at_checked(end)?;
        let is_name = name.starts_with(|c: char| !c.is_ascii_digit());
        self.0 = if is_name { rest } else { self.0 };
        is_name.then_some(name)
    }

    /// What comes up to a blank.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let end = self.0.find([' ', '\t']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Labels in braces, if there are; those without a value are none.
    fn labels(&mut self) -> Result<Option<Labels>, &'static str> {
        if !self.take('{') {
            return Ok(None);
        }
        let mut labels = Labels::new();
        while !self.take('}') {
            let name = self.name("").ok_or("no name of a label")?;
            if name == "__name__" {
                return Err("a label __name__");
            }
            if !(self.take('=') && self.take('"')) {
                return Err("a label without =\"");
            }
            let value = self.quoted().ok_or("a label's value without an end")?;
            if labels.insert(name.to_owned(), value).is_some() {
                return Err("a label twice");
            }
            if !self.take(',') && !self.0.starts_with('}') {
                return Err("no comma after a label");
            }
        }
        labels.retain(|_, value| !value.is_empty());
        Ok(Some(labels))
    }

    /// A text up to its closing quote.
    fn quoted(&mut self) -> Option<String> {
        let mut is_escaped = false;
        let end = self.0.find(|c: char| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        })?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(unescape(text))
    }

    fn value(&mut self) -> Result<f64, &'static str> {
        let value: f64 = self
            .word()
            .ok_or("no value")?
            .parse()
            .map_err(|_| "a value that is no number")?;
        Ok(if value.is_nan() {
            f64::from_bits(NAN)
        } else {
            value
        })
    }

    /// A timestamp, if there is one.
    fn timestamp(&mut self, format: Format) -> Result<Option<i64>, &'static str> {
        if self.is_at_end() || self.0.starts_with('#') {
            return Ok(None);
        }
        let timestamp = self.word().and_then(|word| format.millis(word));
        timestamp.map(Some).ok_or("a timestamp that is no number")
    }

    /// An exemplar, if there is one.
    fn exemplar(&mut self) -> Result<Option<Exemplar>, &'static str> {
        if !self.take('#') {
            return Ok(None);
        }
        Ok(Some(Exemplar {
            labels: self.labels()?.ok_or("an exemplar without labels")?,
            value: self.value()?,
            timestamp_ms: self.timestamp(Format::OpenMetrics)?,
        }))
    }
}

/// A text with `\\`, `\"` and `\n` as what they stand for.
pub(super) fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            unescaped.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => unescaped.push('\n'),
            Some(escaped @ ('\\' | '"')) => unescaped.push(escaped),
            // No escape: both stand for themselves.
            Some(other) => unescaped.extend(['\\', other]),
            None => unescaped.push('\\'),
        }
    }
    unescaped
}
