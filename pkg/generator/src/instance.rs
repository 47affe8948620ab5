//! One tenant's state inside one generator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use model::{Clock, Push, PushError, PushOutcome, SampleSink, TenantId};
use overrides::{LimiterType, Overrides, TenantConfig};
use parking_lot::{Mutex, MutexGuard};
use registry::{Collection, Consumer, Limits, Registry};
use remote_write::{TenantDestinations, TenantWriter};

use crate::collection::Discard;
use crate::ledger::Ledger;
use crate::metrics::TenantMetrics;
use crate::processors::service_graphs::EdgeStore;
use crate::processors::span_metrics::name_demand::CountingSink;
use crate::rates::Rates;
use crate::reading::Reading;
use crate::recognised::Recognised;
use crate::time_slack::TimeSlack;

mod leaving;
mod moving;
mod overview;
mod recognising;
mod relabelling;
mod saving;
mod settings;
mod shadow;

pub(crate) use self::moving::Acceptance;
use self::settings::Settings;
pub(crate) use self::shadow::Shadow;

const MILLIS_PER_MINUTE: i64 = 60_000;
/// A scrape so long ago no longer keeps exemplars for the next one.
const SCRAPER_GONE_MS: i64 = 5 * MILLIS_PER_MINUTE;

/// Who a tenant's series are of.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) tenant: TenantId,
    /// The label that may name the generator.
    pub(crate) instance_label: InstanceLabel,
}

/// The label that names the generator of a series (D24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLabel {
    /// Its name where a tenant's `registry.instance_label_name` is empty; empty for none.
    /// In a ring every series has one, so that no two generators write the same series.
    pub default_name: Arc<str>,
    /// The generator's instance id.
    pub value: Arc<str>,
}

/// One that only those tenants have that name it.
impl<T: Into<Arc<str>>> From<T> for InstanceLabel {
    fn from(value: T) -> Self {
        Self {
            default_name: Arc::default(),
            value: value.into(),
        }
    }
}

/// Which collection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// One of many.
    Regular,
    /// The last of the process.
    Last,
    /// The last of the tenant: every series ends.
    Leaving,
}

/// One tenant's state: its settings, processors and series.
#[derive(Debug)]
pub(crate) struct Instance {
    identity: Identity,
    clock: Clock,
    registry: Registry,
    edges: EdgeStore,
    settings: ArcSwap<Settings>,
    /// Held while settings change, and during a collection: a push never waits
    /// for it.
    serial: Mutex<()>,
    metrics: TenantMetrics,
    recognised: Option<Recognised>,
    writer: Option<TenantWriter>,
    last_sample_ms: AtomicI64,
    /// The external labels of the last collection.
    collected_labels: Mutex<Option<Vec<(String, String)>>>,
    /// When the first push since the last collection came; 0 if there was none.
    first_push_ms: AtomicI64,
    /// When it started, or the last collection that came after a push.
    active_ms: AtomicI64,
    last_scrape_ms: AtomicI64,
    /// Whether the last collection has been.
    is_stopped: AtomicBool,
    rates: Rates,
    /// When the last collection ended; 0 before the first.
    collected_ms: AtomicI64,
    /// A processor that is tried, if one is.
    shadow: ArcSwapOption<Shadow>,
}

impl Instance {
    /// Starts a tenant, with what its registry has already.
    pub(crate) fn new(
        identity: Identity,
        config: Arc<TenantConfig>,
        clock: Clock,
        metrics: TenantMetrics,
        recognised: Option<Recognised>,
        writer: Option<TenantWriter>,
        registry: Registry,
    ) -> Self {
        let now_ms = clock.unix_millis();
        let settings = Settings::new(&identity, config, &registry, None, now_ms);
        note_processors(&metrics, &settings);
        // Also after a crash no sample is older than one that was sent before (D9).
        let newest_ms = writer.as_ref().and_then(TenantWriter::newest_ms);
        Self {
            identity,
            clock,
            registry,
            edges: EdgeStore::default(),
            settings: ArcSwap::from_pointee(settings),
            serial: Mutex::new(()),
            metrics,
            recognised,
            writer,
            last_sample_ms: AtomicI64::new(newest_ms.unwrap_or(0)),
            collected_labels: Mutex::new(None),
            first_push_ms: AtomicI64::new(0),
            active_ms: AtomicI64::new(now_ms),
            last_scrape_ms: AtomicI64::new(i64::MIN),
            is_stopped: AtomicBool::new(false),
            rates: Rates::new(now_ms),
            collected_ms: AtomicI64::new(0),
            shadow: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn config(&self) -> Arc<TenantConfig> {
        Arc::clone(&self.settings.load().config)
    }

    pub(crate) fn external_labels(&self) -> Vec<(String, String)> {
        self.settings.load().external_labels.clone()
    }

    /// Takes changed settings into force for the spans that follow.
    pub(crate) fn update(&self, overrides: &Overrides) {
        if self.is_outdated(overrides) {
            self.change(overrides, self.serial.lock());
        }
    }

    /// The same for who must not wait: during a collection settings stay as they
    /// are.
    pub(crate) fn update_unless_collecting(&self, overrides: &Overrides) {
        if self.is_outdated(overrides)
            && let Some(serial) = self.serial.try_lock()
        {
            self.change(overrides, serial);
        }
    }

    fn is_outdated(&self, overrides: &Overrides) -> bool {
        let config = overrides.for_tenant(&self.identity.tenant);
        !Arc::ptr_eq(&self.settings.load().config, &config)
    }

    fn change(&self, overrides: &Overrides, _serial: MutexGuard<'_, ()>) {
        // Asked again, so that none who waited for the lock goes back to older ones.
        let config = overrides.for_tenant(&self.identity.tenant);
        let before = self.settings.load_full();
        if Arc::ptr_eq(&before.config, &config) {
            return;
        }
        self.registry.set_limits(limits(&config));
        if let Some(writer) = &self.writer {
            writer.set_destinations(&destinations(&config));
        }
        let now_ms = self.clock.unix_millis();
        let next = Settings::new(
            &self.identity,
            config,
            &self.registry,
            Some(&before),
            now_ms,
        );
        self.relabel(&before, &next, now_ms);
        let (was_on, is_on) = (
            before.service_graphs.is_some(),
            next.service_graphs.is_some(),
        );
        if !was_on {
            // Pushes that were under way when it was switched off left them.
            self.edges.clear();
        }
        note_processors(&self.metrics, &next);
        self.settings.store(Arc::new(next));
        if !is_on {
            self.edges.clear();
        }
        tracing::info!(tenant = %self.identity.tenant, "settings changed");
    }

    fn apply(&self, push: &Push) -> Result<PushOutcome, PushError> {
        let ledger = self.account(push)?;
        Ok(PushOutcome {
            spans: ledger.received,
            rejected_spans: ledger.rejected(),
            message: ledger.message(),
        })
    }

    /// Applies a push, and says what became of its spans.
    ///
    /// # Errors
    ///
    /// [`PushError::Malformed`]; then nothing was applied.
    pub(crate) fn account(&self, push: &Push) -> Result<Ledger, PushError> {
        let settings = self.settings.load();
        let now = self.clock.unix_nanos();
        let slack = TimeSlack::around(now, settings.config.ingestion_time_range_slack);
        let mut reading =
            Reading::of(&push.request, &settings.processors, slack).map_err(|error| {
                PushError::Malformed {
                    problem: error.to_string(),
                }
            })?;
        let now_ms = (now / 1_000_000) as i64;
        self.note_push(now_ms);
        if push.skip_metrics {
            reading.ledger = Ledger::skipped(reading.ledger.received);
        } else {
            settings.apply(&mut reading, &self.registry, &self.edges, now_ms);
            reading.note_processors_off();
            if let Some(shadow) = &*self.shadow.load() {
                shadow.apply(&push.request, slack, now_ms);
            }
        }
        let ledger = reading.ledger;
        self.metrics.pushed(push.request.len(), &ledger);
        self.note_edges();
        Ok(ledger)
    }

    /// Notes when the first push since the last collection came.
    fn note_push(&self, now_ms: i64) {
        if self.first_push_ms.load(Ordering::Relaxed) == 0 {
            // Another that came at the same time is as good.
            self.first_push_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Ends the edges that have waited for too long.
    pub(crate) fn expire_edges(&self) {
        self.account_expired();
    }

    /// The same; says what became of their spans.
    pub(crate) fn account_expired(&self) -> Ledger {
        let mut ledger = Ledger::default();
        let settings = self.settings.load();
        if let (Some(service_graphs), Some(tables)) = (
            &settings.processors.service_graphs,
            &settings.service_graphs,
        ) {
            let now_ms = self.clock.unix_millis();
            let edges = self.edges.expire(service_graphs.rules(), now_ms);
            tables.apply(&edges, service_graphs, &self.registry, now_ms, &mut ledger);
            self.metrics.settled(&ledger);
            self.note_edges();
            self.metrics.edge_store_bytes(self.edges.size());
        } else if self.edges.items() > 0 {
            self.edges.clear();
        }
        ledger
    }

    /// Spans that wait for their counterpart in the service graph.
    pub(crate) fn waiting_spans(&self) -> u64 {
        self.edges.waiting_spans()
    }

    /// Whether anything waits for the service graph.
    pub(crate) fn has_edges(&self) -> bool {
        self.edges.items() > 0
    }

    fn note_edges(&self) {
        let (items, waiting_spans) = (self.edges.items(), self.edges.waiting_spans());
        self.metrics.edges(items, waiting_spans);
    }

    /// Hands every series to remote write.
    pub(crate) fn collect(&self) {
        self.collect_once(Turn::Regular);
    }

    /// The same for the last time: later collections do nothing. Every series ends
    /// if the tenant wants that.
    pub(crate) fn collect_last(&self) {
        self.collect_once(Turn::Last);
    }

    /// Hands every series to remote write; says how many ended.
    fn collect_once(&self, turn: Turn) -> u64 {
        self.expire_edges();
        if let Some(recognised) = &self.recognised {
            recognised.forget(self.clock.unix_nanos());
        }
        let _serial = self.serial.lock();
        let is_last = turn != Turn::Regular;
        if self.is_stopped.fetch_or(is_last, Ordering::Relaxed) {
            return 0;
        }
        let settings = self.settings.load();
        let pushed_ms = self.first_push_ms.swap(0, Ordering::Relaxed);
        let config = &settings.config.registry;
        let ends = match turn {
            Turn::Regular => false,
            Turn::Last => config.stale_on_shutdown,
            Turn::Leaving => true,
        };
        let ended = match &self.writer {
            Some(writer) if !config.disable_collection => {
                self.end_former_labels(writer, &settings);
                let mut append =
                    writer.append(&settings.external_labels, &config.trace_id_label_name);
                append.pushed_since(pushed_ms);
                let ended = self.collect_to_the_end(&settings, ends, &mut append);
                append.commit();
                ended
            }
            // Idle series end whoever listens.
            _ => self.collect_to_the_end(&settings, ends, &mut Discard),
        };
        let limits = limits(&settings.config);
        let labels = self.registry.label_stats();
        self.metrics
            .collected(self.registry.stats(), limits, &labels);
        let now_ms = self.clock.unix_millis();
        self.rates.note(now_ms, self.metrics.received());
        self.collected_ms.store(now_ms, Ordering::Relaxed);
        if pushed_ms != 0 {
            self.active_ms.store(now_ms, Ordering::Relaxed);
        }
        ended
    }

    /// Ends the series under the external labels that they had, if those have changed.
    fn end_former_labels(&self, writer: &TenantWriter, settings: &Settings) {
        let mut collected = self.collected_labels.lock();
        let former = collected.replace(settings.external_labels.clone());
        let Some(former) = former.filter(|former| *former != settings.external_labels) else {
            return;
        };
        let label = &settings.config.registry.trace_id_label_name;
        let mut append = writer.append(&former, label);
        let last_ms = self.last_sample_ms.load(Ordering::Relaxed);
        let now_ms = self.clock.unix_millis().max(last_ms + 1);
        self.registry.write_ends(now_ms, &mut append);
        append.commit();
    }

    /// Says how many series ended.
    fn collect_to_the_end(
        &self,
        settings: &Settings,
        ends: bool,
        sink: &mut impl SampleSink,
    ) -> u64 {
        if ends {
            // A series ends after its last value, not in place of it.
            self.collect_into(settings, false, sink);
        }
        self.collect_into(settings, ends, sink)
    }

    /// The same; of a series that ends there is no value.
    fn collect_into(&self, settings: &Settings, ends: bool, sink: &mut impl SampleSink) -> u64 {
        // Samples of a series never share a timestamp, even if the clock stands.
        let last_ms = self.last_sample_ms.load(Ordering::Relaxed);
        let now_ms = self.clock.unix_millis().max(last_ms + 2);
        let stale = settings.config.registry.stale_duration.as_millis();
        let stale = i64::try_from(stale).unwrap_or(i64::MAX);
        let scraped_ms = self.last_scrape_ms.load(Ordering::Relaxed);
        let is_scraped = scraped_ms > now_ms.saturating_sub(SCRAPER_GONE_MS);
        let consumers = match (self.writer.is_some(), is_scraped) {
            (true, true) => &[Consumer::RemoteWrite, Consumer::Scrape][..],
            (true, false) => &[Consumer::RemoteWrite],
            (false, _) => &[Consumer::Scrape],
        };
        let mut sink = CountingSink::new(settings.names(), sink);
        let collected = self.registry.collect(
            Collection {
                now_ms,
                zero_ms: zero_ms(now_ms, last_ms),
                idle_since_ms: if ends {
                    i64::MAX
                } else {
                    now_ms.saturating_sub(stale)
                },
                consumers,
            },
            &mut sink,
        );
        if let Some(stats) = sink.finish(now_ms, stale) {
            self.metrics.names(stats);
        }
        self.last_sample_ms.store(now_ms, Ordering::Relaxed);
        collected.ended
    }

    /// Notes a scrape, and returns its time.
    pub(crate) fn scraped(&self) -> i64 {
        self.expire_edges();
        let now_ms = self.clock.unix_millis();
        self.last_scrape_ms.store(now_ms, Ordering::Relaxed);
        now_ms
    }
}

/// Where a tenant's samples go, by its settings.
pub fn destinations(config: &TenantConfig) -> TenantDestinations {
    TenantDestinations {
        endpoints: Arc::clone(&config.remote_write),
        headers: config.remote_write_headers.clone(),
    }
}

/// When the zero before the first value of a series is: at the end of the
/// minute before, but after all that was sent, and before the value (D9).
fn zero_ms(now_ms: i64, last_ms: i64) -> i64 {
    let end_of_last_minute = now_ms - now_ms.rem_euclid(MILLIS_PER_MINUTE) - 1_000;
    end_of_last_minute.max(last_ms + 1).min(now_ms - 1)
}

fn note_processors(metrics: &TenantMetrics, settings: &Settings) {
    metrics.processors(
        settings.processors.span_metrics.is_some(),
        settings.processors.service_graphs.is_some(),
        settings.processors.host_info.is_some(),
    );
    if settings.names().is_none() {
        metrics.names_off();
    }
}

/// The limits of a tenant's registry, by its settings.
pub fn limits(config: &TenantConfig) -> Limits {
    let registry = &config.registry;
    let (max_active_series, max_active_entities) = match registry.limiter_type {
        LimiterType::Series => (registry.max_active_series, 0),
        LimiterType::Entity => (0, registry.max_active_entities),
    };
    Limits {
        max_active_series,
        max_active_entities,
        max_cardinality_per_label: registry.max_cardinality_per_label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_comes_between_the_last_sample_and_the_first_value() {
        for (now_ms, last_ms, want) in [
            (125_000, 0, 119_000),
            (125_000, 118_000, 119_000),
            (125_000, 119_000, 119_001),
            (125_000, 124_999, 124_999),
            (120_000, 0, 119_000),
        ] {
            assert_eq!(zero_ms(now_ms, last_ms), want, "{now_ms} {last_ms}");
        }
    }
}
