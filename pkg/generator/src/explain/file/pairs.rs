//! Which spans make an edge together, found by trying.

use super::{Explainer, SERVICE_GRAPHS, first, of_edges};
use crate::explain::series::{Totals, changed};
use crate::explain::trial::Trial;
use crate::explain::{ExplainError, ExplainedProcessor, ReachedSeries, Verdict};
use crate::ledger::{DiscardReason, Ledger, ProcessorLedger};

/// What becomes of a span that has no other.
struct Alone {
    /// At once; `None` if it waits.
    at_once: Option<Verdict>,
    /// When it has waited for long enough.
    later: Verdict,
    /// The series that it changes then.
    series: Vec<ReachedSeries>,
}

/// What a span does after others.
struct Reaction {
    ledger: ProcessorLedger,
    series: Vec<ReachedSeries>,
}

impl Explainer<'_, '_> {
    /// Says what became of the span that was pushed last, and of those that waited for
    /// it. `waiting` spans waited before.
    pub(super) fn pair(
        &mut self,
        place: usize,
        ledger: &Ledger,
        waiting: u64,
    ) -> Result<(), ExplainError> {
        let now = of_edges(ledger);
        let alone = self.alone(place)?;
        let is_full = now.discarded.of(DiscardReason::StoreFull) > 0;
        let own_waits = alone.at_once.is_none() && !is_full;
        // Those that do not wait any more; itself, if it should wait and does not.
        let settled = (waiting + u64::from(own_waits)).saturating_sub(self.shared.waiting());
        let partners = match settled {
            0 => Vec::new(),
            _ => self.partners(place, &alone)?,
        };
        let mut own = alone
            .at_once
            .or(is_full.then(|| discarded(DiscardReason::StoreFull)));
        if own == Some(Verdict::Counted) && now.counted == 0 {
            // What would be complete by itself goes with a counterpart that was filtered.
            own = None;
        }
        let mut with = Vec::new();
        for (partner, reaction) in partners {
            let verdict = reaction.of_partner(&alone);
            if verdict == Verdict::Counted {
                with.push(partner + 1);
            }
            if own.is_none() && reaction.ledger.counted > 1 {
                own = Some(Verdict::Counted);
            }
            self.waiting.retain(|waiting| *waiting != partner);
            if let Some(other) = self.edges_of(partner) {
                other.verdict = verdict;
                other.waits = false;
                if verdict == Verdict::Counted {
                    other.with.push(place + 1);
                    other.series.extend(reaction.series);
                }
            }
        }
        if own.is_none() && now.discarded.of(DiscardReason::ServiceGraphsFiltered) > 0 {
            own = Some(discarded(DiscardReason::ServiceGraphsFiltered));
        }
        if own.is_none() {
            self.waiting.push(place);
        }
        if let Some(edges) = self.edges_of(place) {
            edges.waits = own.is_none();
            edges.verdict = own.unwrap_or(alone.later);
            edges.with = with;
        }
        Ok(())
    }

    /// Says what becomes of spans that still wait.
    pub(super) fn expire(&mut self) -> Result<(), ExplainError> {
        self.shared.expire(self.last_unix_nanos);
        let reached = changed(&self.totals, &self.shared.totals());
        for place in std::mem::take(&mut self.waiting) {
            let alone = self.alone(place)?;
            let (own, overflow): (Vec<_>, Vec<_>) = alone
                .series
                .into_iter()
                .partition(|series| reached.contains(series));
            if let Some(edges) = self.edges_of(place) {
                edges.series.extend(own);
                // What a limit refuses goes to series of its metric that all share.
                for refused in overflow {
                    let shared = reached.iter().filter(|series| {
                        series.metric == refused.metric
                            && series.labels.contains_key(super::OVERFLOW)
                    });
                    edges.series.extend(shared.cloned());
                }
            }
        }
        Ok(())
    }

    fn edges_of(&mut self, place: usize) -> Option<&mut ExplainedProcessor> {
        let processors = &mut self.explained.get_mut(place)?.processors;
        let mut processors = processors.iter_mut();
        processors.find(|processor| processor.processor == SERVICE_GRAPHS)
    }

    fn alone(&self, place: usize) -> Result<Alone, ExplainError> {
        let trial = Trial::new(self.question);
        let ledger = of_edges(&self.retry(&trial, place)?);
        let at_once = match (trial.waiting(), first(&ledger.discarded)) {
            (1.., _) => None,
            (0, Some(reason)) => Some(discarded(reason)),
            (0, None) => Some(Verdict::Counted),
        };
        let before = trial.totals();
        let expired = of_edges(&trial.expire(self.last_unix_nanos));
        let later = match first(&expired.discarded) {
            Some(reason) => discarded(reason),
            None => Verdict::Counted,
        };
        Ok(Alone {
            at_once,
            later,
            series: changed(&before, &trial.totals()),
        })
    }

    /// The spans that waited for the span at a place, each with what it did to it.
    fn partners(
        &self,
        place: usize,
        alone: &Alone,
    ) -> Result<Vec<(usize, Reaction)>, ExplainError> {
        let mut partners = Vec::new();
        let candidates = self.candidates(place);
        for candidate in candidates.iter().copied() {
            let reaction = self.reaction(&[candidate], place)?;
            if reaction.has_partner(alone) {
                partners.push((candidate, reaction));
            }
        }
        if !partners.is_empty() || !self.question.config.service_graphs.bridge_internal_spans {
            return Ok(partners);
        }
        // Internal spans may lie between.
        let internal = self.internal_spans(place);
        for candidate in candidates.iter().copied() {
            let mut before = internal.clone();
            before.push(candidate);
            before.sort_unstable();
            let reaction = self.reaction(&before, place)?;
            if reaction.has_partner(alone) {
                partners.push((candidate, reaction));
            }
        }
        if !partners.is_empty() {
            return Ok(partners);
        }
        // It is one of these itself, between two that waited.
        for (at, one) in candidates.iter().enumerate() {
            for other in candidates.iter().skip(at + 1) {
                let mut before = internal.clone();
                before.extend([*one, *other]);
                before.sort_unstable();
                let reaction = self.reaction(&before, place)?;
                if reaction.ledger.counted > 1 {
                    let series = reaction.series.clone();
                    let ledger = reaction.ledger;
                    return Ok(vec![
                        (*one, reaction),
                        (*other, Reaction { ledger, series }),
                    ]);
                }
            }
        }
        Ok(partners)
    }

    /// Those that wait and may be counterparts of a span: of its trace, unless links lead
    /// to another.
    fn candidates(&self, place: usize) -> Vec<usize> {
        let trace = |place: usize| self.explained.get(place).map(|span| &span.trace_id);
        let is_linked = self.question.config.service_graphs.use_span_links;
        let waiting = self.waiting.iter().copied();
        waiting
            .filter(|waiting| is_linked || trace(*waiting) == trace(place))
            .collect()
    }

    /// The internal spans of its trace that came before a span.
    fn internal_spans(&self, place: usize) -> Vec<usize> {
        let trace = self.explained.get(place).map(|span| &span.trace_id);
        let spans = self.explained.iter().take(place).enumerate();
        spans
            .filter(|(_, span)| {
                Some(&span.trace_id) == trace
                    && span.refused.is_none()
                    && span.kind == "SPAN_KIND_INTERNAL"
            })
            .map(|(place, _)| place)
            .collect()
    }

    fn reaction(&self, before: &[usize], place: usize) -> Result<Reaction, ExplainError> {
        let trial = Trial::new(self.question);
        for place in before {
            self.retry(&trial, *place)?;
        }
        let totals: Totals = trial.totals();
        let ledger = of_edges(&self.retry(&trial, place)?);
        let mut series = changed(&totals, &trial.totals());
        series.retain(|series| series.metric.starts_with(super::OF_EDGES));
        Ok(Reaction { ledger, series })
    }

    /// Pushes a span to another tenant.
    fn retry(&self, trial: &Trial<'_>, place: usize) -> Result<Ledger, ExplainError> {
        let (Some(single), Some(explained)) = (self.singles.get(place), self.explained.get(place))
        else {
            return Ok(Ledger::default());
        };
        trial.push(single, explained.now_unix_nanos)
    }
}

impl Reaction {
    /// Whether more than the span itself was settled, or another in its place.
    fn has_partner(&self, alone: &Alone) -> bool {
        let reasons = [
            DiscardReason::Replaced,
            DiscardReason::ServiceGraphsFiltered,
        ];
        let of_others = reasons.map(|reason| self.ledger.discarded.of(reason));
        let settled = self.ledger.counted + of_others.into_iter().sum::<u64>();
        let own = match alone.at_once {
            Some(Verdict::Counted) => 1,
            Some(verdict) => u64::from(verdict == discarded(DiscardReason::ServiceGraphsFiltered)),
            None => 0,
        };
        settled > own
    }

    /// What became of the other.
    fn of_partner(&self, alone: &Alone) -> Verdict {
        if self.ledger.discarded.of(DiscardReason::Replaced) > 0 {
            return discarded(DiscardReason::Replaced);
        }
        let counted = self.ledger.counted;
        let own = u64::from(alone.at_once == Some(Verdict::Counted));
        match counted > own {
            true => Verdict::Counted,
            false => discarded(DiscardReason::ServiceGraphsFiltered),
        }
    }
}

fn discarded(reason: DiscardReason) -> Verdict {
    Verdict::Discarded(reason.into())
}
