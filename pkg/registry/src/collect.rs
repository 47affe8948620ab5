//! Series to samples: the periodic collection, and the walk of a scrape.

use std::sync::Arc;

use model::{Exemplar, HistogramSample, Point, SampleSink, Series};
use parking_lot::MutexGuard;

use crate::native_histogram::NATIVE_CELLS;
use crate::schema::{Column, MetricKind, Schema};
use crate::state::{Registry, State};
use crate::table::{SlotState, Table};

/// Slots that are walked before pushes that wait for the tables get their turn.
const STEP_SLOTS: u32 = 64;

/// Who takes samples, and has each exemplar once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The collection for remote write.
    RemoteWrite,
    /// The scrape endpoint, whoever scrapes.
    Scrape,
}

impl Consumer {
    const fn bit(self) -> u8 {
        match self {
            Self::RemoteWrite => 1,
            Self::Scrape => 2,
        }
    }

    /// The bits of a set of consumers.
    fn bits(consumers: &[Self]) -> u8 {
        consumers.iter().fold(0, |bits, one| bits | one.bit())
    }
}

/// The times of one collection, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// The time of the samples.
    pub now_ms: i64,
    /// The time of the zero before a new series' first value; before `now_ms`
    /// and after whatever this tenant has sent (differences, D9).
    pub zero_ms: i64,
    /// Series without a span since then end.
    pub idle_since_ms: i64,
    /// Those who will want exemplars; what all of them have had is freed.
    pub consumers: &'a [Consumer],
}

/// What a collection gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectStats {
    /// Series with a sample.
    pub series: u64,
    /// Series that ended with a staleness marker.
    pub ended: u64,
}

/// A metric of a scrape, from whichever tables have it.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name, without the suffixes of a histogram's series.
    pub name: String,
    /// One sentence.
    pub help: &'static str,
    /// What its values mean.
    pub kind: MetricKind,
    /// Tables, and the metric's place in each.
    members: Vec<(usize, usize)>,
}

impl Registry {
    /// Merges the lanes and hands every series to `sink`.
    ///
    /// Pushes go on meanwhile: what they bring is in the next collection.
    pub fn collect(&self, collection: Collection<'_>, sink: &mut impl SampleSink) -> CollectStats {
        let now_ms = collection.now_ms;
        self.merge_lanes(now_ms);
        let mut stats = CollectStats::default();
        let mut state = self.state.lock();
        state.free_ended();
        state.age_refused(collection);
        for index in 0..state.tables.len() {
            let slots = state.tables.get(index).map_or(0, Table::len);
            for slot in 0..slots {
                if slot % STEP_SLOTS == 0 {
                    MutexGuard::bump(&mut state);
                }
                state.collect_slot(index, slot, collection, sink, &mut stats);
            }
        }
        if stats.ended > 0 {
            state.removals += 1;
        }
        let gone = state.gone();
        drop(state);
        self.shrink_lanes(&gone);
        stats
    }

    /// Tells `sink` that every series that was collected has ended, and ends none: for
    /// a sink that has known them by labels which they do not have any more.
    pub fn write_ends(&self, now_ms: i64, sink: &mut impl SampleSink) {
        let mut state = self.state.lock();
        for index in 0..state.tables.len() {
            let slots = state.tables.get(index).map_or(0, Table::len);
            for slot in 0..slots {
                if slot % STEP_SLOTS == 0 {
                    MutexGuard::bump(&mut state);
                }
                state.write_end(index, slot, now_ms, sink);
            }
        }
    }

    /// Merges the lanes and names the metrics there are, for a scrape.
    pub fn families(&self, now_ms: i64) -> Vec<Family> {
        self.merge_lanes(now_ms);
        let mut families: Vec<Family> = Vec::new();
        let state = self.state.lock();
        let tables = state.tables.iter().enumerate();
        for (index, table) in tables.filter(|(_, table)| !table.retired) {
            for (place, column) in table.schema.columns().iter().enumerate() {
                let metric = &column.metric;
                match families.iter_mut().find(|known| known.name == metric.name) {
                    Some(known) => known.members.push((index, place)),
                    None => families.push(Family {
                        name: metric.name.clone(),
                        help: metric.help,
                        kind: metric.kind.clone(),
                        members: vec![(index, place)],
                    }),
                }
            }
        }
        families
    }

    /// Hands the series of one metric to `sink`, which is asked after each few
    /// slots whether it wants more.
    pub fn walk<S: SampleSink>(
        &self,
        family: &Family,
        now_ms: i64,
        sink: &mut S,
        mut go_on: impl FnMut(&mut S) -> bool,
    ) {
        for (index, place) in &family.members {
            let slots = self.state.lock().tables.get(*index).map_or(0, Table::len);
            for first in (0..slots).step_by(STEP_SLOTS as usize) {
                let mut state = self.state.lock();
                for slot in first..slots.min(first + STEP_SLOTS) {
                    state.scrape_slot(*index, *place, slot, now_ms, sink);
                }
                drop(state);
                if !go_on(sink) {
                    return;
                }
            }
        }
    }
}

impl State {
    fn free_ended(&mut self) {
        let mut is_value_free = false;
        for table in &mut self.tables {
            is_value_free |= table.free_ended(&mut self.admission.labels);
        }
        if is_value_free {
            self.redirections += 1;
        }
        self.let_go();
    }

    /// Ages what limits refused, twice within the time of idle series.
    fn age_refused(&mut self, collection: Collection<'_>) {
        let idle_ms = collection.now_ms.saturating_sub(collection.idle_since_ms);
        if collection.now_ms.saturating_sub(self.rotated_ms) < idle_ms / 2 {
            return;
        }
        self.rotated_ms = collection.now_ms;
        self.admission.labels.rotate();
        self.tables
            .iter_mut()
            .for_each(|table| table.refused.rotate());
    }

    fn collect_slot(
        &mut self,
        index: usize,
        number: u32,
        collection: Collection<'_>,
        sink: &mut impl SampleSink,
        stats: &mut CollectStats,
    ) {
        // What came to a replaced table after it had been replaced.
        self.carry_over(index, number, collection.now_ms);
        let successor = self.successor(index);
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let Some(mut slot) = table.slot(number).copied() else {
            return;
        };
        match slot.state {
            SlotState::Free | SlotState::Ended => return,
            SlotState::Admitted if !table.retired => return,
            SlotState::Admitted | SlotState::Active => {}
        }
        let schema = Arc::clone(&table.schema);
        let ends = table.retired || slot.updated_ms < collection.idle_since_ms;
        if !ends || slot.collected != 0 || table.natives.any_collected(number) {
            sink.label_set(table.label_set(&slot));
            sink.started(slot.started_ms);
        }
        let mut writer = Writer {
            points: Points {
                now_ms: collection.now_ms,
                zero_ms: None,
            },
            consumer: Consumer::RemoteWrite,
            exemplars: slot.exemplars,
            sink,
        };
        if ends {
            writer.end(table, number, slot.collected, successor.as_deref());
            table.end(number, &mut self.admission.limiter);
            stats.ended += schema.series();
            return;
        }
        for (bit, column) in Schema::bits().zip(schema.columns()) {
            if column.is_absent(table.row(number)) {
                continue;
            }
            let is_new = slot.collected & bit == 0;
            writer.points.zero_ms = is_new.then_some(collection.zero_ms);
            writer.column(table, number, column);
            writer.native(table, number, column, Some(collection.zero_ms));
            stats.series += column.series;
            slot.collected |= bit;
        }
        let consumers = Consumer::bits(collection.consumers);
        table
            .exemplars
            .release_taken(&mut slot.exemplars, consumers);
        if let Some(place) = table.slot_mut(number) {
            *place = slot;
        }
    }

    fn write_end(&self, index: usize, number: u32, now_ms: i64, sink: &mut impl SampleSink) {
        let table = self.tables.get(index);
        let Some((table, slot)) = table.and_then(|table| Some((table, table.slot(number)?))) else {
            return;
        };
        let is_there = matches!(slot.state, SlotState::Active | SlotState::Admitted);
        if !is_there || slot.collected == 0 && !table.natives.any_collected(number) {
            return;
        }
        sink.label_set(table.label_set(slot));
        let mut writer = Writer {
            points: Points {
                now_ms,
                zero_ms: None,
            },
            consumer: Consumer::RemoteWrite,
            exemplars: slot.exemplars,
            sink,
        };
        writer.end(table, number, slot.collected, None);
    }

    /// The schema that goes on where a replaced table ends.
    fn successor(&self, index: usize) -> Option<Arc<Schema>> {
        let successor = self.tables.get(index)?.successor?;
        Some(Arc::clone(&self.tables.get(successor)?.schema))
    }

    fn scrape_slot(
        &mut self,
        index: usize,
        place: usize,
        number: u32,
        now_ms: i64,
        sink: &mut impl SampleSink,
    ) {
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let Some(slot) = table.slot(number).copied() else {
            return;
        };
        if slot.state != SlotState::Active || table.retired {
            return;
        }
        let schema = Arc::clone(&table.schema);
        let Some(column) = schema.columns().get(place) else {
            return;
        };
        if column.is_absent(table.row(number)) {
            return;
        }
        sink.label_set(table.label_set(&slot));
        sink.started(slot.started_ms);
        let mut writer = Writer {
            points: Points {
                now_ms,
                zero_ms: None,
            },
            consumer: Consumer::Scrape,
            exemplars: slot.exemplars,
            sink,
        };
        writer.column(table, number, column);
        writer.native(table, number, column, None);
    }
}

/// When a slot's samples are.
#[derive(Clone, Copy, Debug)]
struct Points {
    now_ms: i64,
    zero_ms: Option<i64>,
}

/// Writes the series of one slot.
struct Writer<'a, S> {
    points: Points,
    consumer: Consumer,
    exemplars: u32,
    sink: &'a mut S,
}

impl<S: SampleSink> Writer<'_, S> {
    /// Ends the series of a slot, but for those that another table goes on with.
    fn end(&mut self, table: &Table, number: u32, collected: u8, successor: Option<&Schema>) {
        let stale = [Point::stale(self.points.now_ms)];
        for (bit, column) in Schema::bits().zip(table.schema.columns()) {
            self.sink.metric(column.metric.metadata());
            let next = successor.and_then(|next| {
                let mut columns = next.columns().iter();
                columns.find(|next| column.goes_on_as(next))
            });
            if let Some(native) = &column.native
                && table.natives.is_collected(number, native.place)
                && next.is_none_or(|next| !column.native_goes_on_as(next))
            {
                let stale = [HistogramSample::stale(self.points.now_ms)];
                self.sink.histogram(&column.metric.name, &stale, None);
            }
            if collected & bit == 0 {
                continue;
            }
            let next = next.filter(|next| column.plain_goes_on_as(next));
            for le in &column.le {
                if next.is_none_or(|next| !next.le.contains(le)) {
                    let series = Series {
                        name: &column.bucket_name,
                        le: Some(le),
                    };
                    self.sink.series(series, &stale, None);
                }
            }
            if next.is_some() {
                continue;
            }
            let names: &[&str] = match &column.metric.kind {
                MetricKind::Counter | MetricKind::Gauge => &[&column.metric.name],
                MetricKind::ClassicHistogram { .. } | MetricKind::ClassicAndNative { .. } => {
                    &[&column.sum_name, &column.count_name]
                }
                MetricKind::NativeHistogram { .. } => &[],
            };
            for name in names {
                self.sink.series(Series { name, le: None }, &stale, None);
            }
        }
    }

    /// Writes the series of a metric, but for that of a native histogram.
    fn column(&mut self, table: &mut Table, number: u32, column: &Column) {
        let cells = column.plain_cells();
        self.sink.metric(column.metric.metadata());
        match &column.metric.kind {
            MetricKind::Counter => {
                let value = table.row(number).get(cells.start).copied().unwrap_or(0.0);
                self.cumulative(&column.metric.name, value);
            }
            MetricKind::Gauge => {
                let value = table.row(number).get(cells.start).copied().unwrap_or(0.0);
                // A gauge has no zero before its first value.
                let zero_ms = self.points.zero_ms.take();
                self.cumulative(&column.metric.name, value);
                self.points.zero_ms = zero_ms;
            }
            MetricKind::NativeHistogram { .. } => {}
            MetricKind::ClassicHistogram { .. } | MetricKind::ClassicAndNative { .. } => {
                let mut count = 0.0;
                for (offset, le) in column.le.iter().enumerate() {
                    let cell = cells.start + offset;
                    count += table.row(number).get(cell).copied().unwrap_or(0.0);
                    let bit = self.consumer.bit();
                    let exemplar = table.exemplars.take(self.exemplars, cell as u16, bit);
                    let exemplar = exemplar.map(|exemplar| self.not_later(exemplar));
                    let series = Series {
                        name: &column.bucket_name,
                        le: Some(le),
                    };
                    let (points, len) = self.points(count);
                    let points = points.get(..len).unwrap_or_default();
                    self.sink.series(series, points, exemplar);
                }
                let sum = table.row(number).get(cells.end.saturating_sub(1));
                let sum = sum.copied().unwrap_or(0.0);
                self.cumulative(&column.sum_name, sum);
                self.cumulative(&column.count_name, count);
            }
        }
    }

    /// Writes the series of a native histogram, if the metric is one. In a
    /// collection an empty one at `zero_ms` comes before the first.
    fn native(&mut self, table: &mut Table, number: u32, column: &Column, zero_ms: Option<i64>) {
        let Some(native) = &column.native else {
            return;
        };
        let mut cells = [0.0; NATIVE_CELLS];
        let row = table.row(number).iter().skip(native.cells.start);
        for (cell, value) in cells.iter_mut().zip(row) {
            *cell = *value;
        }
        let name = &column.metric.name;
        let is_new = zero_ms.is_some() && !table.natives.is_collected(number, native.place);
        let mut exemplar = None;
        // A classic histogram of the same observations has the exemplars. And
        // Prometheus reads those of a series before its histograms, and does
        // not know a new series then: they wait for the next collection.
        if column.plain_cells().is_empty() && !is_new {
            let cell = native.cells.start as u16;
            let bit = self.consumer.bit();
            exemplar = table.exemplars.take(self.exemplars, cell, bit);
        }
        let exemplar = exemplar.map(|exemplar| self.not_later(exemplar));
        let started_ms = table.slot(number).map_or(0, |slot| slot.started_ms);
        let natives = &mut table.natives;
        let sample = natives.sample(number, native, cells, started_ms, self.points.now_ms);
        match zero_ms {
            Some(zero_ms) if is_new => {
                let zero = HistogramSample::empty(zero_ms, sample.schema, sample.zero_threshold);
                self.sink.histogram(name, &[zero, sample], exemplar);
            }
            _ => self.sink.histogram(name, &[sample], exemplar),
        }
        if zero_ms.is_some() {
            natives.note_collected(number, native.place);
        }
    }

    fn cumulative(&mut self, name: &str, value: f64) {
        let (points, len) = self.points(value);
        let points = points.get(..len).unwrap_or_default();
        self.sink.series(Series { name, le: None }, points, None);
    }

    /// An exemplar of a span that ends in the future, within the slack, has
    /// the time of its sample (D13).
    fn not_later(&self, exemplar: Exemplar) -> Exemplar {
        Exemplar {
            timestamp_ms: exemplar.timestamp_ms.min(self.points.now_ms),
            ..exemplar
        }
    }

    fn points(&self, value: f64) -> ([Point; 2], usize) {
        let at = |timestamp_ms, value| Point {
            timestamp_ms,
            value,
        };
        let now = at(self.points.now_ms, value);
        match self.points.zero_ms {
            Some(zero_ms) => ([at(zero_ms, 0.0), now], 2),
            None => ([now, now], 1),
        }
    }
}
