//! Labels that change: label sets that cannot come again end.
//!
//! Source: differences, D2.

use model::{LabelSet, LabelSetBuf};

use crate::fingerprint::hash_labels;
use crate::state::{Registry, TableId};
use crate::table::{SlotState, Table};

/// How the labels of a table have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relabelled {
    /// Labels that spans may have in addition. A label set without them ends
    /// when one comes that has them and is otherwise the same, unless spans
    /// without them come as well.
    pub added: Vec<String>,
}

/// Labels that have come in addition.
#[derive(Clone, Debug)]
pub(crate) struct Superseding {
    added: Vec<String>,
    since_ms: i64,
    buffer: LabelSetBuf,
}

/// As the time of a slot's last update: it ends at the next collection.
const LONG_AGO: i64 = i64::MIN;

impl Registry {
    /// Ends those label sets of a table that cannot come again.
    pub fn relabel(
        &self,
        table: &TableId,
        change: Relabelled,
        now_ms: i64,
        can_come: impl Fn(LabelSet<'_>) -> bool,
    ) {
        self.merge_lanes(now_ms);
        let mut state = self.state.lock();
        let Some(table) = state.tables.get_mut(table.index) else {
            return;
        };
        table.superseding = (!change.added.is_empty()).then(|| Superseding {
            added: change.added,
            since_ms: now_ms,
            buffer: LabelSetBuf::new(),
        });
        for number in 0..table.len() {
            let Some(slot) = table.slot(number).copied() else {
                continue;
            };
            if slot.state == SlotState::Active && !can_come(table.label_set(&slot)) {
                table.end_soon(number);
            }
        }
    }
}

impl Table {
    /// A label set is new: the one that it takes the place of ends.
    pub(crate) fn supersede(&mut self, labels: LabelSet<'_>) {
        let Some(mut superseding) = self.superseding.take() else {
            return;
        };
        let is_added = |name: &str| superseding.added.iter().any(|added| added == name);
        if labels.iter().any(|(name, _)| is_added(name)) {
            let buffer = &mut superseding.buffer;
            buffer.clear();
            for (name, value) in labels.iter().filter(|(name, _)| !is_added(name)) {
                buffer.push(name, value);
            }
            let before = buffer.finish();
            if let Some(number) = self.find(hash_labels(before.as_bytes()), before)
                && let Some(slot) = self.slot(number)
                && slot.state == SlotState::Active
                && slot.updated_ms < superseding.since_ms
            {
                self.end_soon(number);
            }
        }
        self.superseding = Some(superseding);
    }

    fn end_soon(&mut self, number: u32) {
        if let Some(slot) = self.slot_mut(number) {
            slot.updated_ms = LONG_AGO;
        }
    }
}
