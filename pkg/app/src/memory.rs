//! Keeps the process within its memory: whose spans are refused when it runs short.

mod machine;

use std::path::Path;
use std::time::Duration;

use generator::Generator;
use model::TenantId;
use prometheus_client::metrics::gauge::Gauge;
use server::Budget;
use settings::ByteSize;
use telemetry::MetricsRegistry;

use crate::process::Part;

/// How often it is looked how much the process has: series of a flood take some 100 MB a
/// second.
const LOOK: Duration = Duration::from_millis(250);

/// What is taken for granted where the machine does not say what it has.
const UNKNOWN_MACHINE: u64 = 1 << 30;

/// Memory of the process, all named `memory_*`.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryMetrics {
    limit: Gauge,
    resident: Gauge,
    in_flight: Gauge,
    throttled_tenants: Gauge,
}

/// What the process may take, and what happens before it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The setting, or nine tenths of what the machine gives.
    limit: u64,
    /// From here on those who take much are refused, first in part.
    soft: u64,
    /// From here on everyone is.
    hard: u64,
    /// What requests in flight may take of it.
    in_flight: u64,
}

impl Marks {
    /// Those of a limit, 0 being that of the machine.
    pub(crate) fn new(limit: ByteSize) -> Self {
        Self::of(match limit.as_u64() {
            0 => {
                let machine = machine::memory(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
                machine.unwrap_or(UNKNOWN_MACHINE) / 10 * 9
            }
            set => set,
        })
    }

    fn of(limit: u64) -> Self {
        Self {
            limit,
            soft: limit / 100 * 80,
            hard: limit / 100 * 95,
            in_flight: limit / 8,
        }
    }

    /// The memory that requests in flight share.
    pub(crate) fn budget(self) -> Budget {
        Budget::new(self.in_flight)
    }

    /// How much of what the process may take without refusing anything it takes; 1 is all.
    pub(crate) fn part_in_use(self) -> f64 {
        self.part(machine::resident(Path::new("/proc")))
    }

    fn part(self, resident: u64) -> f64 {
        resident as f64 / self.soft.max(1) as f64
    }

    /// How far between the marks: 0 or less up to the soft one, 1 from the hard one on.
    fn pressure(self, resident: u64) -> f64 {
        let above = resident.saturating_sub(self.soft) as f64;
        above / self.hard.saturating_sub(self.soft).max(1) as f64
    }
}

impl MemoryMetrics {
    /// Creates the metrics and registers each under its full name.
    pub(crate) fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("memory");
        for (name, help, gauge) in [
            (
                "limit_bytes",
                "What the process may take, by its setting or by nine tenths of the machine",
                &metrics.limit,
            ),
            (
                "resident_bytes",
                "What the process takes",
                &metrics.resident,
            ),
            (
                "in_flight_bytes",
                "What requests in flight take of it, as far as is known",
                &metrics.in_flight,
            ),
            (
                "throttled_tenants",
                "Tenants whose requests are refused, or some of them, because memory is short",
                &metrics.throttled_tenants,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        metrics
    }
}

/// Looks at the memory of the process until shutdown, and has requests refused while it
/// is short.
pub(crate) fn watch(
    marks: Marks,
    budget: Budget,
    generator: Option<Generator>,
    metrics: MemoryMetrics,
    background: &Part,
) {
    let shutdown = background.shutdown.clone();
    metrics.limit.set(gauge_value(marks.limit));
    background.tasks.spawn_thread("memory-watch", move || {
        let mut is_short = false;
        while !shutdown.wait_blocking(LOOK) {
            let resident = machine::resident(Path::new("/proc"));
            let pressure = marks.pressure(resident);
            let parts = match pressure > 0.0 {
                true => parts(pressure, held(generator.as_ref())),
                false => Vec::new(),
            };
            budget.throttle(&parts);
            if pressure >= 1.0 {
                budget.close();
            }
            metrics.resident.set(gauge_value(resident));
            metrics.in_flight.set(gauge_value(budget.used()));
            metrics
                .throttled_tenants
                .set(gauge_value(parts.len() as u64));
            // Not each time that it goes to and fro about the mark.
            let is_over = resident <= marks.soft / 10 * 9;
            if (is_short && is_over) || (!is_short && pressure > 0.0) {
                is_short = !is_short;
                tell(is_short, marks, resident, &parts);
            }
        }
    });
}

fn tell(is_short: bool, marks: Marks, resident: u64, parts: &[(TenantId, f64)]) {
    if !is_short {
        tracing::info!(resident, limit = marks.limit, "memory suffices again");
        return;
    }
    let largest = parts.first().map_or("", |(tenant, _)| tenant.as_str());
    tracing::warn!(
        resident,
        limit = marks.limit,
        largest,
        "memory is short: requests of tenants that take much of it are refused and may be sent \
         again"
    );
}

fn gauge_value(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What is kept for each tenant, in series and waiting spans, which take about the same.
fn held(generator: Option<&Generator>) -> Vec<(TenantId, u64)> {
    let standings = generator.map(Generator::standings).unwrap_or_default();
    standings
        .into_iter()
        .map(|(tenant, standing)| (tenant, standing.active_series + standing.waiting_spans))
        .collect()
}

/// Which part of whose requests is refused, those who hold most first.
///
/// Only who holds at least an equal share of all is among them: with a third of the
/// pressure that there can be, all of these are refused, and so nobody else ever has to be
/// as long as what they hold is what grows.
fn parts(pressure: f64, mut held: Vec<(TenantId, u64)>) -> Vec<(TenantId, f64)> {
    let all: u64 = held.iter().map(|(_, held)| held).sum();
    let tenants = held.len() as u64;
    held.retain(|(_, held)| *held > 0 && held.saturating_mul(tenants) >= all);
    held.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
    let over: u64 = held.iter().map(|(_, held)| held).sum();
    let mut left = over as f64 * 3.0 * pressure;
    let parts = held.into_iter().map(|(tenant, held)| {
        let part = (left / held as f64).clamp(0.0, 1.0);
        left -= held as f64;
        (tenant, part)
    });
    parts.take_while(|(_, part)| *part > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(of: &[(&str, u64)]) -> Vec<(TenantId, u64)> {
        of.iter()
            .map(|(tenant, held)| (TenantId::parse(tenant).unwrap(), *held))
            .collect()
    }

    fn refused(pressure: f64, of: &[(&str, u64)]) -> Vec<(String, f64)> {
        let parts = parts(pressure, held(of)).into_iter();
        parts
            .map(|(tenant, part)| (tenant.as_str().to_owned(), part))
            .collect()
    }

    fn named(of: &[(&str, f64)]) -> Vec<(String, f64)> {
        of.iter()
            .map(|(tenant, part)| ((*tenant).to_owned(), *part))
            .collect()
    }

    #[test]
    fn load_is_1_where_refusals_begin() {
        let marks = Marks::of(1_000);
        assert_eq!((marks.part(400), marks.part(800)), (0.5, 1.0));
        assert!(marks.pressure(800) <= 0.0 && marks.pressure(801) > 0.0);
    }

    #[test]
    fn marks_are_parts_of_the_limit() {
        let marks = Marks::new(ByteSize::bytes(1_000));
        let want = Marks {
            limit: 1_000,
            soft: 800,
            hard: 950,
            in_flight: 125,
        };
        assert_eq!(marks, want);
        assert_eq!(marks.pressure(700), 0.0);
        assert_eq!(marks.pressure(800), 0.0);
        assert_eq!(marks.pressure(875), 0.5);
        assert_eq!(marks.pressure(950), 1.0);
    }

    #[test]
    fn machine_gives_the_limit_where_none_is_set() {
        let marks = Marks::new(ByteSize::default());
        assert!(marks.limit > 100 << 20, "{marks:?}");
    }

    #[test]
    fn those_who_hold_most_are_refused_first_and_others_not_at_all() {
        let tenants = [("small", 10), ("large", 300), ("larger", 600), ("new", 0)];
        for (pressure, want) in [
            (0.1, named(&[("larger", 0.45)])),
            (0.25, named(&[("larger", 1.0), ("large", 0.25)])),
            (0.4, named(&[("larger", 1.0), ("large", 1.0)])),
            (2.0, named(&[("larger", 1.0), ("large", 1.0)])),
        ] {
            let found = refused(pressure, &tenants);
            assert_eq!(found.len(), want.len(), "{pressure}: {found:?}");
            for ((tenant, part), (name, wanted)) in found.iter().zip(&want) {
                assert_eq!(tenant, name);
                assert!((part - wanted).abs() < 1e-9, "{pressure}: {found:?}");
            }
        }
    }

    #[test]
    fn only_tenant_is_refused_by_degrees() {
        let found = refused(0.2, &[("only", 7)]);
        assert_eq!(found.len(), 1);
        assert!((found[0].1 - 0.6).abs() < 1e-9, "{found:?}");
        assert_eq!(refused(0.5, &[]), []);
    }
}
