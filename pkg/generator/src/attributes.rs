//! Picks the attributes that processors want out of those that spans have.

use otlp::{AnyValue, KeyValue, WireError};

/// No key, in lists of them.
const NONE: u32 = u32::MAX;
/// Lengths of keys that are told apart; all longer ones are one.
const LENGTHS: usize = 64;

/// The keys that the processors of a tenant want, each once.
///
/// Most attributes of a span are wanted by nobody: they cost a look at whether any
/// wanted key is as long as theirs.
#[derive(Clone, Debug)]
pub(crate) struct WantedKeys {
    keys: Vec<WantedKey>,
    /// The last key of each length.
    by_length: [u32; LENGTHS],
}

#[derive(Clone, Debug)]
struct WantedKey {
    key: Box<[u8]>,
    /// Another key as long as this.
    other: u32,
}

impl Default for WantedKeys {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            by_length: [NONE; LENGTHS],
        }
    }
}

/// The place of a wanted key in the values of a resource or span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyIndex(usize);

impl WantedKeys {
    /// The place of a key, which is wanted from now on.
    pub(crate) fn want(&mut self, key: &str) -> KeyIndex {
        let key = key.as_bytes();
        if let Some(index) = self.find(key) {
            return KeyIndex(index);
        }
        let index = self.keys.len();
        let mut other = NONE;
        if let Some(last) = self.by_length.get_mut(key.len().min(LENGTHS - 1)) {
            other = std::mem::replace(last, index as u32);
        }
        self.keys.push(WantedKey {
            key: key.into(),
            other,
        });
        KeyIndex(index)
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<usize> {
        let mut index = *self.by_length.get(key.len().min(LENGTHS - 1))?;
        while let Some(wanted) = self.keys.get(index as usize) {
            if *wanted.key == *key {
                return Some(index as usize);
            }
            index = wanted.other;
        }
        None
    }

    /// How many keys are wanted.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Puts the value of an encoded attribute into its place, if it is wanted
    /// and the first of its key.
    #[inline(always)]
    pub(crate) fn collect<'a>(
        &self,
        attribute: &'a [u8],
        values: &mut [Option<AnyValue<'a>>],
    ) -> Result<(), WireError> {
        // As a rule the key is first, and its length one byte.
        if let [0x0a, length, ..] = attribute
            && self.by_length.get(usize::from(*length)) == Some(&NONE)
        {
            return Ok(());
        }
        self.collect_wanted(attribute, values)
    }

    fn collect_wanted<'a>(
        &self,
        attribute: &'a [u8],
        values: &mut [Option<AnyValue<'a>>],
    ) -> Result<(), WireError> {
        let key = match KeyValue::split(attribute) {
            Some((key, _)) => key,
            None => KeyValue::parse(attribute)?.key,
        };
        let Some(index) = self.find(key) else {
            return Ok(());
        };
        if let Some(value @ None) = values.get_mut(index) {
            *value = Some(KeyValue::parse(attribute)?.value);
        }
        Ok(())
    }
}

/// The wanted values of a resource and of one of its spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'v, 'a> {
    /// What the resource has, by [`KeyIndex`].
    pub(crate) resource: &'v [Option<AnyValue<'a>>],
    /// What the span has, by [`KeyIndex`].
    pub(crate) span: &'v [Option<AnyValue<'a>>],
}

impl<'a> Values<'_, 'a> {
    pub(crate) fn in_resource(self, key: KeyIndex) -> Option<AnyValue<'a>> {
        self.resource.get(key.0).copied().flatten()
    }

    pub(crate) fn in_span(self, key: KeyIndex) -> Option<AnyValue<'a>> {
        self.span.get(key.0).copied().flatten()
    }

    /// The value of a dimension: the resource's, or else the span's.
    pub(crate) fn dimension(self, key: KeyIndex) -> Option<AnyValue<'a>> {
        self.in_resource(key).or_else(|| self.in_span(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_attribute_of_a_wanted_key_is_kept() {
        let mut wanted = WantedKeys::default();
        let method = wanted.want("http.method");
        assert_eq!(wanted.want("http.method"), method);
        let route = wanted.want("http.route");
        let attributes = [
            &[0x0a, 1, b'x'][..],
            b"\x0a\x0bhttp.method\x12\x05\x0a\x03GET",
            b"\x0a\x0bhttp.method\x12\x06\x0a\x04POST",
            b"\x12\x02\x18\x07\x0a\x0ahttp.route", // The value first.
        ];
        let mut values = vec![None; wanted.len()];
        for attribute in attributes {
            wanted.collect(attribute, &mut values).unwrap();
        }
        let values = Values {
            resource: &[],
            span: &values,
        };
        assert_eq!(values.dimension(method), Some(AnyValue::String(b"GET")));
        assert_eq!(values.in_span(route), Some(AnyValue::Int(7)));
        assert_eq!(values.in_resource(route), None);
    }
}
