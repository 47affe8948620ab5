//! Which histograms a tenant's durations become.

use overrides::{HistogramMode, TenantConfig};
use registry::{MetricKind, NativeBuckets};

/// The kind of a metric of durations, whose classic form has these bounds.
pub(crate) fn histogram(config: &TenantConfig, bounds: &[f64]) -> MetricKind {
    let registry = &config.registry;
    let bounds = bounds.to_vec();
    let buckets = NativeBuckets::new(
        registry.native_histogram_bucket_factor,
        registry.native_histogram_max_bucket_number,
        registry.native_histogram_min_reset_duration,
    );
    match registry.generate_native_histograms {
        HistogramMode::Classic => MetricKind::ClassicHistogram { bounds },
        HistogramMode::Native => MetricKind::NativeHistogram { buckets },
        HistogramMode::Both => MetricKind::ClassicAndNative { bounds, buckets },
    }
}
