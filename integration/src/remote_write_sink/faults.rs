//! Rules by which a sink answers otherwise than with 204.

use super::answer::Answer;
use super::received::Arrival;

/// Rules; the first that a request meets says how it is answered.
///
/// ```
/// use spanmill_integration::remote_write_sink::{Answer, Faults, When};
///
/// # fn main() -> anyhow::Result<()> {
/// let faults = Faults::new()
///     .on(When::request(1), Answer::status(500)?)
///     .on(When::any().holds("poison"), Answer::status(400)?)
///     .on(When::any().over_series(100), Answer::status(413)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    when: When,
    answer: Answer,
    met: usize,
}

/// Which requests a rule is for: those for which every condition holds.
#[derive(Clone, Debug)]
pub struct When {
    first: usize,
    last: usize,
    times: usize,
    tenant: Option<String>,
    metric: Option<String>,
    over_series: Option<usize>,
    over_bytes: Option<usize>,
}

impl Faults {
    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule after those there are.
    #[must_use]
    pub fn on(mut self, when: When, answer: Answer) -> Self {
        self.0.push(Rule {
            when,
            answer,
            met: 0,
        });
        self
    }

    /// How a request is answered, if it meets a rule.
    pub(super) fn answer(&mut self, arrival: &Arrival) -> Option<Answer> {
        let rule = self
            .0
            .iter_mut()
            .find(|rule| rule.met < rule.when.times && rule.when.is_met(arrival))?;
        rule.met += 1;
        Some(rule.answer.clone())
    }
}

impl When {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self {
            first: 1,
            last: usize::MAX,
            times: usize::MAX,
            tenant: None,
            metric: None,
            over_series: None,
            over_bytes: None,
        }
    }

    /// The request of this number, which are counted from 1 since the sink was
    /// started.
    #[must_use]
    pub fn request(number: usize) -> Self {
        Self {
            first: number,
            last: number,
            ..Self::any()
        }
    }

    /// The request of this number and all after it.
    #[must_use]
    pub fn from_request(number: usize) -> Self {
        Self {
            first: number,
            ..Self::any()
        }
    }

    /// At most so many requests, of those that meet the rest.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Requests of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// Requests with a series of this metric.
    #[must_use]
    pub fn holds(mut self, metric: &str) -> Self {
        self.metric = Some(metric.to_owned());
        self
    }

    /// Requests of more series than this.
    #[must_use]
    pub fn over_series(mut self, series: usize) -> Self {
        self.over_series = Some(series);
        self
    }

    /// Requests of more bytes than this, compressed as they are sent.
    #[must_use]
    pub fn over_bytes(mut self, bytes: usize) -> Self {
        self.over_bytes = Some(bytes);
        self
    }

    fn is_met(&self, arrival: &Arrival) -> bool {
        let is_over = |limit: Option<usize>, value| limit.is_none_or(|limit| value > limit);
        let is_tenants = self.tenant.as_ref().is_none_or(|t| *t == arrival.tenant);
        let has_metric = |name: &String| arrival.names().any(|found| found == name);
        (self.first..=self.last).contains(&arrival.number)
            && is_tenants
            && self.metric.as_ref().is_none_or(has_metric)
            && is_over(self.over_series, arrival.series.len())
            && is_over(self.over_bytes, arrival.bytes)
    }
}
