//! Series to compressed requests.

mod histogram;
mod snappy;
mod symbols;
pub(crate) mod transcode;
pub(crate) mod v1;
pub(crate) mod v2;

use bytes::Bytes;
use model::{Exemplar, Point};

pub(crate) use self::histogram::EncodedHistograms;
use self::snappy::Compressor;
use crate::protocol::Protocol;

/// Bytes of a request, before compression, after which it is closed although
/// more samples would fit.
///
/// Samples with very long labels would otherwise make requests that receivers
/// refuse: 32 MiB is a usual limit. Ordinary batches have a tenth of this.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// A request as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// A message of the protocol, snappy block format. Shared, not copied, when
    /// several endpoints send the same.
    pub(crate) body: Bytes,
    /// Which message it is.
    pub(crate) protocol: Protocol,
    /// Samples in it.
    pub(crate) samples: u64,
    /// Exemplars in it.
    pub(crate) exemplars: u64,
    /// Its latest sample, in milliseconds since the Unix epoch.
    pub(crate) highest_timestamp_ms: i64,
}

/// The samples of one series, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Samples<'a> {
    /// Of a counter, a gauge, or a part of a classic histogram.
    Points(&'a [Point]),
    /// Of a native histogram.
    Histograms(&'a EncodedHistograms),
}

/// Fills requests one after the other and compresses them.
pub(crate) struct Batcher {
    protocol: Protocol,
    max_samples: u64,
    compressor: Compressor,
    encoder: v2::Encoder,
    samples: u64,
    exemplars: u64,
    highest_timestamp_ms: i64,
    /// About what the request takes in 1.0, for one in 2.0: it may have to be
    /// sent so, and every text stands but once in it.
    expanded_bytes: usize,
}

impl Samples<'_> {
    fn count(self) -> u64 {
        match self {
            Self::Points(points) => points.len() as u64,
            Self::Histograms(histograms) => histograms.count(),
        }
    }

    /// What native histograms take, which no bound is known of.
    fn histogram_bytes(self) -> usize {
        match self {
            Self::Points(_) => 0,
            Self::Histograms(histograms) => histograms.length(),
        }
    }

    /// The time of the last, in milliseconds since the Unix epoch.
    fn last_ms(self) -> i64 {
        match self {
            Self::Points(points) => points.last().map_or(i64::MIN, |point| point.timestamp_ms),
            Self::Histograms(histograms) => histograms.last_ms(),
        }
    }
}

impl Batcher {
    /// A batcher whose requests have at most so many samples, but for the
    /// points of one series, which stay together.
    pub(crate) fn new(protocol: Protocol, max_samples: u64) -> Self {
        Self {
            protocol,
            max_samples,
            compressor: Compressor::default(),
            encoder: v2::Encoder::default(),
            samples: 0,
            exemplars: 0,
            highest_timestamp_ms: i64::MIN,
            expanded_bytes: 0,
        }
    }

    /// The protocol of the requests.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Adds a series by the function that writes it in 1.0. Returns the request
    /// before, if it is full.
    pub(crate) fn add(
        &mut self,
        samples: Samples<'_>,
        exemplar: Option<Exemplar>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Batch> {
        let batch = self.make_room_for(samples.count());
        match self.compressor.write(write) {
            Ok(()) => self.added(samples, exemplar),
            Err(error) => self.lose(&error),
        }
        batch
    }

    /// The same in 2.0; the function gets where symbols and series go, and
    /// returns about the bytes that the series takes in 1.0.
    pub(crate) fn add_v2(
        &mut self,
        samples: Samples<'_>,
        exemplar: Option<Exemplar>,
        write: impl FnOnce(&mut v2::Encoder, (&mut Vec<u8>, &mut Vec<u8>)) -> usize,
    ) -> Option<Batch> {
        let batch = self.make_room_for(samples.count());
        let encoder = &mut self.encoder;
        let mut bytes = 0;
        let written = self
            .compressor
            .write_both(|head, body| bytes = write(encoder, (head, body)));
        self.expanded_bytes += bytes;
        match written {
            Ok(()) => self.added(samples, exemplar),
            Err(error) => self.lose(&error),
        }
        batch
    }

    fn added(&mut self, samples: Samples<'_>, exemplar: Option<Exemplar>) {
        self.samples += samples.count();
        self.exemplars += u64::from(exemplar.is_some());
        self.highest_timestamp_ms = self.highest_timestamp_ms.max(samples.last_ms());
    }

    /// Closes the request, if so many more samples need not fit into it.
    pub(crate) fn make_room_for(&mut self, samples: u64) -> Option<Batch> {
        let bytes = self.compressor.len().max(self.expanded_bytes);
        let full = self.samples + samples > self.max_samples || bytes >= MAX_REQUEST_BYTES;
        if full { self.close() } else { None }
    }

    /// Samples in the request.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Closes the request and returns it, if it has samples.
    pub(crate) fn close(&mut self) -> Option<Batch> {
        if self.samples == 0 {
            return None;
        }
        let batch = match self.compressor.finish() {
            Ok(body) => Some(Batch {
                body,
                protocol: self.protocol,
                samples: self.samples,
                exemplars: self.exemplars,
                highest_timestamp_ms: self.highest_timestamp_ms,
            }),
            Err(error) => {
                self.lose(&error);
                None
            }
        };
        self.restart();
        batch
    }

    fn restart(&mut self) {
        self.compressor.clear();
        self.encoder.clear();
        self.samples = 0;
        self.exemplars = 0;
        self.highest_timestamp_ms = i64::MIN;
        self.expanded_bytes = 0;
    }

    /// Gives up what was written since the last request.
    fn lose(&mut self, error: &snap::Error) {
        tracing::error!(
            samples = self.samples,
            %error,
            "cannot compress remote-write request, its samples are lost"
        );
        self.restart();
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
