//! Which labels the series of a table can have.

use std::collections::BTreeSet;

use model::LabelSet;
use registry::Relabelled;

/// Which labels the series of a table can have, with the settings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labelling {
    /// The labels there can be; `None` if resources bring their own.
    pub(crate) possible: Option<BTreeSet<String>>,
    /// Labels that every series has.
    pub(crate) certain: BTreeSet<String>,
    /// Labels that no series has.
    pub(crate) excluded: BTreeSet<String>,
    /// A label, and the values that it can have.
    pub(crate) choice: Option<(&'static str, BTreeSet<String>)>,
}

impl Labelling {
    /// Whether spans can still lead to a label set.
    pub(crate) fn can_come(&self, labels: LabelSet<'_>) -> bool {
        if labels.get("metric_overflow").is_some() {
            return true;
        }
        let is_possible = |name: &str| {
            let possible = self.possible.as_ref();
            possible.is_none_or(|names| names.contains(name)) && !self.excluded.contains(name)
        };
        let is_chosen = self.choice.as_ref().is_none_or(|(name, values)| {
            labels.get(name).is_none_or(|value| values.contains(value))
        });
        is_chosen
            && labels.iter().all(|(name, _)| is_possible(name))
            && self.certain.iter().all(|name| labels.get(name).is_some())
    }

    /// What is possible now and was not before.
    pub(crate) fn since(&self, before: &Self) -> Relabelled {
        let mut added: Vec<String> = match (&self.possible, &before.possible) {
            (Some(now), Some(before)) => now.difference(before).cloned().collect(),
            (None, _) | (_, None) => Vec::new(),
        };
        added.extend(before.excluded.difference(&self.excluded).cloned());
        Relabelled { added }
    }
}

#[cfg(test)]
mod tests {
    use model::LabelSetBuf;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn can_come(labelling: &Labelling, labels: &[&str]) -> bool {
        let mut set = LabelSetBuf::new();
        for name in labels {
            set.push(name, "x");
        }
        labelling.can_come(set.finish())
    }

    #[test]
    fn label_set_comes_if_its_labels_can_and_none_is_missing() {
        let labelling = Labelling {
            possible: Some(names(&["a", "b", "gone"])),
            certain: names(&["a"]),
            excluded: names(&["gone"]),
            choice: Some(("b", names(&["x", "y"]))),
        };
        assert!(can_come(&labelling, &["a"]) && can_come(&labelling, &["a", "b"]));
        assert!(!can_come(&labelling, &["b"]) && !can_come(&labelling, &["a", "c"]));
        assert!(!can_come(&labelling, &["a", "gone"]));
        assert!(can_come(&labelling, &["metric_overflow"]));
        assert!(can_come(&Labelling::default(), &["c"]));
        let other = Labelling {
            choice: Some(("b", names(&["y"]))),
            ..labelling
        };
        assert!(can_come(&other, &["a"]) && !can_come(&other, &["a", "b"]));
    }

    #[test]
    fn additional_labels_are_those_that_were_not_possible() {
        let before = Labelling {
            possible: Some(names(&["a"])),
            certain: BTreeSet::new(),
            excluded: names(&["b"]),
            ..Labelling::default()
        };
        let now = Labelling {
            possible: Some(names(&["a", "c"])),
            ..Labelling::default()
        };
        assert_eq!(now.since(&before).added, ["c", "b"]);
    }
}
