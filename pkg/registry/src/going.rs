//! What becomes of retired tables: nothing, in the end.

use std::sync::Arc;

use crate::lane::LaneTable;
use crate::schema::Schema;
use crate::state::{Registry, State};
use crate::table::Table;

/// How far a retired table is gone. Tables keep their places, and tenants who change
/// their buckets retire one each time, so of those before nothing may be left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Going {
    /// It has label sets, or somebody may still add to it.
    #[default]
    Not,
    /// Nobody can add to it any more; lanes may have rows from before.
    Left,
    /// The lanes have been merged since. It has no schema.
    Gone,
}

impl Registry {
    /// Gives the memory of idle lanes back, and of tables that are gone.
    pub(crate) fn shrink_lanes(&self, gone: &[bool]) {
        for lane in self.lanes.existing() {
            let mut lane = lane.lock();
            for (table, _) in lane.tables.iter_mut().zip(gone).filter(|(_, gone)| **gone) {
                *table = LaneTable::default();
            }
            if !lane.used_since_collection {
                lane.tables.iter_mut().for_each(LaneTable::shrink);
                lane.positions = Vec::new();
            }
            lane.used_since_collection = false;
        }
    }
}

impl State {
    /// Lets retired tables go, right after the lanes have been merged.
    pub(crate) fn let_go(&mut self) {
        for index in 0..self.tables.len() {
            // One that is left over to may get label sets yet.
            let is_successor =
                |table: &Table| table.going != Going::Gone && table.successor == Some(index);
            if self.tables.iter().any(is_successor) {
                continue;
            }
            if let Some(table) = self.tables.get_mut(index).filter(|table| table.retired) {
                table.go();
            }
        }
    }

    /// Which tables are gone.
    pub(crate) fn gone(&self) -> Vec<bool> {
        let gone = |table: &Table| table.going == Going::Gone;
        self.tables.iter().map(gone).collect()
    }
}

impl Table {
    /// Takes the next step.
    fn go(&mut self) {
        // Whoever can add to it holds its schema, too.
        let is_held = Arc::strong_count(&self.schema) > 1;
        self.going = match self.going {
            _ if !self.is_empty() || is_held => Going::Not,
            Going::Not => Going::Left,
            Going::Left | Going::Gone => Going::Gone,
        };
        if self.going == Going::Gone && self.schema.width() > 0 {
            self.schema = Arc::new(Schema::new([]));
            self.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Exemplar, HistogramSample, LabelSet, LabelSetBuf, Point, SampleSink, Series};

    use super::*;
    use crate::{Collection, Consumer, KeyHasher, Metric, MetricKind, Registry, Update};

    /// How many samples there were.
    #[derive(Default)]
    struct Count(u64);

    impl SampleSink for Count {
        fn label_set(&mut self, _: LabelSet<'_>) {}

        fn series(&mut self, _: Series<'_>, _: &[Point], _: Option<Exemplar>) {
            self.0 += 1;
        }

        fn histogram(&mut self, _: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {}
    }

    fn schema(buckets: u32) -> Schema {
        let bounds = (1..=buckets).map(f64::from).collect();
        Schema::new([Metric {
            name: "latency".to_owned(),
            help: "",
            unit: "",
            kind: MetricKind::ClassicHistogram { bounds },
            sparse: false,
        }])
    }

    fn collect(registry: &Registry, now_ms: i64) -> u64 {
        let mut count = Count::default();
        let collection = Collection {
            now_ms,
            zero_ms: now_ms - 1,
            idle_since_ms: now_ms - 60_000,
            consumers: &[Consumer::RemoteWrite],
        };
        registry.collect(collection, &mut count);
        count.0
    }

    #[test]
    fn of_tables_that_were_replaced_nothing_is_left_once_nobody_holds_them() {
        let registry = Registry::new(Default::default(), 1);
        let hasher = KeyHasher::new();
        let mut table = registry.add_table(schema(1_000));
        let first = table.clone();
        let widths = || {
            let state = registry.state.lock();
            let widths = state.tables.iter().map(|table| table.schema.width());
            widths.collect::<Vec<_>>()
        };
        for step in 0..3 {
            let update = Update::info(hasher.key(b"a"));
            let labels = |_: usize, labels: &mut LabelSetBuf| {
                labels.push("a", "b");
                Ok(())
            };
            registry.apply(&table, &[update], step, labels);
            table = registry.replace_table(&table, schema(999 - step as u32), step);
        }
        for now_ms in 10..13 {
            assert!(collect(&registry, now_ms) > 0);
        }
        // What comes by the first goes over to the second, and so on to the last.
        assert_eq!(widths(), [1_002, 1_001, 1_000, 999]);
        drop(first);
        collect(&registry, 13);
        assert_eq!(widths(), [1_002, 1_001, 1_000, 999]);
        for now_ms in 14..20 {
            assert!(collect(&registry, now_ms) > 0);
        }
        assert_eq!(widths(), [0, 0, 0, 999]);
        let lane = registry.lanes.existing().next().unwrap().lock();
        assert!(
            lane.tables
                .iter()
                .take(3)
                .all(|table| table.rows.capacity() == 0)
        );
    }
}
