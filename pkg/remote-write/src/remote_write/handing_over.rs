//! A node that goes for good gives away what receivers have not got.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use model::TenantId;

use super::RemoteWrite;
use crate::handover::chunk::{Origin, encode};
use crate::handover::export::{Exported, Exporter};
use crate::handover::mark::Mark;
use crate::tenant::Tenant;

/// What is undelivered of one tenant, chunk by chunk, in order.
#[derive(Debug)]
pub struct Handover {
    tenant: Arc<Tenant>,
    source: String,
    mark: Mark,
    exporter: Exporter,
    /// The chunk that nobody has taken yet.
    outstanding: Option<(HandedChunk, Exported)>,
}

/// A part of what is undelivered, which another node can take over on its own.
#[derive(Clone, Debug)]
pub struct HandedChunk {
    /// What the other node is to get. Below a mebibyte, but for a label set with
    /// series of that size.
    pub bytes: Bytes,
    /// Samples in it, each once however many destinations are still to get it.
    pub samples: u64,
}

impl RemoteWrite {
    /// Ends the sending as [`RemoteWrite::stop`] does, and waits until nothing is on its
    /// way any more. Cancel-safe.
    pub async fn settle(&self) {
        self.stop();
        let shared = self.shared();
        // It ends without a word only if the sender has panicked.
        let _ = shared.has_ended.clone().wait_for(|ended| *ended).await;
        // It is never closed.
        let _ = shared.turns.fillers.acquire_many(shared.fillers).await;
    }

    /// The tenants of which a destination has not got everything.
    pub fn undelivered_tenants(&self) -> Vec<TenantId> {
        let tenants = self.shared().all().into_iter();
        tenants
            .map(|tenant| tenant.id().clone())
            .filter(|tenant| self.unsent_samples(tenant) > 0)
            .collect()
    }

    /// Begins to give away what is undelivered of a tenant, as the node `source`; `None`
    /// if there is nothing.
    ///
    /// To be called after [`RemoteWrite::settle`], once nothing is appended any more.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// That of the disk; then nothing has changed.
    pub fn hand_over(&self, tenant: &TenantId, source: &str) -> io::Result<Option<Handover>> {
        let known = self.shared().tenants.lock().get(tenant).cloned();
        let Some(tenant) = known else {
            return Ok(None);
        };
        let outstanding = tenant.outstanding();
        let end = tenant.spool.extent().end;
        if outstanding.iter().all(|destination| destination.low >= end) {
            return Ok(None);
        }
        let directory = tenant.spool.directory();
        let mark = match Mark::read(directory) {
            Some(mark) => mark,
            None => {
                let mark = Mark {
                    generation: rand::random(),
                    position: 0,
                };
                // Before anybody hears of it: the next process must go on with it.
                mark.write(directory)?;
                mark
            }
        };
        Ok(Some(Handover {
            exporter: Exporter::new(Arc::clone(&tenant.spool), outstanding),
            tenant,
            source: source.to_owned(),
            mark,
            outstanding: None,
        }))
    }

    /// Removes the directories of tenants of whom nothing is undelivered, so that a node
    /// that comes back begins anew. Returns how many tenants are left. To be called last.
    /// Blocks.
    pub fn clear(&self) -> usize {
        let mut left = 0;
        for tenant in self.shared().all() {
            let id = tenant.id();
            if self.unsent_samples(id) > 0 {
                left += 1;
                continue;
            }
            if let Err(error) = self.remove(id) {
                left += 1;
                tracing::warn!(
                    tenant = %id,
                    error = %telemetry::error_chain(&error),
                    "cannot remove the spool of a tenant, which is delivered"
                );
            }
        }
        left
    }
}

impl Handover {
    /// The chunk that is to be given away next; the same until it is
    /// [taken](Self::taken). `None` if nothing is left. Blocks.
    ///
    /// # Errors
    ///
    /// That of the disk; the call can be made again.
    pub fn next_chunk(&mut self) -> io::Result<Option<HandedChunk>> {
        loop {
            if let Some((chunk, _)) = &self.outstanding {
                return Ok(Some(chunk.clone()));
            }
            let Some(exported) = self.exporter.next()? else {
                return Ok(None);
            };
            if exported.samples == 0 {
                self.tenant.give_away(exported.end, &exported.found);
                continue;
            }
            let origin = Origin {
                tenant: self.tenant.id().clone(),
                source: self.source.clone(),
                generation: self.mark.generation,
                first: exported.first,
                end: exported.end,
            };
            let chunk = HandedChunk {
                bytes: encode(&origin, &exported.records),
                samples: exported.samples,
            };
            self.outstanding = Some((chunk, exported));
        }
    }

    /// Notes that another node has the chunk, so that this one never sends it again.
    /// Returns how many samples are no longer pending, summed over the destinations.
    /// Blocks.
    pub fn taken(&mut self) -> u64 {
        let Some((_, exported)) = self.outstanding.take() else {
            return 0;
        };
        self.mark.position = self.mark.position.max(exported.end);
        // First this, which lasts, then the cursors.
        if let Err(error) = self.mark.write(self.tenant.spool.directory()) {
            tracing::warn!(
                tenant = %self.tenant.id(),
                error = %telemetry::error_chain(&error),
                "cannot write down what was handed over; if this node comes back, it may send some again"
            );
        }
        self.tenant.give_away(exported.end, &exported.found)
    }

    /// Samples that are still to be given away, summed over the destinations.
    pub fn left(&self) -> u64 {
        let queues = self.tenant.queues();
        let pending: u64 = queues.iter().map(|queue| queue.pending()).sum();
        pending + self.tenant.waiting_samples()
    }
}
