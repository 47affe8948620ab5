//! Turns attributes into labels: names sanitised, values as text, both cut.
//!
//! Source: tempo-2.10, span-metrics rules 4 to 7; differences D32.

use std::borrow::Cow;

use model::LabelSetBuf;
use otlp::AnyValue;
use overrides::RegistryConfig;
use registry::InvalidLabels;

/// How long names and values of labels may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelLimits {
    pub(crate) name: usize,
    pub(crate) value: usize,
}

impl LabelLimits {
    pub(crate) fn new(config: &RegistryConfig) -> Self {
        Self {
            name: config.max_label_name_length,
            value: config.max_label_value_length,
        }
    }

    /// A value as it is written.
    pub(crate) fn cut(self, value: &str) -> &str {
        cut(value, self.value)
    }

    /// A name as it is written.
    pub(crate) fn name(self, name: &str) -> &str {
        cut(name, self.name)
    }
}

/// Turns values into labels: to text, cut to the limit.
#[derive(Debug)]
pub(crate) struct LabelWriter<'b> {
    labels: &'b mut LabelSetBuf,
    limits: LabelLimits,
    text: String,
}

impl<'b> LabelWriter<'b> {
    pub(crate) fn new(labels: &'b mut LabelSetBuf, limits: LabelLimits) -> Self {
        Self {
            labels,
            limits,
            text: String::new(),
        }
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let name = cut(name, self.limits.name);
        self.labels.push(name, cut(value, self.limits.value));
    }

    pub(crate) fn value(
        &mut self,
        name: &str,
        value: Option<AnyValue<'_>>,
    ) -> Result<(), InvalidLabels> {
        self.text.clear();
        self.append(value)?;
        self.flush(name);
        Ok(())
    }

    pub(crate) fn job(
        &mut self,
        namespace: Option<AnyValue<'_>>,
        name: Option<AnyValue<'_>>,
    ) -> Result<(), InvalidLabels> {
        self.text.clear();
        self.append(name)?;
        if !self.text.is_empty() {
            let name = std::mem::take(&mut self.text);
            self.append(namespace)?;
            if !self.text.is_empty() {
                self.text.push('/');
            }
            self.text.push_str(&name);
        }
        self.flush("job");
        Ok(())
    }

    /// Joins the texts of those values that have one.
    pub(crate) fn joined<'v>(
        &mut self,
        name: &str,
        join: &str,
        values: impl Iterator<Item = Option<AnyValue<'v>>>,
    ) -> Result<(), InvalidLabels> {
        self.text.clear();
        for value in values {
            let before = self.text.len();
            if before > 0 {
                self.text.push_str(join);
            }
            let joined = self.text.len();
            self.append(value)?;
            if self.text.len() == joined {
                self.text.truncate(before);
            }
        }
        self.flush(name);
        Ok(())
    }

    fn append(&mut self, value: Option<AnyValue<'_>>) -> Result<(), InvalidLabels> {
        value.map_or(Ok(()), |value| {
            value.write_text(&mut self.text).map_err(|_| InvalidLabels)
        })
    }

    fn flush(&mut self, name: &str) {
        let name = cut(name, self.limits.name);
        self.labels.push(name, cut(&self.text, self.limits.value));
    }
}

/// The label of an attribute: characters that a label may not have become `_`,
/// a reserved name gets `__` in front, and what is too long is cut.
pub(crate) fn label_name(attribute: &str, reserved: &[&str], limits: LabelLimits) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut name: String = attribute
        .chars()
        .map(|character| if is_word(character) { character } else { '_' })
        .collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if reserved.contains(&name.as_str()) || ["__name__", "le"].contains(&name.as_str()) {
        name.insert_str(0, "__");
    }
    cut(&name, limits.name).to_owned()
}

/// Cuts text to at most `limit` bytes, never within a character (D32); a limit
/// of 0 is none.
fn cut(text: &str, limit: usize) -> &str {
    if limit == 0 || text.len() <= limit {
        return text;
    }
    text.get(..text.floor_char_boundary(limit)).unwrap_or("")
}

/// A key as text, for names that need not be UTF-8.
pub(crate) fn key_text(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(key)
}
