//! Spans that wait for their counterpart go from one generator to another.

use std::io;

use model::PushOutcome;
use registry::RestoreError;

use super::Instance;
use crate::ledger::{DiscardReason, Ledger};
use crate::processors::service_graphs::{Arrived, Moved};
use crate::recognised::Recognition;

/// What came of halves that were brought.
#[derive(Debug)]
pub(crate) enum Acceptance {
    /// So many spans wait or have met their counterpart here now, or did already.
    Spans(u64),
    /// Nothing was taken in: the tenant has no service graphs here.
    ProcessorOff,
    /// Nothing was taken in: a copy is being taken in right now and may yet fail.
    UnderWay,
}

impl Instance {
    /// Takes out what is to go to somebody else.
    ///
    /// # Errors
    ///
    /// None but that of a write to memory.
    pub(crate) fn take_edges(
        &self,
        owner_of: impl Fn(&[u8; 16]) -> Option<u16>,
    ) -> io::Result<Vec<Moved>> {
        if !self.has_edges() {
            return Ok(Vec::new());
        }
        let moved = self.edges.take_moved(self.clock.unix_millis(), owner_of)?;
        let spans = moved.iter().map(|moved| moved.spans).sum();
        let mut ledger = Ledger::default();
        let of_graphs = &mut ledger.service_graphs.discarded;
        of_graphs.add(DiscardReason::HandedOver, spans);
        self.metrics.settled(&ledger);
        self.note_edges();
        Ok(moved)
    }

    /// Takes in what another instance of the tenant took out, once: the same bytes are
    /// recognised as a push is.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; then nothing was taken in.
    pub(crate) fn accept_edges(&self, bytes: &[u8]) -> Result<Acceptance, RestoreError> {
        let now = self.clock.unix_nanos();
        let now_ms = self.clock.unix_millis();
        let settings = self.settings.load();
        let (Some(service_graphs), Some(tables)) = (
            &settings.processors.service_graphs,
            &settings.service_graphs,
        ) else {
            return Ok(Acceptance::ProcessorOff);
        };
        let recognised = self.recognised.as_ref();
        let pending = match recognised.map(|recognised| recognised.recognise(bytes, now)) {
            None => None,
            Some(Recognition::New(pending)) => Some(pending),
            Some(Recognition::Applied(outcome)) => return Ok(Acceptance::Spans(outcome.spans)),
            Some(Recognition::BeingApplied) => return Ok(Acceptance::UnderWay),
        };
        // All is read before any is taken in.
        let arrived = Arrived::read(bytes, now_ms)?;
        let spans = arrived.spans();
        self.note_push(now_ms);
        self.metrics.taken_over(spans);
        self.edges
            .take_in(&arrived, service_graphs.rules(), |edges| {
                let mut ledger = Ledger::default();
                tables.apply(edges, service_graphs, &self.registry, now_ms, &mut ledger);
                self.metrics.settled(&ledger);
            });
        self.note_edges();
        if let Some(pending) = pending {
            let outcome = PushOutcome {
                spans,
                ..PushOutcome::default()
            };
            pending.applied(&outcome, now);
        }
        Ok(Acceptance::Spans(spans))
    }
}
