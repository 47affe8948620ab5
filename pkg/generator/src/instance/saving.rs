//! What a planned stop keeps of a tenant, and how it goes on with it (D34).

use std::io::{self, BufRead, Write};
use std::sync::atomic::Ordering;

use registry::{RestoreError, SnapshotHeader, SnapshotStats};
use xxhash_rust::xxh3::xxh3_64;

use super::{Instance, Settings};
use crate::ledger::Ledger;

impl Instance {
    /// Whether a planned stop keeps the tenant's series, and does not end them.
    pub(crate) fn is_kept(&self) -> bool {
        !self.config().registry.stale_on_shutdown
    }

    /// Writes the tenant's series. After the last collection nothing changes them.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub(crate) fn save(&self, out: impl Write) -> io::Result<SnapshotStats> {
        let header = SnapshotHeader {
            tenant: self.identity.tenant.clone(),
            saved_ms: self.clock.unix_millis(),
            last_sample_ms: self.last_sample_ms.load(Ordering::Relaxed),
            labelling: self.settings.load().labelling_hash(),
        };
        self.registry.save(&header, out)
    }

    /// Goes on where the instance ended that saved the registry of this one.
    pub(crate) fn resume(&self, header: &SnapshotHeader) {
        self.last_sample_ms
            .fetch_max(header.last_sample_ms, Ordering::Relaxed);
        let settings = self.settings.load();
        if settings.labelling_hash() == header.labelling {
            return;
        }
        self.relabel_restored(&settings);
    }
}

impl Instance {
    /// Writes the spans that wait for their counterpart in the service graph, and
    /// gives how many items they are.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub(crate) fn save_edges(&self, out: impl Write) -> io::Result<u64> {
        self.edges.save(self.clock.unix_millis(), out)
    }

    /// Lets what [`save_edges`](Self::save_edges) wrote wait on.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; then nothing waits.
    pub(crate) fn restore_edges(&self, input: impl BufRead) -> Result<(), RestoreError> {
        let settings = self.settings.load();
        if let (Some(service_graphs), Some(tables)) = (
            &settings.processors.service_graphs,
            &settings.service_graphs,
        ) {
            let now_ms = self.clock.unix_millis();
            self.edges
                .restore(input, service_graphs.rules(), now_ms, |edges| {
                    let mut ledger = Ledger::default();
                    tables.apply(edges, service_graphs, &self.registry, now_ms, &mut ledger);
                    self.metrics.settled(&ledger);
                })?;
            self.note_edges();
        }
        Ok(())
    }
}

impl Settings {
    /// Names which labels the series of all tables can have.
    fn labelling_hash(&self) -> u64 {
        let labellings = self.labellings().map(|(_, labelling)| labelling);
        // Sets are ordered: equal ones have equal texts.
        xxh3_64(format!("{labellings:?}").as_bytes())
    }
}
