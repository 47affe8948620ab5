//! Whether another node may send anything as its survey.
//!
//! Shared by the fuzz target and the replay of its corpus.

use spanmill_registry::{Survey, series_of};

/// Reads `bytes` as a survey, which must end without a panic; one that is read must be
/// the same after it was written, and be merged and looked at without harm. Says whether
/// it is one.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(survey) = Survey::decode(bytes) else {
        return false;
    };
    let again = Survey::decode(&survey.encode());
    assert_eq!(again.as_ref().ok(), Some(&survey));
    let mut merged = survey.clone();
    merged.merge(&survey).unwrap();
    for survey in [&survey, &merged] {
        survey.series();
        for (metrics, family) in &survey.families {
            series_of(metrics);
            family.label_sets_without(&survey.dropped);
            family.distinct.estimate();
            for label in family.labels.values() {
                label.distinct_values();
                label.top.top(10);
            }
        }
    }
    true
}
