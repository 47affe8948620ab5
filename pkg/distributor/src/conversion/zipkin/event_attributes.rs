//! Attributes of an event in JSON, as OpenTelemetry's exporters write them into an
//! annotation.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::conversion::attributes::{Attributes, Value};

/// An object's texts, numbers and booleans. Lists and objects in it are left out as
/// they are read: kept, they would take many times what they are long.
#[derive(Debug)]
pub(super) struct AttributesJson(pub(super) Attributes<'static>);

/// A value, unless it is of a kind that is left out.
struct Scalar(Option<Value<'static>>);

struct AttributesVisitor;

struct ScalarVisitor;

impl<'de> Deserialize<'de> for AttributesJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes<'static>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = Attributes::default();
        while let Some(key) = map.next_key::<String>()? {
            if let Scalar(Some(value)) = map.next_value()? {
                attributes.push(key.into_bytes(), value);
            }
        }
        Ok(attributes)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<Value<'static>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::text(text.as_bytes().to_vec())))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Bool(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Int(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        let whole = i64::try_from(number).map(Value::Int);
        Ok(Some(whole.unwrap_or(Value::Double(number as f64))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Double(number)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_numbers_and_booleans_are_kept_and_all_else_is_left_out() {
        let json = r#"{"a":"x","b":-1,"c":18446744073709551615,"d":0.5,"e":true,
                       "f":null,"g":[1,[2]],"h":{"i":{}},"j":2}"#;
        let AttributesJson(read) = serde_json::from_str(json).unwrap();
        let mut want = Attributes::default();
        for (key, value) in [
            ("a", Value::text(b"x".to_vec())),
            ("b", Value::Int(-1)),
            ("c", Value::Double(18_446_744_073_709_551_615.0)),
            ("d", Value::Double(0.5)),
            ("e", Value::Bool(true)),
            ("j", Value::Int(2)),
        ] {
            want.push(key.as_bytes().to_vec(), value);
        }
        assert_eq!(read, want);
        for broken in ["[]", "1", r#"{"a":}"#, r#"{"a":[1}"#] {
            assert!(
                serde_json::from_str::<AttributesJson>(broken).is_err(),
                "{broken}"
            );
        }
    }

    #[test]
    fn more_than_is_kept_is_counted() {
        let entries: Vec<_> = (0..1_030).map(|key| format!("\"{key}\":1")).collect();
        let json = format!("{{{}}}", entries.join(","));
        let AttributesJson(read) = serde_json::from_str(&json).unwrap();
        assert_eq!((read.iter().count(), read.dropped), (1_024, 6));
    }
}
