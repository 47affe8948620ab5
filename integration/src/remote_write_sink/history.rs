//! What can only be judged with the requests before and beside.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;
use proto::remote_write::TimeSeries;

use super::protocol::Version;
use super::received::Arrival;

/// A hash of a series' labels.
type SeriesHash = u64;

/// Requests that were refused for good: none may come again as a whole.
///
/// Parts of them may: the receiver may want smaller requests, or refuse one for
/// what a single series has.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<Refusal>);

#[derive(Debug)]
struct Refusal {
    number: usize,
    tenant: String,
    version: Version,
    status: StatusCode,
    /// Series and times of its samples.
    samples: HashSet<(SeriesHash, i64)>,
}

impl Refusals {
    /// What of a request was refused before.
    pub(super) fn check(&self, arrival: &Arrival) -> Vec<String> {
        let samples = samples(arrival);
        let is_again = |refusal: &&Refusal| {
            let in_another = refusal.status == StatusCode::UNSUPPORTED_MEDIA_TYPE
                && refusal.version != arrival.version;
            refusal.tenant == arrival.tenant && !in_another && refusal.samples.is_subset(&samples)
        };
        let again = self.0.iter().filter(is_again);
        let say = |refusal: &Refusal| {
            let Refusal { number, status, .. } = refusal;
            format!("has all of request {number}, which was answered {status}")
        };
        again.map(say).collect()
    }

    /// Notes how a request was answered.
    pub(super) fn note(&mut self, arrival: &Arrival, status: StatusCode) {
        let samples = samples(arrival);
        let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        if is_final && !samples.is_empty() {
            self.0.push(Refusal {
                number: arrival.number,
                tenant: arrival.tenant.clone(),
                version: arrival.version,
                status,
                samples,
            });
        }
    }
}

fn samples(arrival: &Arrival) -> HashSet<(SeriesHash, i64)> {
    let all = arrival.series.iter().flat_map(|(series, _)| {
        let hash = hash(series);
        let times = series.samples.iter().map(|sample| sample.timestamp);
        let more = series.histograms.iter().map(|sample| sample.timestamp);
        times.chain(more).map(move |time| (hash, time))
    });
    all.collect()
}

fn hash(series: &TimeSeries) -> SeriesHash {
    let mut hasher = DefaultHasher::new();
    for label in &series.labels {
        (&label.name, &label.value).hash(&mut hasher);
    }
    hasher.finish()
}

/// Requests that are being answered: no two may have a series in common.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    number: usize,
    tenant: String,
    series: HashSet<SeriesHash>,
    /// Later requests with the same series.
    beside: Vec<usize>,
}

/// One of these requests, until it is dropped: then its sender has given it up.
#[derive(Debug)]
pub(super) struct Ticket {
    under_way: UnderWay,
    number: usize,
}

impl UnderWay {
    /// Whether there are none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Adds a request.
    pub(super) fn enter(&self, arrival: &Arrival) -> Ticket {
        let all = arrival.series.iter().map(|(series, _)| hash(series));
        let series: HashSet<_> = all.collect();
        let mut entries = self.0.lock();
        for entry in entries.iter_mut() {
            if entry.tenant == arrival.tenant && !entry.series.is_disjoint(&series) {
                entry.beside.push(arrival.number);
            }
        }
        entries.push(Entry {
            number: arrival.number,
            tenant: arrival.tenant.clone(),
            series,
            beside: Vec::new(),
        });
        Ticket {
            under_way: self.clone(),
            number: arrival.number,
        }
    }
}

impl Ticket {
    /// Ends the request with an answer; gives its number, and what was wrong
    /// meanwhile.
    ///
    /// Only here, because a sender may give a request up and send it again
    /// before the sink has seen that.
    pub(super) fn answered(self) -> (usize, Vec<String>) {
        let entries = self.under_way.0.lock();
        let own = entries.iter().find(|entry| entry.number == self.number);
        let beside = own.map_or(&[][..], |entry| &entry.beside);
        let say = |number: &usize| format!("request {number} came meanwhile with the same series");
        (self.number, beside.iter().map(say).collect())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut entries = self.under_way.0.lock();
        entries.retain(|entry| entry.number != self.number);
    }
}
