//! How values lie in the exponential buckets of native histograms.
//!
//! In schema `s`, bucket `key` holds the values above 2^((key - 1) / 2^s), up to and
//! including 2^(key / 2^s). One schema less doubles the width of every bucket, and two
//! buckets become one.
//!
//! Source: the specification of native histograms in Prometheus' documentation.

use std::f64::consts::SQRT_2;
use std::time::Duration;

/// The finest schema there is.
const MAX_SCHEMA: i8 = 8;
/// The coarsest schema there is.
const MIN_SCHEMA: i8 = -4;
/// Bits of a float64 below its exponent.
const MANTISSA_BITS: u32 = 52;
/// What the exponent bits of 1.0 are.
const EXPONENT_BIAS: u64 = 1023;
/// Buckets between a power of two and the next, in the finest schema.
const PER_OCTAVE: usize = 1 << MAX_SCHEMA;

/// Up to this value, 2^-128, observations go into the zero bucket. It is a bound of
/// buckets in every schema.
pub(crate) const ZERO_THRESHOLD: f64 = f64::from_bits((EXPONENT_BIAS - 128) << MANTISSA_BITS);

/// Lower bounds of the finest buckets between 1 and 2.
const BOUNDS: [f64; PER_OCTAVE] = bounds();
/// For each 256th part between 1 and 2, how many of [`BOUNDS`] lie below it. At most two
/// more lie within it.
const BELOW: [u16; PER_OCTAVE] = below();

/// Which buckets a native histogram has, and what happens when they are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeBuckets {
    schema: i8,
    /// 0 is no limit.
    pub(crate) max_buckets: u32,
    /// 0 is never.
    pub(crate) min_reset_ms: i64,
}

impl NativeBuckets {
    /// Buckets of the finest schema that grow by at most `factor`, which is above 1.
    ///
    /// When more than `max_buckets` of them are occupied, the histogram restarts if it has not
    /// for `min_reset`; otherwise its buckets double in width until they are few enough, and it
    /// restarts as soon as `min_reset` is over. 0 buckets are no limit, and with 0 seconds it
    /// never restarts.
    pub fn new(factor: f64, max_buckets: u32, min_reset: Duration) -> Self {
        // A schema's buckets grow by 2^(2^-schema).
        let schema = -factor.log2().log2().floor();
        Self {
            schema: schema.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i8,
            max_buckets,
            min_reset_ms: i64::try_from(min_reset.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The parts by which it is saved: the schema, the limit of buckets, the least
    /// time between two restarts in milliseconds.
    pub(crate) fn to_parts(self) -> (i8, u32, i64) {
        (self.schema, self.max_buckets, self.min_reset_ms)
    }

    /// What [`to_parts`](Self::to_parts) gave; `None` if there is no such schema.
    pub(crate) fn from_parts((schema, max_buckets, min_reset_ms): (i8, u32, i64)) -> Option<Self> {
        (MIN_SCHEMA..=MAX_SCHEMA).contains(&schema).then_some(Self {
            schema,
            max_buckets,
            min_reset_ms,
        })
    }

    /// The schema that a histogram begins with, -4 to 8.
    pub fn schema(self) -> i8 {
        self.schema
    }

    /// How often the schema can be lowered.
    pub(crate) fn max_halvings(self) -> u8 {
        self.schema.abs_diff(MIN_SCHEMA)
    }

    /// The bucket of a value that is not NaN; `None` for the zero bucket, which also takes
    /// what is negative.
    #[inline]
    pub(crate) fn key(self, value: f64) -> Option<i32> {
        if value <= ZERO_THRESHOLD {
            return None;
        }
        // Above the threshold no number is subnormal.
        let bits = value.min(f64::MAX).to_bits();
        let exponent = (bits >> MANTISSA_BITS) as i32 - EXPONENT_BIAS as i32;
        let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
        let significand = f64::from_bits(mantissa | EXPONENT_BIAS << MANTISSA_BITS);
        let part = (mantissa >> (MANTISSA_BITS - MAX_SCHEMA as u32)) as usize;
        let below = BELOW.get(part).map_or(0, |below| usize::from(*below));
        let is_below = |at: usize| BOUNDS.get(at).is_some_and(|bound| *bound < significand);
        let below = below + usize::from(is_below(below)) + usize::from(is_below(below + 1));
        let mut key = (exponent << MAX_SCHEMA) + below as i32;
        // Infinity has a bucket of its own, after the last.
        key += i32::from(value == f64::INFINITY);
        Some(coarser(key, MAX_SCHEMA.abs_diff(self.schema)))
    }
}

/// The bucket that a bucket becomes part of when the schema is lowered so often.
#[inline]
pub(crate) fn coarser(key: i32, halvings: u8) -> i32 {
    ((key - 1) >> halvings) + 1
}

/// Computes the bounds as they are published: from the square root of 2 on, each schema has
/// those of the schema before it, and one between each two.
///
/// Not by a power for each, which would give other last digits than those that Prometheus
/// and its clients have.
#[allow(
    clippy::indexing_slicing,
    reason = "evaluated when it is compiled, and never elsewhere"
)]
const fn bounds() -> [f64; PER_OCTAVE] {
    // 2^(2^-schema) for the schemas 1 to 8, the first as it was when they were
    // published, one bit too low.
    const FACTORS: [f64; MAX_SCHEMA as usize] = [
        SQRT_2.next_down(),
        1.189_207_115_002_721,
        1.090_507_732_665_257_7,
        1.044_273_782_427_413_8,
        1.021_897_148_654_116_6,
        1.010_889_286_051_700_5,
        1.005_429_901_112_802_7,
        1.002_711_275_050_202_5,
    ];
    let mut bounds = [1.0; PER_OCTAVE];
    let mut step = PER_OCTAVE;
    let mut schema = 0;
    while schema < FACTORS.len() {
        let mut at = step / 2;
        while at < PER_OCTAVE {
            bounds[at] = bounds[at - step / 2] * FACTORS[schema];
            at += step;
        }
        step /= 2;
        schema += 1;
    }
    bounds
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated when it is compiled, and never elsewhere"
)]
const fn below() -> [u16; PER_OCTAVE] {
    let mut below = [0; PER_OCTAVE];
    let mut count = 0;
    let mut part = 0;
    while part < PER_OCTAVE {
        let lower = 1.0 + part as f64 / PER_OCTAVE as f64;
        while count < PER_OCTAVE && BOUNDS[count] < lower {
            count += 1;
        }
        below[part] = count as u16;
        part += 1;
    }
    below
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_schema(schema: i8) -> NativeBuckets {
        let growth = 2_f64.powf(2_f64.powi(-i32::from(schema)));
        let buckets = NativeBuckets::new(growth * (1.0 + 1e-9), 0, Duration::ZERO);
        assert_eq!(buckets.schema(), schema);
        buckets
    }

    #[test]
    fn schema_is_the_finest_that_grows_no_faster_than_the_factor() {
        for (factor, schema) in [
            (1.000_01, 8),
            (1.002_711_276, 8),
            (1.002_711_275, 8),
            (1.003, 8),
            (1.005_43, 7),
            (1.1, 3),
            (1.090_507_733, 3),
            (1.090_507_732, 4),
            (1.5, 1),
            (2.0, 0),
            (3.9, 0),
            (4.0, -1),
            (16.0, -2),
            (65_536.0, -4),
            (1e300, -4),
        ] {
            let buckets = NativeBuckets::new(factor, 100, Duration::ZERO);
            assert_eq!(buckets.schema(), schema, "{factor}");
        }
    }

    /// The bounds that Prometheus and its Go client publish, halved.
    #[test]
    #[allow(
        clippy::approx_constant,
        reason = "the published bound is not the constant"
    )]
    fn bounds_are_those_of_prometheus_to_the_last_bit() {
        let schema_4 = [
            0.5,
            0.522_136_891_213_706_9,
            0.545_253_866_332_628_8,
            0.569_394_317_378_345_8,
            0.594_603_557_501_360_5,
            0.620_928_906_036_742,
            0.648_419_777_325_504_8,
            0.677_127_773_468_446_3,
            0.707_106_781_186_547_5,
            0.738_413_072_969_749_6,
            0.771_105_412_703_970_4,
            0.805_245_165_974_627,
            0.840_896_415_253_714_4,
            0.878_126_080_186_649_5,
            0.917_004_043_204_671_1,
            0.957_603_280_698_573_5,
        ];
        let ours: Vec<f64> = BOUNDS.iter().step_by(16).map(|bound| bound / 2.0).collect();
        assert_eq!(ours, schema_4);
        let last_of_schema_8 = [
            0.989_228_013_193_975_2,
            0.991_910_082_425_109_5,
            0.994_599_423_483_632_8,
            0.997_296_056_085_469_8,
        ];
        let ours: Vec<f64> = BOUNDS[252..].iter().map(|bound| bound / 2.0).collect();
        assert_eq!(ours, last_of_schema_8);
    }

    #[test]
    fn upper_bound_is_inclusive() {
        for (schema, value, key) in [
            (3, 1.0, 0),
            (3, 1.0_f64.next_up(), 1),
            (3, 2.0, 8),
            (3, 2.0_f64.next_up(), 9),
            (3, 0.5, -8),
            (3, 0.05, -34),
            (3, 1.0 + 0.090_507_732_665_257_7, 1),
            (0, 2.0, 1),
            (0, 2.0_f64.next_up(), 2),
            (0, 3.0, 2),
            (-1, 4.0, 1),
            (-1, 4.0_f64.next_up(), 2),
            (-4, 65_536.0, 1),
            (-4, 1.0, 0),
            (8, 1.0_f64.next_up(), 1),
            (3, f64::MAX, 8_192),
            (3, f64::INFINITY, 8_193),
            (-4, f64::INFINITY, 65),
        ] {
            assert_eq!(of_schema(schema).key(value), Some(key), "{schema} {value}");
        }
    }

    #[test]
    fn smallest_values_are_in_the_zero_bucket() {
        let threshold = 2.938_735_877_055_719e-39;
        assert_eq!(ZERO_THRESHOLD, threshold);
        for value in [0.0, -1.0, f64::MIN_POSITIVE, threshold] {
            assert_eq!(of_schema(3).key(value), None, "{value}");
        }
        assert_eq!(of_schema(3).key(threshold.next_up()), Some(-1_023));
    }

    proptest! {
        /// forall values and schemas: the bucket is the one that a search of the schema's own
        /// bounds finds.
        #[test]
        fn key_is_what_a_search_finds(bits in 1_u64..1 << 52, exponent in 895_u64..2_047, schema in 0_i8..=8) {
            let value = f64::from_bits(bits | exponent << 52);
            let step = 1_usize << (8 - schema);
            let bounds: Vec<f64> = BOUNDS.iter().step_by(step).copied().collect();
            let significand = f64::from_bits(bits | 1_023 << 52);
            let below = bounds.partition_point(|bound| *bound < significand);
            let want = (exponent as i32 - 1_023) * bounds.len() as i32 + below as i32;
            prop_assert_eq!(of_schema(schema).key(value), Some(want));
        }

        /// forall values: lowering the schema leads where observing in the lower schema leads.
        #[test]
        fn coarser_buckets_hold_the_finer_ones(value in 1e-30..1e30, schema in -3_i8..=8) {
            let fine = of_schema(schema).key(value).unwrap();
            prop_assert_eq!(of_schema(schema - 1).key(value), Some(coarser(fine, 1)));
        }
    }
}
