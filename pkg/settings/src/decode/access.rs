//! Mappings, lists and closed sets of a tree as serde sees them.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::State;
use super::deserializer::{NodeDeserializer, PathTo, address};
use super::fault::{At, Fault, Refusal, list};
use crate::node::{Entry, Node};
use crate::problem::Problem;
use crate::suggest::nearest;

/// The entries of a mapping, without those that are left out.
pub(super) struct Entries<'n, 'p> {
    pub(super) parent: usize,
    pub(super) path: &'p PathTo<'p>,
    pub(super) entries: std::slice::Iter<'n, Entry>,
    pub(super) value: Option<&'n Entry>,
    /// The keys that are read; `None` where any key may stand.
    pub(super) fields: Option<&'static [&'static str]>,
    pub(super) state: &'p State,
}

impl<'n> MapAccess<'n> for Entries<'n, '_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        while let Some(entry) = self.entries.next() {
            if self.state.skipped.borrow().contains(&address(&entry.value)) {
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&entry.key.as_str())
            {
                self.unknown(entry, fields);
                continue;
            }
            self.value = Some(entry);
            let path = PathTo::Key(self.path, &entry.key);
            let key: StrDeserializer<'_, Refusal> = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some).map_err(|mut refusal| {
                refusal.at = Some(At {
                    path: path.text(),
                    place: entry.key_place.clone(),
                    address: address(&entry.value),
                    parent: Some(self.parent),
                });
                refusal
            });
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let Some(entry) = self.value.take() else {
            return Err(Refusal::custom("a value was asked for before its key"));
        };
        let deserializer = NodeDeserializer {
            node: &entry.value,
            path: PathTo::Key(self.path, &entry.key),
            place: entry.place(),
            parent: Some(self.parent),
            state: self.state,
        };
        deserializer.locate(seed.deserialize(deserializer))
    }
}

impl Entries<'_, '_> {
    fn unknown(&self, entry: &Entry, fields: &'static [&'static str]) {
        if !self
            .state
            .unknown
            .borrow_mut()
            .insert(address(&entry.value))
        {
            return;
        }
        let message = match nearest(&entry.key, fields) {
            Some(meant) => format!("unknown key; did you mean {meant:?}?"),
            None if fields.is_empty() => "unknown key; none is accepted here".to_owned(),
            None => format!("unknown key; accepted here: {}", list(fields)),
        };
        let path = PathTo::Key(self.path, &entry.key).text();
        self.state
            .problems
            .borrow_mut()
            .push(Problem::new(path, message).at(entry.key_place.clone()));
    }
}

/// The items of a list, without those that are left out.
pub(super) struct Items<'n, 'p> {
    pub(super) parent: usize,
    pub(super) path: &'p PathTo<'p>,
    pub(super) items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
    pub(super) state: &'p State,
}

impl<'n> SeqAccess<'n> for Items<'n, '_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        for (index, item) in self.items.by_ref() {
            if self.state.skipped.borrow().contains(&address(item)) {
                continue;
            }
            let deserializer = NodeDeserializer {
                node: item,
                path: PathTo::Index(self.path, index),
                place: &item.place,
                parent: Some(self.parent),
                state: self.state,
            };
            let mut result = deserializer.locate(seed.deserialize(deserializer));
            // A list has no default for an item that is nothing.
            if item.is_null()
                && let Err(refusal) = &mut result
                && matches!(refusal.fault, Fault::Null)
            {
                refusal.fault = Fault::Other("an item of a list may not be empty".to_owned());
            }
            return result.map(Some);
        }
        Ok(None)
    }
}

/// A value of a closed set: its name, and what belongs to it.
pub(super) struct Variant<'n, 'p> {
    pub(super) name: &'n str,
    pub(super) content: Option<NodeDeserializer<'n, 'p>>,
}

impl<'n, 'p> EnumAccess<'n> for Variant<'n, 'p> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Self), Refusal> {
        let name: StrDeserializer<'_, Refusal> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'n> Variant<'n, '_> {
    fn content(&self) -> Result<NodeDeserializer<'n, '_>, Refusal> {
        self.content
            .ok_or_else(|| Refusal::custom(format!("{:?} needs a value", self.name)))
    }
}

impl<'n> VariantAccess<'n> for Variant<'n, '_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        match self.content {
            Some(content) if !content.node.is_null() => content.refuse("nothing"),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'n>>(self, _len: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.content()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.content()?.deserialize_struct("", fields, visitor)
    }
}
