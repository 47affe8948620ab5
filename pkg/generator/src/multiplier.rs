//! How many spans a sampled span stands for.

use otlp::{AnyValue, Span};

use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::explain::Rule;

/// Where a span's weight is read from.
#[derive(Clone, Debug)]
pub(crate) struct Multiplier {
    attribute: Option<KeyIndex>,
    tracestate: bool,
}

/// How many spans a span stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weight {
    /// Finite and above 0; 1 where nothing says otherwise.
    Is(f64),
    /// What says so is no probability: it counts as 1, and as invalid (D4).
    Invalid,
}

impl Weight {
    /// What to count a span with; `is_invalid` is set if it is no weight.
    #[inline]
    pub(crate) fn or_one(self, is_invalid: &mut bool) -> f64 {
        match self {
            Self::Is(weight) => weight,
            Self::Invalid => {
                *is_invalid = true;
                1.0
            }
        }
    }

    /// Says where it is from: the attribute `key`, or the tracestate.
    pub(crate) fn explain(self, key: &str, tracestate: bool) -> Rule {
        let source = match (key.is_empty(), tracestate) {
            (true, false) => return Rule::new("weight", "1: nothing is set to say otherwise"),
            (true, true) => "the tracestate".to_owned(),
            (false, false) => format!("the attribute {key}"),
            (false, true) => format!("the tracestate, or else the attribute {key}"),
        };
        let finding = match self {
            Self::Is(weight) => format!("{weight}, by {source}"),
            Self::Invalid => format!("1, since {source} is no probability"),
        };
        Rule::new("weight", finding)
    }
}

impl Multiplier {
    /// Reads weights from the attribute `key`, if it is not empty, and from the
    /// tracestate, if `tracestate` is set.
    pub(crate) fn new(key: &str, tracestate: bool, wanted: &mut WantedKeys) -> Self {
        Self {
            attribute: (!key.is_empty()).then(|| wanted.want(key)),
            tracestate,
        }
    }

    /// The weight of a span: of its tracestate, or the inverse of the
    /// probability in the attribute of the span, or else of its resource.
    #[inline]
    pub(crate) fn weight(&self, span: &Span<'_>, values: Values<'_, '_>) -> Weight {
        if self.tracestate
            && let Some(weight) = tracestate_weight(span.trace_state)
        {
            return weight;
        }
        let Some(key) = self.attribute else {
            return Weight::Is(1.0);
        };
        let probability = [values.in_span(key), values.in_resource(key)]
            .into_iter()
            .flatten()
            .find_map(number);
        match probability {
            None => Weight::Is(1.0),
            Some(probability) => of_probability(probability),
        }
    }
}

fn of_probability(probability: f64) -> Weight {
    let weight = 1.0 / probability;
    if probability.is_finite() && probability > 0.0 && weight.is_finite() {
        Weight::Is(weight)
    } else {
        Weight::Invalid
    }
}

/// A number in any of the forms of D5.
fn number(value: AnyValue<'_>) -> Option<f64> {
    match value {
        AnyValue::Double(value) => Some(value),
        AnyValue::Int(value) => Some(value as f64),
        AnyValue::String(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        AnyValue::Empty
        | AnyValue::Bool(_)
        | AnyValue::Array(_)
        | AnyValue::KeyValueList(_)
        | AnyValue::Bytes(_) => None,
    }
}

/// The weight that the OpenTelemetry entry of a W3C tracestate tells; `None` if
/// it tells none.
///
/// The threshold `th:` goes before the older exponent `p:`, whichever comes
/// first. Source: OpenTelemetry, "TraceState: Probability Sampling".
fn tracestate_weight(trace_state: &[u8]) -> Option<Weight> {
    if trace_state.is_empty() {
        return None;
    }
    let trace_state = std::str::from_utf8(trace_state).ok()?;
    let entry = trace_state
        .split(',')
        .find_map(|entry| entry.trim().strip_prefix("ot="))?;
    let field = |key| {
        entry
            .split(';')
            .find_map(move |field| field.strip_prefix(key))
    };
    field("th:")
        .map(of_threshold)
        .or_else(|| field("p:").map(of_exponent))
}

/// The weight of a rejection threshold.
///
/// Up to 14 hexadecimal digits, padded with zeros on the right, are the
/// threshold out of 2^56 below which spans were rejected.
fn of_threshold(digits: &str) -> Weight {
    const WHOLE: u64 = 1 << 56;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 14 || !is_hex {
        return Weight::Invalid;
    }
    let Ok(threshold) = u64::from_str_radix(digits, 16) else {
        return Weight::Invalid;
    };
    let threshold = threshold << (4 * (14 - digits.len()));
    Weight::Is(WHOLE as f64 / (WHOLE - threshold) as f64)
}

/// The weight of an exponent: 2^p for one or two decimal digits up to 62.
///
/// 63 means that the span stands for none, which D4 counts as invalid.
fn of_exponent(digits: &str) -> Weight {
    let is_decimal = digits.bytes().all(|digit| digit.is_ascii_digit());
    match digits.parse::<u32>() {
        Ok(exponent @ 0..=62) if is_decimal && digits.len() <= 2 => {
            Weight::Is((1_u64 << exponent) as f64)
        }
        _ => Weight::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_weight(span: Option<AnyValue<'_>>, resource: Option<AnyValue<'_>>) -> Weight {
        let mut wanted = WantedKeys::default();
        let multiplier = Multiplier::new("ratio", false, &mut wanted);
        let values = Values {
            span: &[span],
            resource: &[resource],
        };
        multiplier.weight(&Span::default(), values)
    }

    #[test]
    fn attribute_is_a_probability_in_any_numeric_form() {
        for (value, want) in [
            (AnyValue::Double(0.5), Weight::Is(2.0)),
            (AnyValue::Double(2.0), Weight::Is(0.5)),
            (AnyValue::Int(1), Weight::Is(1.0)),
            (AnyValue::String(b"0.25"), Weight::Is(4.0)),
            (AnyValue::String(b"often"), Weight::Is(1.0)),
            (AnyValue::Bool(true), Weight::Is(1.0)),
            (AnyValue::Double(0.0), Weight::Invalid),
            (AnyValue::Double(-0.5), Weight::Invalid),
            (AnyValue::Double(f64::NAN), Weight::Invalid),
            (AnyValue::Double(f64::INFINITY), Weight::Invalid),
            (AnyValue::Double(1e-320), Weight::Invalid),
            (AnyValue::String(b"NaN"), Weight::Invalid),
        ] {
            assert_eq!(attribute_weight(Some(value), None), want, "{value:?}");
        }
    }

    #[test]
    fn span_goes_before_its_resource() {
        let (half, quarter) = (AnyValue::Double(0.5), AnyValue::Double(0.25));
        assert_eq!(attribute_weight(Some(half), Some(quarter)), Weight::Is(2.0));
        assert_eq!(attribute_weight(None, Some(quarter)), Weight::Is(4.0));
        assert_eq!(attribute_weight(None, None), Weight::Is(1.0));
    }

    #[test]
    fn entry_of_the_tracestate_is_a_weight() {
        for (trace_state, want) in [
            ("", None),
            ("vendor=x", None),
            ("ot=rv:1", None),
            ("ot=th:0", Some(Weight::Is(1.0))),
            ("ot=th:8", Some(Weight::Is(2.0))),
            ("vendor=x, ot=rv:9;th:c", Some(Weight::Is(4.0))),
            (
                "ot=th:ffffffffffffff",
                Some(Weight::Is(72_057_594_037_927_936.0)),
            ),
            ("ot=th:", Some(Weight::Invalid)),
            ("ot=th:xyz", Some(Weight::Invalid)),
            ("ot=th:000000000000000", Some(Weight::Invalid)),
            ("ot=p:0;r:62", Some(Weight::Is(1.0))),
            ("vendor=x, ot=r:9;p:3", Some(Weight::Is(8.0))),
            ("ot=p:08", Some(Weight::Is(256.0))),
            (
                "ot=p:62;r:62",
                Some(Weight::Is(4_611_686_018_427_387_904.0)),
            ),
            ("ot=p:63", Some(Weight::Invalid)),
            ("ot=p:64", Some(Weight::Invalid)),
            ("ot=p:", Some(Weight::Invalid)),
            ("ot=p:+3", Some(Weight::Invalid)),
            ("ot=p:003", Some(Weight::Invalid)),
            ("ot=p:3.5", Some(Weight::Invalid)),
            ("ot=sp:3", None),
            ("other=p:3", None),
            ("ot=p:3;th:c", Some(Weight::Is(4.0))),
            ("ot=p:3;th:xyz", Some(Weight::Invalid)),
        ] {
            assert_eq!(
                tracestate_weight(trace_state.as_bytes()),
                want,
                "{trace_state}"
            );
        }
    }
}
