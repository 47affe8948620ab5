//! Every span is accounted for: the equation that holds at the end of each test.
//!
//! For every tenant and processor: received = counted + what was discarded, by
//! reason. A reason counted under the processor `all` stands for each processor.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use crate::exposition::Exposition;

/// How many spans each processor counted, by tenant and processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    counted: BTreeMap<(String, String), u64>,
}

const RECEIVED: &str = "spanmill_generator_spans_received_total";
const COUNTED: &str = "spanmill_generator_spans_counted_total";
const DISCARDED: &str = "spanmill_generator_spans_discarded_total";

impl Ledger {
    /// Checks the equation on a scrape of spanmill's own metrics.
    ///
    /// # Errors
    ///
    /// The first tenant and processor whose spans do not add up.
    pub fn check(metrics: &Exposition) -> anyhow::Result<Self> {
        let mut ledger = Self::default();
        for tenant in metrics.values_of(RECEIVED, "tenant") {
            ledger
                .check_tenant(metrics, &tenant)
                .with_context(|| format!("the ledger of tenant {tenant} does not add up"))?;
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
        processors.sort_unstable();
        processors.dedup();
        let for_all = spans(metrics.sum(DISCARDED, &[("tenant", tenant), ("processor", "all")]))?;
        for processor in processors {
            let labels = [("tenant", tenant), ("processor", processor)];
            let counted = spans(metrics.sum(COUNTED, &labels))?;
            let discarded = spans(metrics.sum(DISCARDED, &labels))? + for_all;
            ensure!(
                received == counted + discarded,
                "{processor}: received {received}, counted {counted}, discarded {discarded}"
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
}

/// A number of spans from a sample, which must be a whole one.
fn spans(value: f64) -> anyhow::Result<u64> {
    ensure!(
        value >= 0.0 && value.fract() == 0.0 && value < 9e15,
        "{value} is no number of spans"
    );
    Ok(format!("{value:.0}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counted: u64) -> anyhow::Result<Ledger> {
        let text = format!(
            "{RECEIVED}{{tenant=\"a\"}} 10\n\
             {DISCARDED}{{tenant=\"a\",processor=\"all\",reason=\"late\"}} 2\n\
             {DISCARDED}{{tenant=\"a\",processor=\"span-metrics\",reason=\"filtered\"}} 3\n\
             {COUNTED}{{tenant=\"a\",processor=\"span-metrics\"}} {counted}\n\
             {COUNTED}{{tenant=\"b\",processor=\"span-metrics\"}} 7\n"
        );
        Ledger::check(&Exposition::parse(&text)?)
    }

    #[test]
    fn reasons_of_the_processor_and_of_all_count_once_each() {
        let ledger = check(5).unwrap();
        assert_eq!(ledger.counted("a", "span-metrics"), 5);
    }

    #[test]
    fn missing_span_is_named_with_its_processor() {
        let error = format!("{:#}", check(4).unwrap_err());
        assert_eq!(
            error,
            "the ledger of tenant a does not add up: span-metrics: received 10, counted 4, \
             discarded 5"
        );
    }
}
