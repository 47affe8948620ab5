//! Series to compressed requests.

pub(crate) mod v1;

use bytes::Bytes;
use model::{Exemplar, Point};

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
#[derive(Debug)]
pub(crate) struct Batcher {
    max_samples: u64,
    scratch: Scratch,
    samples: u64,
    exemplars: u64,
    highest_timestamp_ms: i64,
    finished: Vec<Batch>,
}

/// Memory that a batcher needs while it works, to be used again by the next.
pub(crate) struct Scratch {
    raw: Vec<u8>,
    compressed: Vec<u8>,
    compressor: snap::raw::Encoder,
}

impl Batcher {
    /// A batcher whose requests have at most so many samples, but for the
    /// points of one series, which stay together.
    pub(crate) fn new(max_samples: u64, mut scratch: Scratch) -> Self {
        scratch.raw.clear();
        Self {
            max_samples,
            scratch,
            samples: 0,
            exemplars: 0,
            highest_timestamp_ms: i64::MIN,
            finished: Vec::new(),
        }
    }

    /// Adds a series by the function that writes it.
    pub(crate) fn add(
        &mut self,
        points: &[Point],
        exemplar: Option<Exemplar>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let samples = points.len() as u64;
        let full = self.samples + samples > self.max_samples
            || self.scratch.raw.len() >= MAX_REQUEST_BYTES;
        if full && self.samples > 0 {
            self.close();
        }
        write(&mut self.scratch.raw);
        self.samples += samples;
        self.exemplars += u64::from(exemplar.is_some());
        for point in points {
            self.highest_timestamp_ms = self.highest_timestamp_ms.max(point.timestamp_ms);
        }
    }

    /// Closes the last request and returns all, and the memory.
    pub(crate) fn finish(mut self) -> (Vec<Batch>, Scratch) {
        if self.samples > 0 {
            self.close();
        }
        (self.finished, self.scratch)
    }

    fn close(&mut self) {
        match self.scratch.compress() {
            Ok(body) => self.finished.push(Batch {
                body,
                samples: self.samples,
                exemplars: self.exemplars,
                highest_timestamp_ms: self.highest_timestamp_ms,
            }),
            // Only for more than 4 GiB, which MAX_REQUEST_BYTES rules out.
            Err(error) => tracing::error!(
                samples = self.samples,
                %error,
                "cannot compress remote-write request, its samples are lost"
            ),
        }
        self.samples = 0;
        self.exemplars = 0;
        self.highest_timestamp_ms = i64::MIN;
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            raw: Vec::new(),
            compressed: Vec::new(),
            compressor: snap::raw::Encoder::new(),
        }
    }
}

impl Scratch {
    /// Compresses what was written, into memory of just its size, and forgets
    /// it.
    fn compress(&mut self) -> Result<Bytes, snap::Error> {
        let room = snap::raw::max_compress_len(self.raw.len());
        if self.compressed.len() < room {
            self.compressed.resize(room, 0);
        }
        let length = self.compressor.compress(&self.raw, &mut self.compressed)?;
        self.raw.clear();
        // What waits is counted by its length: no spare room may hang on it.
        let body = self.compressed.get(..length).unwrap_or_default();
        Ok(Bytes::copy_from_slice(body))
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
