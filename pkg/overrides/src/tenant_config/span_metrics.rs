//! What span metrics make.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// Settings of the span-metrics processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpanMetricsConfig {
    /// Upper bounds of the latency histogram, in seconds, whichever
    /// subprocessors are on. Default: 0.002 to 16.384, doubling.
    pub histogram_buckets: Vec<f64>,
    /// Attributes that become labels, of the resource first. Each multiplies the
    /// series by the number of its values. Default: none.
    pub dimensions: Vec<String>,
    /// Which span fields become labels.
    pub intrinsic_dimensions: IntrinsicDimensions,
    /// Labels whose values are made of several attributes. Default: none.
    #[serde(alias = "dimension_mapings")]
    pub dimension_mappings: Vec<DimensionMapping>,
    /// Whether `traces_target_info` is made. Default: false.
    pub enable_target_info: bool,
    /// Resource attributes that `traces_target_info` leaves out. Default: none.
    pub target_info_excluded_dimensions: Vec<String>,
    /// Whether series have the `instance` label with target info on.
    /// Default: true.
    pub enable_instance_label: bool,
    /// Attribute with the share of spans that was kept; empty for none.
    pub span_multiplier_key: String,
    /// Whether the sampling probability in `tracestate` counts: its threshold
    /// `ot=th:`, or else the older exponent `ot=p:`. Default: false.
    pub enable_tracestate_span_multiplier: bool,
    /// Which spans count: those that pass every policy. Default: all.
    pub filter_policies: Vec<FilterPolicy>,
}

impl Default for SpanMetricsConfig {
    fn default() -> Self {
        Self {
            histogram_buckets: exponential_buckets(0.002, 14),
            dimensions: Vec::new(),
            intrinsic_dimensions: IntrinsicDimensions::default(),
            dimension_mappings: Vec::new(),
            enable_target_info: false,
            target_info_excluded_dimensions: Vec::new(),
            enable_instance_label: true,
            span_multiplier_key: String::new(),
            enable_tracestate_span_multiplier: false,
            filter_policies: Vec::new(),
        }
    }
}

/// Bounds that double from the first on. Source: `client_golang`,
/// `ExponentialBuckets`.
pub(crate) fn exponential_buckets(first: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * 2.0))
        .take(count)
        .collect()
}

/// Which span fields become labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IntrinsicDimensions {
    /// `service.name` of the resource, as `service`. Default: true.
    pub service: bool,
    /// The span's name. Default: true.
    pub span_name: bool,
    /// The span's kind. Default: true.
    pub span_kind: bool,
    /// The span's status. Default: true.
    pub status_code: bool,
    /// The message of the span's status. Default: false.
    pub status_message: bool,
}

impl Default for IntrinsicDimensions {
    fn default() -> Self {
        Self {
            service: true,
            span_name: true,
            span_kind: true,
            status_code: true,
            status_message: false,
        }
    }
}

/// A label whose value joins the values of attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DimensionMapping {
    /// The label.
    pub name: String,
    /// The attributes, in the order in which they are joined.
    pub source_labels: Vec<String>,
    /// What stands between them. Default: nothing.
    #[serde(default)]
    pub join: String,
}

/// Which spans count: those that the first side matches and the second does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FilterPolicy {
    /// What a span must match. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<PolicyMatch>,
    /// What it may not match. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<PolicyMatch>,
}

/// Attributes that a span must have, all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyMatch {
    /// How values are compared.
    pub match_type: MatchType,
    /// The attributes.
    #[serde(default)]
    pub attributes: Vec<PolicyAttribute>,
}

/// How a policy compares values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchType {
    /// Type and value are equal.
    Strict,
    /// The value's text matches a regular expression somewhere.
    Regex,
}

/// An attribute or span field, and the value to compare it with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyAttribute {
    /// `span.` or `resource.` and the attribute's key; or `kind`, `name`, `status`.
    pub key: String,
    /// The value.
    pub value: PolicyValue,
}

/// A value of one of the types that a policy compares.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicyValue {
    /// Text, or a regular expression.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// True or false.
    Boolean(bool),
}

impl fmt::Display for PolicyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for PolicyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PolicyValueVisitor)
    }
}

struct PolicyValueVisitor;

impl Visitor<'_> for PolicyValueVisitor {
    type Value = PolicyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<PolicyValue, E> {
        Ok(PolicyValue::Text(value.to_owned()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<PolicyValue, E> {
        Ok(PolicyValue::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<PolicyValue, E> {
        i64::try_from(value)
            .map(PolicyValue::Integer)
            .map_err(|_| E::custom(format!("{value} is more than an attribute can hold")))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<PolicyValue, E> {
        Ok(PolicyValue::Double(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<PolicyValue, E> {
        Ok(PolicyValue::Boolean(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_buckets_double_exactly() {
        let buckets = SpanMetricsConfig::default().histogram_buckets;
        assert_eq!(
            buckets,
            [
                0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
                8.192, 16.384
            ]
        );
        assert_eq!(
            exponential_buckets(0.1, 8),
            [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]
        );
    }
}
