//! What both versions of Zipkin's JSON have in common.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::attributes::{Attributes, Text, Value};
use super::super::{ConversionError, MAX_ITEMS};
use super::{Converted, Endpoint, Spans};

/// Converts a list of spans, one after another, each by `span`.
pub(super) fn convert<'a>(
    body: &'a [u8],
    span: impl FnMut(&'a str) -> serde_json::Result<Converted<'a>>,
) -> Result<Vec<u8>, ConversionError> {
    let mut list = SpanList {
        spans: Spans::default(),
        span,
    };
    let mut input = serde_json::Deserializer::from_slice(body);
    input.deserialize_seq(&mut list)?;
    input.end()?;
    Ok(list.spans.output.finish()?)
}

/// The list, whose elements are converted as they are read.
struct SpanList<'a, F> {
    spans: Spans<'a>,
    span: F,
}

impl<'a, F: FnMut(&'a str) -> serde_json::Result<Converted<'a>>> Visitor<'a>
    for &mut SpanList<'a, F>
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&'a RawValue>()? {
            if element.get() == "null" {
                continue;
            }
            let written = self.spans.add((self.span)(element.get()));
            written.map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// A string that may be absent, null, or without escapes borrowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Str<'a>(pub(super) Cow<'a, str>);

impl<'a> Str<'a> {
    pub(super) fn text(self) -> Text<'a> {
        match self.0 {
            Cow::Borrowed(text) => Text::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Text::Owned(text.into_bytes()),
        }
    }

    /// An id of hexadecimal digits, the leading ones maybe missing.
    pub(super) fn id<const LENGTH: usize>(&self) -> Option<[u8; LENGTH]> {
        let digits = self.0.as_bytes();
        if digits.is_empty() || digits.len() > 2 * LENGTH {
            return None;
        }
        let mut id = [0; LENGTH];
        for (place, digit) in digits.iter().rev().enumerate() {
            let value = char::from(*digit).to_digit(16)? as u8;
            let byte = id.get_mut(LENGTH - 1 - place / 2)?;
            *byte |= value << (4 * (place % 2));
        }
        Some(id)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar).map(Self)
    }
}

/// A string; a number or boolean as it is written; nothing for null.
struct Scalar;

impl<'de> Visitor<'de> for Scalar {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// A number of microseconds: absent, null and below zero are zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Micros(pub(super) u64);

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Number>::deserialize(deserializer)?;
        let whole = |number: serde_json::Number| {
            let float = || number.as_f64().map(|float| float as u64);
            number.as_u64().or_else(float).unwrap_or_default()
        };
        Ok(Self(number.map(whole).unwrap_or_default()))
    }
}

/// An object of tags.
#[derive(Debug, Default)]
pub(super) struct Tags<'a>(pub(super) Attributes<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagsVisitor).map(Self)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = Attributes<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tags")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Attributes::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tags = Attributes::default();
        while let Some((key, value)) = map.next_entry::<Str<'de>, Str<'de>>()? {
            tags.push(key.text(), Value::Text(value.text()));
        }
        Ok(tags)
    }
}

/// An endpoint of either version.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointJson<'a> {
    #[serde(borrow)]
    pub(super) service_name: Str<'a>,
    #[serde(borrow)]
    ipv4: Str<'a>,
    #[serde(borrow)]
    ipv6: Str<'a>,
    #[serde(borrow)]
    port: Str<'a>,
}

impl<'a> EndpointJson<'a> {
    /// What of it can be right: an address that is none, or a port, is left out.
    pub(super) fn endpoint(self) -> Endpoint<'a> {
        let ip = |text: &Str<'_>| text.0.parse::<IpAddr>().ok();
        Endpoint {
            ip: ip(&self.ipv6).or_else(|| ip(&self.ipv4)),
            port: self.port.0.parse().unwrap_or_default(),
            service_name: self.service_name.text(),
        }
    }
}

/// The first [`MAX_ITEMS`] elements of a list, and how many it has beyond; none for
/// null.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) kept: Vec<T>,
    pub(super) dropped: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            dropped: 0,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(List::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = List::default();
        while list.kept.len() < MAX_ITEMS {
            match elements.next_element::<Option<T>>()? {
                Some(element) => list.kept.extend(element),
                None => return Ok(list),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            list.dropped += 1;
        }
        Ok(list)
    }
}
