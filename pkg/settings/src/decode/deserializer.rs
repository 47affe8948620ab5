//! A tree as serde sees it.

use serde::de::{Deserializer, Error, Visitor};

use super::State;
use super::access::{Entries, Items, Variant};
use super::fault::{At, Refusal, describe, list};
use crate::node::{Content, Entry, Node};
use crate::source::{Place, tells_secret};

/// The way to a node, as a list on the stack: it becomes text for problems only.
#[derive(Clone, Copy)]
pub(super) enum PathTo<'p> {
    Root(&'p str),
    Key(&'p PathTo<'p>, &'p str),
    Index(&'p PathTo<'p>, usize),
}

impl PathTo<'_> {
    pub(super) fn text(&self) -> String {
        match self {
            PathTo::Root(path) => (*path).to_owned(),
            PathTo::Key(above, key) => match above.text() {
                above if above.is_empty() => (*key).to_owned(),
                above => format!("{above}.{key}"),
            },
            PathTo::Index(above, index) => format!("{}[{index}]", above.text()),
        }
    }
}

pub(super) fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

/// One node.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'n, 'p> {
    pub(super) node: &'n Node,
    pub(super) path: PathTo<'p>,
    /// What a message points at.
    pub(super) place: &'n Place,
    pub(super) parent: Option<usize>,
    pub(super) state: &'p State,
}

impl<'n, 'p> NodeDeserializer<'n, 'p> {
    pub(super) fn root(node: &'n Node, path: PathTo<'p>, state: &'p State) -> Self {
        Self {
            node,
            path,
            place: &node.place,
            parent: None,
            state,
        }
    }

    /// Says where, if whoever refused did not know.
    pub(super) fn locate<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.map_err(|mut refusal| {
            refusal.at.get_or_insert_with(|| At {
                path: self.path.text(),
                place: self.place.clone(),
                address: address(self.node),
                parent: self.parent,
            });
            refusal
        })
    }

    pub(super) fn refuse<T>(&self, accepted: &str) -> Result<T, Refusal> {
        if self.node.is_null() {
            return self.locate(Err(Refusal::null()));
        }
        let shows = !matches!(
            self.node.content,
            Content::Sequence(_) | Content::Mapping(_)
        );
        if shows && tells_secret(&self.path.text()) {
            let message = format!("a single value is not accepted; expected {accepted}");
            return self.locate(Err(Refusal::custom(message)));
        }
        self.locate(Err(Refusal::not_accepted(self.node, accepted)))
    }

    fn whole_number(&self, min: i128, max: i128) -> Result<i128, Refusal> {
        let number = match &self.node.content {
            Content::Integer(number) => Some(*number),
            Content::Float(number) => exact_integer(*number),
            _ => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ if max >= i64::MAX.into() && min == 0 => self.refuse("a whole number from 0"),
            _ if max >= i64::MAX.into() => self.refuse("a whole number"),
            _ => self.refuse(&format!("a whole number from {min} to {max}")),
        }
    }

    fn mapping<V: Visitor<'n>>(
        &self,
        entries: &'n [Entry],
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.locate(visitor.visit_map(Entries {
            parent: address(self.node),
            path: &self.path,
            entries: entries.iter(),
            value: None,
            fields,
            state: self.state,
        }))
    }

    fn sequence<V: Visitor<'n>>(&self, items: &'n [Node], visitor: V) -> Result<V::Value, Refusal> {
        self.locate(visitor.visit_seq(Items {
            parent: address(self.node),
            path: &self.path,
            items: items.iter().enumerate(),
            state: self.state,
        }))
    }
}

/// A float that is a whole number, as `15e6` is.
#[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
fn exact_integer(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i128)
}

/// The words that YAML 1.1, and so Go's YAML, takes for booleans.
fn boolean_word(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Some(false)
        }
        _ => None,
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
            let number = self.whole_number(<$type>::MIN.into(), <$type>::MAX.into())?;
            let number = <$type>::try_from(number).map_err(Refusal::custom);
            self.locate(number.and_then(|number| visitor.$visit(number)))
        }
    )*};
}

impl<'n> Deserializer<'n> for NodeDeserializer<'n, '_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Null => {
                let result = visitor.visit_unit();
                // A type that takes no null gets its default instead.
                self.locate(result.map_err(|_: Refusal| Refusal::null()))
            }
            Content::Bool(value) => self.locate(visitor.visit_bool(*value)),
            Content::Integer(value) => self.locate(match i64::try_from(*value) {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => match u64::try_from(*value) {
                    Ok(value) => visitor.visit_u64(value),
                    Err(_) => Err(Refusal::custom(format!("{value} is too large"))),
                },
            }),
            Content::Float(value) => self.locate(visitor.visit_f64(*value)),
            Content::Text(value) => self.locate(visitor.visit_borrowed_str(value)),
            Content::Sequence(items) => self.sequence(items, visitor),
            Content::Mapping(entries) => self.mapping(entries, None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let value = match &self.node.content {
            Content::Bool(value) => Some(*value),
            _ => self.node.plain.as_deref().and_then(boolean_word),
        };
        match value {
            Some(value) => self.locate(visitor.visit_bool(value)),
            None => self.refuse("true or false"),
        }
    }

    whole_numbers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_f32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_f64(visitor)
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a setting that is a float holds no more than that"
    )]
    fn deserialize_f64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Integer(value) => self.locate(visitor.visit_f64(*value as f64)),
            Content::Float(value) => self.locate(visitor.visit_f64(*value)),
            _ => self.refuse("a number"),
        }
    }

    fn deserialize_char<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match (&self.node.content, &self.node.plain) {
            (Content::Text(text), _)
            | (Content::Bool(_) | Content::Integer(_) | Content::Float(_), Some(text)) => {
                self.locate(visitor.visit_borrowed_str(text))
            }
            (Content::Bool(_) | Content::Integer(_) | Content::Float(_), None) => {
                self.locate(visitor.visit_string(describe(self.node)))
            }
            _ => self.refuse("text"),
        }
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.locate(if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        })
    }

    fn deserialize_unit<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.node.is_null() {
            return self.locate(visitor.visit_unit());
        }
        self.refuse("nothing")
    }

    fn deserialize_unit_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.locate(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Sequence(items) => self.sequence(items, visitor),
            _ => self.refuse("a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'n>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Mapping(entries) => self.mapping(entries, None, visitor),
            _ => self.refuse("a mapping of keys to values"),
        }
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Mapping(entries) => self.mapping(entries, Some(fields), visitor),
            Content::Null => self.mapping(&[], Some(fields), visitor),
            _ if fields.len() == 1 => {
                self.refuse(&format!("a mapping with the key {}", list(fields)))
            }
            _ => self.refuse(&format!("a mapping with the keys {}", list(fields))),
        }
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let (name, content) = match (&self.node.content, &self.node.plain) {
            (Content::Text(name), _) => (name.as_str(), None),
            (Content::Bool(_) | Content::Integer(_) | Content::Float(_), Some(name)) => {
                (name.as_str(), None)
            }
            (Content::Mapping(entries), _) => match entries.as_slice() {
                [entry] => (entry.key.as_str(), Some(entry)),
                _ => return self.refuse(&format!("one of {}", list(variants))),
            },
            _ => return self.refuse(&format!("one of {}", list(variants))),
        };
        let content = content.map(|entry| self.child(entry));
        self.locate(visitor.visit_enum(Variant { name, content }))
    }

    fn deserialize_identifier<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.locate(visitor.visit_unit())
    }
}

impl<'n, 'p> NodeDeserializer<'n, 'p> {
    fn child(&self, entry: &'n Entry) -> NodeDeserializer<'n, 'p> {
        NodeDeserializer {
            node: &entry.value,
            path: self.path,
            place: entry.place(),
            parent: Some(address(self.node)),
            state: self.state,
        }
    }
}
