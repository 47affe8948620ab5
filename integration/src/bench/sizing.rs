//! The formulas of `docs/sizing.md` beside what is measured, at several sizes of each
//! thing that costs something.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::scenarios::{megabytes, setup};
use crate::sink::Sink;
use crate::subject::Subject;
use crate::table::Table;
use crate::{Args, progress};

const ACTIVE_SERIES: &str = "spanmill_generator_registry_active_series";
const SENT: &str = "spanmill_remote_write_samples_sent_total";

/// The constants of `docs/sizing.md`.
mod constants {
    /// CPU seconds a second of a process that does next to nothing.
    pub(super) const IDLE: f64 = 0.025;
    /// CPU seconds of a span, with span metrics, at moderate rates.
    pub(super) const SPAN: f64 = 1.0e-6;
    /// CPU seconds of a sample, from its collection to the receiver's answer.
    pub(super) const SAMPLE: f64 = 0.3e-6;
    /// CPU seconds of a tenant's collection and of the request that it makes.
    pub(super) const COLLECTION: f64 = 0.7e-3;
    /// Bytes of a process under load without series.
    pub(super) const BASE: f64 = 29e6;
    /// Bytes of a series.
    pub(super) const SERIES: f64 = 40.0;
    /// Bytes of a tenant with spans.
    pub(super) const TENANT: f64 = 52e3;
}

/// A load.
#[derive(Clone, Copy, Debug)]
struct Size {
    series: u64,
    tenants: u32,
    /// Spans a second.
    rate: u64,
}

/// What is varied: series, tenants, spans a second.
const SIZES: [Size; 7] = [
    Size {
        series: 10_000,
        tenants: 1,
        rate: 20_000,
    },
    Size {
        series: 100_000,
        tenants: 1,
        rate: 20_000,
    },
    Size {
        series: 500_000,
        tenants: 1,
        rate: 20_000,
    },
    Size {
        series: 2_000,
        tenants: 100,
        rate: 20_000,
    },
    Size {
        series: 200,
        tenants: 1_000,
        rate: 20_000,
    },
    Size {
        series: 50_000,
        tenants: 1,
        rate: 40_000,
    },
    Size {
        series: 50_000,
        tenants: 1,
        rate: 80_000,
    },
];

/// What a load takes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resources {
    /// CPU seconds a second.
    cores: f64,
    bytes: f64,
}

/// What of a load the formulas ask for.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// A second.
    spans: f64,
    /// A second.
    samples: f64,
    /// Of all tenants, a second.
    collections: f64,
    series: f64,
    tenants: f64,
}

/// What the formulas say.
fn formula(of: Terms) -> Resources {
    use constants::{BASE, COLLECTION, IDLE, SAMPLE, SERIES, SPAN, TENANT};
    Resources {
        cores: IDLE + of.spans * SPAN + of.samples * SAMPLE + of.collections * COLLECTION,
        bytes: BASE + of.series * SERIES + of.tenants * TENANT,
    }
}

/// Each size, one after the other.
pub(crate) async fn sizing(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    for size in SIZES {
        measure(args, size, table).await?;
    }
    Ok(())
}

async fn measure(args: &Args, size: Size, table: &mut Table) -> anyhow::Result<()> {
    const FILL: Duration = Duration::from_secs(6);
    let Size {
        series,
        tenants,
        rate,
    } = size;
    progress(&format!("sizing: {size:?}"));
    let sink = Sink::start().await?;
    let mut setup = setup(args, None, &sink);
    setup.multitenancy = true;
    let subject = Subject::start(&setup).await?;
    let endpoint = subject.otlp();
    let load = |rate, duration| Load {
        binary: &args.spangen,
        endpoint: &endpoint,
        series,
        churn: 0.0,
        rate,
        in_flight: 8,
        tenants: Some(tenants),
        duration,
        latency_log: None,
    };
    load(None, FILL).run().await?;
    let sent = subject.metric(SENT).await?;
    let (before, begin) = (subject.usage()?.cpu, Instant::now());
    let outcome = load(Some(rate), args.collection_interval * 2).run().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let usage = subject.usage()?;
    let active = subject.metric(ACTIVE_SERIES).await?;
    let samples = (subject.metric(SENT).await? - sent) / seconds;
    let spans = outcome.accepted as f64 / seconds;
    let tenants_now = f64::from(tenants);
    let said = formula(Terms {
        spans,
        samples,
        collections: tenants_now / args.collection_interval.as_secs_f64(),
        series: active,
        tenants: tenants_now,
    });
    let measured = Resources {
        cores: (usage.cpu - before).as_secs_f64() / seconds,
        bytes: usage.resident as f64,
    };
    let name = format!(
        "{tenants} tenants, {:.0} k series, {:.0} k spans/s",
        active / 1e3,
        spans / 1e3
    );
    let row = beside(measured.cores, said.cores, |cores| format!("{cores:.4}"));
    progress(&format!("sizing: {name}: cores {row}"));
    table.row(&format!("cores: {name}"), row, "+-20 %", "");
    let row = beside(measured.bytes, said.bytes, |bytes| megabytes(bytes as u64));
    progress(&format!("sizing: {name}: memory {row}"));
    table.row(&format!("memory: {name}"), row, "+-20 %", "");
    Ok(())
}

/// A measurement, what the formula says, and how far off that is.
fn beside(measured: f64, said: f64, show: impl Fn(f64) -> String) -> String {
    let off = (said / measured - 1.0) * 100.0;
    let (measured, said) = (show(measured), show(said));
    format!("{measured} measured, {said} by the formula ({off:+.0} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_add_a_term_for_each_thing() {
        let nothing = Terms {
            spans: 0.0,
            samples: 0.0,
            collections: 0.0,
            series: 0.0,
            tenants: 0.0,
        };
        let idle = Resources {
            cores: 0.025,
            bytes: 29e6,
        };
        assert_eq!(formula(nothing), idle);
        let some = Terms {
            spans: 1e5,
            samples: 1e5,
            collections: 100.0,
            series: 1e6,
            tenants: 1e3,
        };
        let Resources { cores, bytes } = formula(some);
        assert_eq!((cores * 1e3).round(), 25.0 + 100.0 + 30.0 + 70.0);
        assert_eq!(bytes, 29e6 + 40e6 + 52e6);
    }

    #[test]
    fn difference_is_that_of_the_formula() {
        let shown = beside(2.0, 1.5, |value| format!("{value}"));
        assert_eq!(shown, "2 measured, 1.5 by the formula (-25 %)");
    }
}
