//! Every span is accounted for: the equation that holds at the end of each test.
//!
//! At the distributor, for every tenant: received = pushed + what was refused, by
//! reason. At the generator, for every tenant and processor: received = counted +
//! what was discarded, by reason, and for service graphs what waits for the other
//! half of its edge; there, what another generator handed over comes to what was
//! received. A reason counted under the processor `all` stands for each
//! processor. What was pushed was received; clients may also push to a
//! generator directly.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use crate::exposition::Exposition;

/// How many spans each processor counted, by tenant and processor, and how many were
/// discarded, by tenant and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    counted: BTreeMap<(String, String), u64>,
    discarded: BTreeMap<(String, String), u64>,
}

const DISTRIBUTOR_RECEIVED: &str = "spanmill_distributor_spans_received_total";
const PUSHED: &str = "spanmill_distributor_spans_pushed_total";
const REFUSED: &str = "spanmill_distributor_spans_refused_total";
const RECEIVED: &str = "spanmill_generator_spans_received_total";
const COUNTED: &str = "spanmill_generator_spans_counted_total";
const DISCARDED: &str = "spanmill_generator_spans_discarded_total";
const TAKEN_OVER: &str = "spanmill_generator_processor_service_graphs_spans_taken_over_total";
const WAITING: &str = "spanmill_generator_processor_service_graphs_waiting_spans";

impl Ledger {
    /// Checks the equation on a scrape of spanmill's own metrics.
    ///
    /// # Errors
    ///
    /// The first tenant and processor whose spans do not add up.
    pub fn check(metrics: &Exposition) -> anyhow::Result<Self> {
        let mut ledger = Self::default();
        let context = |tenant: &str| format!("the ledger of tenant {tenant} does not add up");
        for tenant in metrics.values_of(DISTRIBUTOR_RECEIVED, "tenant") {
            check_distributor(metrics, &tenant).with_context(|| context(&tenant))?;
        }
        for tenant in metrics.values_of(RECEIVED, "tenant") {
            ledger
                .check_tenant(metrics, &tenant)
                .with_context(|| context(&tenant))?;
        }
        Ok(ledger)
    }

    fn check_tenant(&mut self, metrics: &Exposition, tenant: &str) -> anyhow::Result<()> {
        let of_tenant = [("tenant", tenant)];
        let received = spans(metrics.sum(RECEIVED, &of_tenant))?;
        let mut processors: Vec<&str> = [COUNTED, DISCARDED]
            .iter()
            .flat_map(|name| metrics.select(name, &of_tenant))
            .filter_map(|sample| sample.labels.get("processor"))
            .map(String::as_str)
            .filter(|processor| *processor != "all")
            .collect();
        for sample in metrics.select(DISCARDED, &of_tenant) {
            let reason = sample.labels.get("reason").context("no reason")?;
            let key = (tenant.to_owned(), reason.clone());
            *self.discarded.entry(key).or_default() += spans(sample.value)?;
        }
        processors.sort_unstable();
        processors.dedup();
        let for_all = spans(metrics.sum(DISCARDED, &[("tenant", tenant), ("processor", "all")]))?;
        for processor in processors {
            let labels = [("tenant", tenant), ("processor", processor)];
            let counted = spans(metrics.sum(COUNTED, &labels))?;
            let discarded = spans(metrics.sum(DISCARDED, &labels))? + for_all;
            let (taken_over, waiting) = match processor {
                "service-graphs" => (
                    spans(metrics.sum(TAKEN_OVER, &of_tenant))?,
                    spans(metrics.sum(WAITING, &of_tenant))?,
                ),
                _ => (0, 0),
            };
            let received = received + taken_over;
            ensure!(
                received == counted + discarded + waiting,
                "{processor}: received {received}, counted {counted}, discarded {discarded}, waiting {waiting}"
            );
            self.counted
                .insert((tenant.to_owned(), processor.to_owned()), counted);
        }
        Ok(())
    }

    /// How many spans of `tenant` went into series of `processor`.
    #[must_use]
    pub fn counted(&self, tenant: &str, processor: &str) -> u64 {
        self.counted
            .get(&(tenant.to_owned(), processor.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// How many spans of `tenant` were discarded for `reason`.
    #[must_use]
    pub fn discarded(&self, tenant: &str, reason: &str) -> u64 {
        self.discarded
            .get(&(tenant.to_owned(), reason.to_owned()))
            .copied()
            .unwrap_or_default()
    }
}

fn check_distributor(metrics: &Exposition, tenant: &str) -> anyhow::Result<()> {
    let of_tenant = [("tenant", tenant)];
    let received = spans(metrics.sum(DISTRIBUTOR_RECEIVED, &of_tenant))?;
    let pushed = spans(metrics.sum(PUSHED, &of_tenant))?;
    let refused = spans(metrics.sum(REFUSED, &of_tenant))?;
    ensure!(
        received == pushed + refused,
        "distributor: received {received}, pushed {pushed}, refused {refused}"
    );
    let arrived = spans(metrics.sum(RECEIVED, &of_tenant))?;
    ensure!(
        arrived >= pushed,
        "distributor: pushed {pushed}, but the generator received {arrived}"
    );
    Ok(())
}

/// A number of spans from a sample, which must be a whole one.
fn spans(value: f64) -> anyhow::Result<u64> {
    ensure!(
        value >= 0.0 && value.fract() == 0.0 && value < 9e15,
        "{value} is no number of spans"
    );
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refused: u64, pushed: u64, counted: u64) -> anyhow::Result<Ledger> {
        let text = format!(
            "{DISTRIBUTOR_RECEIVED}{{tenant=\"a\"}} 12\n\
             {REFUSED}{{tenant=\"a\",reason=\"too_large\"}} {refused}\n\
             {PUSHED}{{tenant=\"a\"}} {pushed}\n\
             {RECEIVED}{{tenant=\"a\"}} 10\n\
             {DISCARDED}{{tenant=\"a\",processor=\"all\",reason=\"late\"}} 2\n\
             {DISCARDED}{{tenant=\"a\",processor=\"span-metrics\",reason=\"filtered\"}} 3\n\
             {COUNTED}{{tenant=\"a\",processor=\"span-metrics\"}} {counted}\n\
             {COUNTED}{{tenant=\"b\",processor=\"span-metrics\"}} 7\n"
        );
        Ledger::check(&Exposition::parse(&text)?)
    }

    #[test]
    fn reasons_of_the_processor_and_of_all_count_once_each() {
        let ledger = check(2, 10, 5).unwrap();
        assert_eq!(ledger.counted("a", "span-metrics"), 5);
        assert_eq!(ledger.discarded("a", "late"), 2);
        assert_eq!(ledger.discarded("a", "filtered"), 3);
        assert_eq!(ledger.discarded("a", "duplicate"), 0);
    }

    #[test]
    fn missing_spans_are_named_with_the_place_where_they_went() {
        for (refused, pushed, counted, want) in [
            (
                2,
                10,
                4,
                "span-metrics: received 10, counted 4, discarded 5, waiting 0",
            ),
            (1, 10, 5, "distributor: received 12, pushed 10, refused 1"),
            (
                1,
                11,
                5,
                "distributor: pushed 11, but the generator received 10",
            ),
        ] {
            let error = check(refused, pushed, counted).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                format!("the ledger of tenant a does not add up: {want}")
            );
        }
    }
}
