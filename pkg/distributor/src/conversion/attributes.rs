//! Attributes on their way from one protocol to another.

use std::borrow::Cow;

use super::MAX_ITEMS;

/// Text as it came; whether it is UTF-8 matters only where it becomes a label.
pub(super) type Text<'a> = Cow<'a, [u8]>;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Text<'a>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// Attributes of one span, event or resource, without order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attributes<'a> {
    list: Vec<(Text<'a>, Value<'a>)>,
    /// How many there were beyond [`MAX_ITEMS`].
    pub(super) dropped: u64,
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Text<'a>>) -> Self {
        Self::Text(text.into())
    }

    /// The text; empty if it is of another type.
    pub(super) fn into_text(self) -> Text<'a> {
        match self {
            Self::Text(text) => text,
            _ => Text::default(),
        }
    }

    /// A whole number, also where it is written as text.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }
}

impl<'a> Attributes<'a> {
    /// Adds one, whether or not there is one of that key.
    pub(super) fn push(&mut self, key: impl Into<Text<'a>>, value: Value<'a>) {
        if self.list.len() < MAX_ITEMS {
            self.list.push((key.into(), value));
        } else {
            self.dropped += 1;
        }
    }

    /// Leaves one of each key: the last, as in the map that others read them into.
    pub(super) fn settle(&mut self) {
        let list = &self.list;
        let key = |index: usize| list.get(index).map(|(key, _)| key);
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by(|one, other| key(*one).cmp(&key(*other)));
        let mut kept = vec![true; list.len()];
        for pair in order.windows(2) {
            if let [earlier, later] = pair
                && key(*earlier) == key(*later)
                && let Some(kept) = kept.get_mut(*earlier)
            {
                *kept = false;
            }
        }
        let mut kept = kept.into_iter();
        self.list.retain(|_| kept.next().unwrap_or(true));
    }

    /// Gives one away, once they are settled.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Value<'a>> {
        let index = self.list.iter().position(|(known, _)| **known == *key)?;
        Some(self.list.swap_remove(index).1)
    }

    /// Gives one away as text; `None` also if it is of another type, and then it is
    /// gone as well.
    pub(super) fn take_text(&mut self, key: &[u8]) -> Option<Text<'a>> {
        self.take(key).map(Value::into_text)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        let mut list = self.list.iter();
        list.find(|(known, _)| **known == *key)
            .map(|(_, value)| value)
    }

    /// Puts one in the place of whichever has its key.
    pub(super) fn put(&mut self, key: &'static str, value: Value<'a>) {
        self.take(key.as_bytes());
        self.push(key.as_bytes(), value);
    }

    /// Takes out those whose key fulfils a condition.
    pub(super) fn take_all(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Self {
        let (taken, kept) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|(key, _)| wanted(key));
        self.list = kept;
        Self {
            list: taken,
            dropped: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Text<'a>, Value<'a>)> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut (Text<'a>, Value<'a>)> {
        self.list.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_each_key_is_left() {
        let mut attributes = Attributes::default();
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5)] {
            attributes.push(key.as_bytes(), Value::Int(value));
        }
        attributes.settle();
        let left: Vec<_> = attributes.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(left, [Value::Int(2), Value::Int(4), Value::Int(5)]);
    }

    #[test]
    fn attributes_beyond_the_limit_are_counted() {
        let mut attributes = Attributes::default();
        for number in 0..1_030_i64 {
            attributes.push(number.to_string().into_bytes(), Value::Int(number));
        }
        assert_eq!((attributes.iter().count(), attributes.dropped), (1_024, 6));
    }
}
