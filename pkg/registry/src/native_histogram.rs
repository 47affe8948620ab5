//! Native histograms of the slots of a table: exponential buckets, as many as
//! there are observations for.
//!
//! A histogram's sum, its zero bucket, and how many of its observations had a
//! fractional weight are cells of the slot's row; the buckets lie here. Lanes
//! count in the schema that the metric begins with, so the order in which they
//! merge makes no difference; only here do histograms get coarser.

use model::{BucketSpan, HistogramSample};

use crate::bucket_pages::{BucketPages, NO_PAGES};
use crate::native_buckets::{NativeBuckets, ZERO_THRESHOLD, coarser};
use crate::schema::NativeColumn;

/// Cells of a row that a native histogram takes.
pub(crate) const NATIVE_CELLS: usize = 3;

/// Empty buckets that do not end a span: they are shorter than a new one.
/// Source: Prometheus' Go client, which has the same number.
const FILLED_GAP: i32 = 2;

/// What a native histogram has counted, besides the cells of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeDelta {
    /// Its place among the native histograms of the schema.
    pub place: u8,
    /// How fine the buckets are, -4 to 8.
    pub schema: i8,
    /// Buckets and the weights in them, each bucket once.
    pub buckets: Vec<(i32, f64)>,
}

/// A native histogram of a slot.
#[derive(Clone, Copy, Debug)]
struct Histogram {
    /// The last time that it began anew, in milliseconds since the Unix epoch;
    /// 0 if it has not since its slot did.
    restarted_ms: i64,
    pages: u32,
    /// How often its buckets have doubled in width.
    halvings: u8,
    is_collected: bool,
    /// Whether it has begun anew since it was collected.
    is_restart: bool,
}

/// What is known of a histogram besides its buckets and its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistogramState {
    /// As in [`Histogram`].
    pub(crate) restarted_ms: i64,
    pub(crate) halvings: u8,
    pub(crate) is_collected: bool,
    pub(crate) is_restart: bool,
}

/// The native histograms of a table.
#[derive(Debug, Default)]
pub(crate) struct NativeHistograms {
    /// Histograms of a slot.
    per_slot: usize,
    histograms: Vec<Histogram>,
    pages: BucketPages,
    scratch: Scratch,
}

/// Memory for the parts of a sample.
#[derive(Debug, Default)]
struct Scratch {
    occupied: Vec<(i32, f64)>,
    spans: Vec<BucketSpan>,
    counts: Vec<f64>,
}

/// What is added to a histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addition<I> {
    pub(crate) settings: NativeBuckets,
    /// The schema of `buckets`.
    pub(crate) schema: i8,
    /// Buckets and the weights in them.
    pub(crate) buckets: I,
    /// Since when the slot counts, in milliseconds since the Unix epoch.
    pub(crate) started_ms: i64,
    pub(crate) now_ms: i64,
}

/// A histogram that has been taken out.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) delta: NativeDelta,
    state: Histogram,
}

impl Histogram {
    const EMPTY: Self = Self {
        restarted_ms: 0,
        pages: NO_PAGES,
        halvings: 0,
        is_collected: false,
        is_restart: false,
    };

    /// Whether it has not begun anew for so long that it may.
    fn may_restart<I>(&self, addition: &Addition<I>) -> bool {
        let since_ms = addition.now_ms - self.restarted_ms.max(addition.started_ms);
        let min_reset_ms = addition.settings.min_reset_ms;
        min_reset_ms > 0 && since_ms >= min_reset_ms
    }

    fn schema(&self, settings: NativeBuckets) -> i8 {
        settings.schema() - self.halvings as i8
    }
}

impl NativeHistograms {
    /// For slots with so many native histograms each.
    pub(crate) fn new(per_slot: usize) -> Self {
        Self {
            per_slot,
            ..Self::default()
        }
    }

    /// Whether slots have none.
    pub(crate) fn is_empty(&self) -> bool {
        self.per_slot == 0
    }

    fn get(&self, slot: u32, place: u8) -> Option<&Histogram> {
        let first = slot as usize * self.per_slot;
        self.histograms.get(first + usize::from(place))
    }

    fn get_mut(&mut self, slot: u32, place: u8) -> Option<&mut Histogram> {
        let first = slot as usize * self.per_slot;
        let end = first + self.per_slot;
        if self.histograms.len() < end {
            self.histograms.resize(end, Histogram::EMPTY);
        }
        self.histograms.get_mut(first + usize::from(place))
    }

    /// Adds what a lane or another registry has counted. Whether the histogram
    /// has begun anew with it, so that what it had before is to be forgotten.
    pub(crate) fn add<I: Iterator<Item = (i32, f64)> + Clone>(
        &mut self,
        slot: u32,
        place: u8,
        addition: Addition<I>,
    ) -> bool {
        let Some(mut histogram) = self.get_mut(slot, place).copied() else {
            return false;
        };
        let settings = addition.settings;
        // Wide buckets are given up as soon as they may be.
        let mut restarts = histogram.halvings > 0 && histogram.may_restart(&addition);
        if restarts {
            self.restart(&mut histogram, addition.now_ms);
        }
        let max_buckets = settings.max_buckets as usize;
        let grew = self.count(&mut histogram, &addition);
        while grew && max_buckets != 0 && self.pages.may_exceed(histogram.pages, max_buckets) {
            if histogram.may_restart(&addition) {
                restarts = true;
                self.restart(&mut histogram, addition.now_ms);
                self.count(&mut histogram, &addition);
            } else if histogram.halvings < settings.max_halvings() {
                self.halve(&mut histogram, 1);
            } else {
                break;
            }
        }
        if let Some(place) = self.get_mut(slot, place) {
            *place = histogram;
        }
        restarts
    }

    /// Adds buckets in the coarser of the two schemas. Whether there are more
    /// of them than before.
    fn count<I: Iterator<Item = (i32, f64)> + Clone>(
        &mut self,
        histogram: &mut Histogram,
        addition: &Addition<I>,
    ) -> bool {
        let finer = i16::from(histogram.schema(addition.settings)) - i16::from(addition.schema);
        if finer > 0 {
            self.halve(histogram, finer as u8);
        }
        let halvings = finer.min(0).unsigned_abs() as u8;
        let mut grew = false;
        for (key, weight) in addition.buckets.clone() {
            let key = coarser(key, halvings);
            grew |= self.pages.add(&mut histogram.pages, 0, key, weight);
        }
        grew
    }

    fn restart(&mut self, histogram: &mut Histogram, now_ms: i64) {
        self.pages.release(&mut histogram.pages);
        histogram.halvings = 0;
        histogram.restarted_ms = now_ms;
        histogram.is_restart = histogram.is_collected;
    }

    /// Doubles the width of the buckets so many times.
    fn halve(&mut self, histogram: &mut Histogram, times: u8) {
        let mut occupied = std::mem::take(&mut self.scratch.occupied);
        occupied.clear();
        occupied.extend(self.pages.occupied(histogram.pages, 0));
        self.pages.release(&mut histogram.pages);
        for (key, weight) in &occupied {
            let key = coarser(*key, times);
            self.pages.add(&mut histogram.pages, 0, key, *weight);
        }
        histogram.halvings += times;
        self.scratch.occupied = occupied;
    }

    /// Takes a histogram out of its slot, for another registry or table. Only
    /// whether it has been collected is left.
    pub(crate) fn take(&mut self, slot: u32, place: u8, settings: NativeBuckets) -> Option<Taken> {
        let histogram = self.get_mut(slot, place)?;
        let state = *histogram;
        *histogram = Histogram {
            is_collected: state.is_collected,
            ..Histogram::EMPTY
        };
        let mut pages = state.pages;
        let delta = NativeDelta {
            place,
            schema: state.schema(settings),
            buckets: self.pages.occupied(pages, 0).collect(),
        };
        self.pages.release(&mut pages);
        Some(Taken { delta, state })
    }

    /// Lets a histogram go on as the one that was taken out and added to it.
    pub(crate) fn go_on_as(&mut self, slot: u32, taken: &Taken) {
        if let Some(histogram) = self.get_mut(slot, taken.delta.place) {
            let before = taken.state;
            histogram.restarted_ms = histogram.restarted_ms.max(before.restarted_ms);
            histogram.is_collected |= before.is_collected;
            histogram.is_restart |= before.is_restart;
        }
    }

    /// A histogram as it is saved: its state, and its buckets by key.
    pub(crate) fn saved(
        &self,
        slot: u32,
        place: u8,
    ) -> (
        HistogramState,
        impl Iterator<Item = (i32, f64)> + Clone + '_,
    ) {
        let histogram = self.get(slot, place).copied();
        let histogram = histogram.unwrap_or(Histogram::EMPTY);
        let state = HistogramState {
            restarted_ms: histogram.restarted_ms,
            halvings: histogram.halvings,
            is_collected: histogram.is_collected,
            is_restart: histogram.is_restart,
        };
        (state, self.pages.occupied(histogram.pages, 0))
    }

    /// Makes a histogram of a slot that has none what was saved.
    pub(crate) fn restore(
        &mut self,
        slot: u32,
        place: u8,
        state: HistogramState,
        buckets: &[(i32, f64)],
    ) {
        let mut pages = NO_PAGES;
        for (key, weight) in buckets {
            self.pages.add(&mut pages, 0, *key, *weight);
        }
        if let Some(histogram) = self.get_mut(slot, place) {
            *histogram = Histogram {
                restarted_ms: state.restarted_ms,
                pages,
                halvings: state.halvings,
                is_collected: state.is_collected,
                is_restart: state.is_restart,
            };
        }
    }

    /// Empties the histograms of a slot.
    pub(crate) fn clear(&mut self, slot: u32) {
        let first = slot as usize * self.per_slot;
        for histogram in self.histograms.iter_mut().skip(first).take(self.per_slot) {
            self.pages.release(&mut histogram.pages);
            *histogram = Histogram::EMPTY;
        }
    }

    /// Whether a histogram has been collected.
    pub(crate) fn is_collected(&self, slot: u32, place: u8) -> bool {
        self.get(slot, place)
            .is_some_and(|histogram| histogram.is_collected)
    }

    /// Whether any histogram of a slot has been collected.
    pub(crate) fn any_collected(&self, slot: u32) -> bool {
        let mut places = 0..self.per_slot as u8;
        places.any(|place| self.is_collected(slot, place))
    }

    /// Notes that a histogram has been collected.
    pub(crate) fn note_collected(&mut self, slot: u32, place: u8) {
        if let Some(histogram) = self.get_mut(slot, place) {
            histogram.is_collected = true;
            histogram.is_restart = false;
        }
    }

    /// A histogram as a sample, with the cells of its row. `started_ms` is since
    /// when the slot counts.
    pub(crate) fn sample(
        &mut self,
        slot: u32,
        native: &NativeColumn,
        cells: [f64; NATIVE_CELLS],
        started_ms: i64,
        timestamp_ms: i64,
    ) -> HistogramSample<'_> {
        let histogram = self.get(slot, native.place).copied();
        let histogram = histogram.unwrap_or(Histogram::EMPTY);
        let [sum, zero_count, fractional] = cells;
        let scratch = &mut self.scratch;
        scratch.occupied.clear();
        scratch
            .occupied
            .extend(self.pages.occupied(histogram.pages, 0));
        scratch.lay_out();
        HistogramSample {
            timestamp_ms,
            started_ms: started_ms.max(histogram.restarted_ms),
            // Receivers check that it is what the buckets have together.
            count: scratch.counts.iter().sum::<f64>() + zero_count,
            sum,
            schema: histogram.schema(native.buckets),
            zero_threshold: ZERO_THRESHOLD,
            zero_count,
            spans: &scratch.spans,
            counts: &scratch.counts,
            is_float: fractional > 0.0,
            is_restart: histogram.is_restart,
        }
    }
}

impl Scratch {
    /// Arranges the occupied buckets, which come by key, in spans.
    fn lay_out(&mut self) {
        self.spans.clear();
        self.counts.clear();
        let mut next = 0;
        for (key, count) in &self.occupied {
            let gap = *key - next;
            match self.spans.last_mut() {
                Some(span) if gap <= FILLED_GAP => {
                    span.length += gap as u32 + 1;
                    self.counts.extend((0..gap).map(|_| 0.0));
                }
                _ => self.spans.push(BucketSpan {
                    offset: gap,
                    length: 1,
                }),
            }
            self.counts.push(*count);
            next = *key + 1;
        }
    }
}

#[cfg(test)]
mod tests;
