//! The name that was meant.

/// The candidate nearest to a name, if one is near enough to be meant.
///
/// Upper and lower case, hyphens and underscores do not count, so that
/// `collectionInterval` finds `collection_interval`.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let folded = fold(name);
    candidates
        .iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&folded, &fold(candidate));
            (distance, *candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(name.len()) / 3).max(1))
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .take(100)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_and_another_word_none() {
        let names = ["collection_interval", "stale_duration", "path"];
        for (written, meant) in [
            ("collectionInterval", Some("collection_interval")),
            ("colection_interval", Some("collection_interval")),
            ("stale_durations", Some("stale_duration")),
            ("paht", Some("path")),
            ("retention", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, &names), meant, "{written}");
        }
    }
}
