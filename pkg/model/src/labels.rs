//! Label sets in their canonical encoding.

/// Borrowed bytes of a canonical label set: names and values, sorted by name,
/// each name once, no empty name and no empty value.
///
/// The encoding is, for each label, the name's length (u16, little endian),
/// the name, the value's length (u32, little endian), the value. Equal label
/// sets are equal bytes, so identity is a comparison of slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelSet<'a>(&'a [u8]);

impl<'a> LabelSet<'a> {
    /// The label set without labels.
    pub const EMPTY: LabelSet<'static> = LabelSet(&[]);

    /// Takes bytes that [`LabelSetBuf`] wrote.
    ///
    /// Other bytes do no harm: labels end at the first that does not parse.
    pub fn from_canonical(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The canonical bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Names and values, sorted by name.
    pub fn iter(self) -> Labels<'a> {
        Labels(self.0)
    }

    /// The value of one label.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .find_map(|(label, value)| (label == name).then_some(value))
    }
}

impl<'a> IntoIterator for LabelSet<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = Labels<'a>;

    fn into_iter(self) -> Labels<'a> {
        self.iter()
    }
}

/// Iterates over the names and values of a [`LabelSet`].
#[derive(Clone, Debug)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    }
}

/// Collects labels in any order and writes them canonically.
///
/// Reused from one label set to the next, it does not allocate once it has
/// grown to the longest.
#[derive(Clone, Debug, Default)]
pub struct LabelSetBuf {
    text: String,
    labels: Vec<Entry>,
    canonical: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: (usize, usize),
    value: (usize, usize),
}

impl LabelSetBuf {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the labels and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.labels.clear();
    }

    /// Adds a label; an empty name, or one over 65,535 bytes, adds none.
    ///
    /// Of several labels with one name the last counts, and if its value is
    /// empty there is no such label, as in Prometheus' label builder.
    pub fn push(&mut self, name: &str, value: &str) {
        if name.is_empty() || name.len() > usize::from(u16::MAX) {
            return;
        }
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        self.text.push_str(value);
        self.labels.push(Entry {
            name: (start, middle),
            value: (middle, self.text.len()),
        });
    }

    /// Writes the canonical encoding of what was added.
    pub fn finish(&mut self) -> LabelSet<'_> {
        let text = &self.text;
        let of = |(start, end): (usize, usize)| text.get(start..end).unwrap_or("");
        // Stable, so that the last of equal names comes last.
        self.labels.sort_by(|a, b| of(a.name).cmp(of(b.name)));
        self.canonical.clear();
        let mut labels = self.labels.iter().peekable();
        while let Some(label) = labels.next() {
            let (name, value) = (of(label.name), of(label.value));
            let is_last = labels.peek().is_none_or(|next| of(next.name) != name);
            if !is_last || value.is_empty() {
                continue;
            }
            let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX);
            let value_length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            self.canonical.extend_from_slice(&name_length.to_le_bytes());
            self.canonical.extend_from_slice(name.as_bytes());
            self.canonical
                .extend_from_slice(&value_length.to_le_bytes());
            self.canonical.extend_from_slice(value.as_bytes());
        }
        LabelSet(&self.canonical)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    proptest! {
        /// forall labels in any order: the canonical set is the sorted map of
        /// the last value of each name, without empty ones.
        #[test]
        fn canonical_form_is_the_sorted_map(
            labels in prop::collection::vec(("[a-c]{0,2}", "[x-z]{0,2}"), 0..8)
        ) {
            let mut want = BTreeMap::new();
            let mut buf = LabelSetBuf::new();
            for (name, value) in &labels {
                buf.push(name, value);
                if !name.is_empty() {
                    want.insert(name.as_str(), value.as_str());
                }
            }
            want.retain(|_, value| !value.is_empty());
            let got: Vec<_> = buf.finish().iter().collect();
            prop_assert_eq!(got, want.into_iter().collect::<Vec<_>>());
        }

        /// forall bytes: reading them as a label set ends.
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(LabelSet::from_canonical(&bytes).iter().count() <= bytes.len());
        }
    }
}
