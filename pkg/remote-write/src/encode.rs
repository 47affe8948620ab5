//! Series to compressed requests.

mod snappy;
pub(crate) mod v1;

use bytes::Bytes;
use model::{Exemplar, Point};

use self::snappy::Compressor;

/// Bytes of a request, before compression, after which it is closed although
/// more samples would fit.
///
/// Samples with very long labels would otherwise make requests that receivers
/// refuse: 32 MiB is a usual limit. Ordinary batches have a tenth of this.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// A request as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// A `prometheus.WriteRequest`, snappy block format. Shared, not copied,
    /// when several endpoints send the same.
    pub(crate) body: Bytes,
    /// Samples in it.
    pub(crate) samples: u64,
    /// Exemplars in it.
    pub(crate) exemplars: u64,
    /// Its latest sample, in milliseconds since the Unix epoch.
    pub(crate) highest_timestamp_ms: i64,
}

/// Fills requests one after the other and compresses them.
pub(crate) struct Batcher {
    max_samples: u64,
    scratch: Scratch,
    samples: u64,
    exemplars: u64,
    highest_timestamp_ms: i64,
}

/// Memory that a batcher needs while it works, to be used again by the next.
#[derive(Default)]
pub(crate) struct Scratch(Compressor);

impl Batcher {
    /// A batcher whose requests have at most so many samples, but for the
    /// points of one series, which stay together.
    pub(crate) fn new(max_samples: u64, mut scratch: Scratch) -> Self {
        scratch.0.clear();
        Self {
            max_samples,
            scratch,
            samples: 0,
            exemplars: 0,
            highest_timestamp_ms: i64::MIN,
        }
    }

    /// Adds a series by the function that writes it. Returns the request before,
    /// if it is full.
    pub(crate) fn add(
        &mut self,
        points: &[Point],
        exemplar: Option<Exemplar>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Batch> {
        let samples = points.len() as u64;
        let full =
            self.samples + samples > self.max_samples || self.scratch.0.len() >= MAX_REQUEST_BYTES;
        let batch = if full { self.close() } else { None };
        if let Err(error) = self.scratch.0.write(write) {
            self.lose(&error);
            return batch;
        }
        self.samples += samples;
        self.exemplars += u64::from(exemplar.is_some());
        for point in points {
            self.highest_timestamp_ms = self.highest_timestamp_ms.max(point.timestamp_ms);
        }
        batch
    }

    /// Closes the last request and returns it, if it has samples, and the
    /// memory.
    pub(crate) fn finish(mut self) -> (Option<Batch>, Scratch) {
        (self.close(), self.scratch)
    }

    fn close(&mut self) -> Option<Batch> {
        if self.samples == 0 {
            return None;
        }
        let batch = match self.scratch.0.finish() {
            Ok(body) => Some(Batch {
                body,
                samples: self.samples,
                exemplars: self.exemplars,
                highest_timestamp_ms: self.highest_timestamp_ms,
            }),
            Err(error) => {
                self.lose(&error);
                None
            }
        };
        self.samples = 0;
        self.exemplars = 0;
        self.highest_timestamp_ms = i64::MIN;
        batch
    }

    /// Gives up what was written since the last request.
    fn lose(&mut self, error: &snap::Error) {
        tracing::error!(
            samples = self.samples,
            %error,
            "cannot compress remote-write request, its samples are lost"
        );
        self.scratch.0.clear();
        self.samples = 0;
        self.exemplars = 0;
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
