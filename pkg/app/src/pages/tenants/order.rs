//! In which order tenants are listed, and where a page begins.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use model::TenantId;

use super::Tenants;

/// What tenants are listed by; names decide among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Their names.
    Name,
    /// Most active series first.
    Series,
    /// Most spans in a second first.
    Rate,
    /// Longest behind first.
    Lag,
    /// Most spans discarded before any processor saw them first.
    Discards,
}

/// A tenant in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// By what it is where it is; the highest first.
    key: u64,
    pub(super) tenant: TenantId,
}

/// After which place a page begins; it need not exist any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct After(Option<(u64, String)>);

impl Sort {
    /// What may be asked for.
    pub(super) const ACCEPTED: &str = "sort is one of name, series, rate, lag, discards";

    /// As it is asked for.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Series => "series",
            Self::Rate => "rate",
            Self::Lag => "lag",
            Self::Discards => "discards",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "name" => Self::Name,
            "series" => Self::Series,
            "rate" => Self::Rate,
            "lag" => Self::Lag,
            "discards" => Self::Discards,
            _ => return None,
        })
    }

    /// All tenants of a node in this order.
    pub(super) fn order(self, tenants: &Tenants) -> Vec<Place> {
        in_order(self.keys(tenants))
    }

    /// Where two nodes have the same tenant, by what it is where it is.
    pub(super) fn both(self, one: u64, other: u64) -> u64 {
        match self {
            Self::Lag => one.max(other),
            Self::Name | Self::Series | Self::Rate | Self::Discards => one.saturating_add(other),
        }
    }

    /// All tenants of a node, and by what each is where it is.
    pub(super) fn keys(self, tenants: &Tenants) -> BTreeMap<TenantId, u64> {
        let mut keys: BTreeMap<TenantId, u64> = BTreeMap::new();
        let generator = tenants.generator.iter();
        for (tenant, standing) in generator.flat_map(|generator| generator.standings()) {
            let key = match self {
                Self::Series => standing.active_series,
                // To a thousandth.
                Self::Rate => (standing.spans_per_second * 1e3) as u64,
                Self::Discards => standing.discarded,
                Self::Name | Self::Lag => 0,
            };
            keys.insert(tenant, key);
        }
        for (tenant, refused) in tenants.distributor.refused() {
            let key = keys.entry(tenant).or_default();
            if self == Self::Discards {
                *key = key.saturating_add(refused);
            }
        }
        let lags = tenants.remote_write.iter().flat_map(|parts| parts.lags());
        for (tenant, lag) in lags {
            let key = keys.entry(tenant).or_default();
            if self == Self::Lag {
                *key = lag;
            }
        }
        keys
    }
}

/// Tenants by their keys, the highest first.
pub(super) fn in_order(keys: BTreeMap<TenantId, u64>) -> Vec<Place> {
    let places = keys.into_iter();
    let mut places: Vec<_> = places.map(|(tenant, key)| Place { key, tenant }).collect();
    // By name already.
    places.sort_by_key(|place| Reverse(place.key));
    places
}

impl After {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        let (key, tenant) = text.split_once(':')?;
        Some(Self(Some((key.parse().ok()?, tenant.to_owned()))))
    }

    /// Whether a place comes after it.
    pub(super) fn is_before(&self, place: &Place) -> bool {
        self.0.as_ref().is_none_or(|(key, tenant)| {
            let after = (Reverse(*key), tenant.as_str());
            (Reverse(place.key), place.tenant.as_str()) > after
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No tenant's id has a colon.
        write!(f, "{}:{}", self.key, self.tenant)
    }
}
