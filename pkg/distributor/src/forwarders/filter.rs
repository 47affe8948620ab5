//! Spans and events that a forwarder leaves out.

use bytes::Bytes;
use otlp::rewrite::{Keep, copy_fields};
use otlp::view::Event;
use otlp::{Request, ResourceSpans, ScopeSpans, Span, WireError};

use super::ottl::{Condition, Subject};

/// What is left out: spans and events for which any condition holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) spans: Vec<Condition>,
    pub(crate) events: Vec<Condition>,
}

/// What is left of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// The request as it came, unless something was left out; `None` if no span is left.
    pub(crate) request: Option<Bytes>,
    /// Spans that were left out.
    pub(crate) dropped_spans: u64,
}

impl Filter {
    /// Leaves out what is to be left out. What cannot be read stays.
    pub(crate) fn apply(&self, request: &Bytes) -> Filtered {
        let mut rewriting = Rewriting {
            filter: self,
            kept: 0,
            dropped_spans: 0,
            dropped_events: 0,
        };
        let unchanged = Filtered {
            request: Some(request.clone()),
            dropped_spans: 0,
        };
        if self.spans.is_empty() && self.events.is_empty() {
            return unchanged;
        }
        let Ok(rewritten) = rewriting.request(request) else {
            return unchanged;
        };
        if rewriting.dropped_spans == 0 && rewriting.dropped_events == 0 {
            return unchanged;
        }
        Filtered {
            request: (rewriting.kept > 0).then(|| rewritten.into()),
            dropped_spans: rewriting.dropped_spans,
        }
    }
}

struct Rewriting<'f> {
    filter: &'f Filter,
    kept: u64,
    dropped_spans: u64,
    dropped_events: u64,
}

impl Rewriting<'_> {
    fn request(&mut self, request: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(request.len());
        copy_fields(request, 1, &mut out, |message, out| {
            let before = self.kept;
            // A resource is a view of a whole message only.
            let resource = ResourceSpans::new(message);
            copy_fields(message, 2, out, |message, out| {
                self.scope(resource, message, out)
            })?;
            Ok(self.keep_since(before))
        })?;
        Ok(out)
    }

    fn scope(
        &mut self,
        resource: ResourceSpans<'_>,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Keep, WireError> {
        let before = self.kept;
        let scope = ScopeSpans::new(message);
        copy_fields(message, 2, out, |message, out| {
            let Ok(span) = Span::parse(message) else {
                out.extend_from_slice(message);
                self.kept += 1;
                return Ok(Keep::Yes);
            };
            let subject = Subject {
                resource,
                scope,
                span,
                event: Event::default(),
            };
            if holds_any(&self.filter.spans, &subject) {
                self.dropped_spans += 1;
                return Ok(Keep::No);
            }
            self.kept += 1;
            self.events(&subject, out)
        })?;
        Ok(self.keep_since(before))
    }

    fn events(&mut self, subject: &Subject<'_>, out: &mut Vec<u8>) -> Result<Keep, WireError> {
        if self.filter.events.is_empty() {
            out.extend_from_slice(subject.span.message);
            return Ok(Keep::Yes);
        }
        copy_fields(subject.span.message, 11, out, |message, out| {
            let is_dropped = Event::parse(message).is_ok_and(|event| {
                let subject = Subject { event, ..*subject };
                holds_any(&self.filter.events, &subject)
            });
            if is_dropped {
                self.dropped_events += 1;
                return Ok(Keep::No);
            }
            out.extend_from_slice(message);
            Ok(Keep::Yes)
        })
    }

    /// What is around spans goes with the last of them.
    fn keep_since(&self, before: u64) -> Keep {
        match self.kept > before {
            true => Keep::Yes,
            false => Keep::No,
        }
    }
}

fn holds_any(conditions: &[Condition], subject: &Subject<'_>) -> bool {
    conditions.iter().any(|condition| condition.holds(subject))
}

/// The spans of a request, for who counts what is not sent.
pub(crate) fn spans_of(request: &[u8]) -> u64 {
    let mut spans = 0;
    for resource in Request::new(request).resource_spans().map_while(Result::ok) {
        for scope in resource.scope_spans().map_while(Result::ok) {
            spans += scope.spans().map_while(Result::ok).count() as u64;
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::otlp::trace::span::Event;

    use super::super::ottl::Context;
    use super::*;
    use crate::testing::{request, span};

    fn filter(spans: &[&str], events: &[&str]) -> Filter {
        let all = |texts: &[&str], context| {
            texts
                .iter()
                .map(|text| Condition::parse(text, context).unwrap())
                .collect()
        };
        Filter {
            spans: all(spans, Context::Span),
            events: all(events, Context::SpanEvent),
        }
    }

    #[test]
    fn what_no_condition_describes_stays_as_it_came() {
        let sent = Bytes::from(request(vec![span("a"), span("b")]).encode_to_vec());
        for filter in [
            filter(&[], &[]),
            filter(&["name == \"x\""], &["name == \"x\""]),
        ] {
            let left = filter.apply(&sent).request.unwrap();
            assert_eq!(left.as_ptr(), sent.as_ptr());
        }
    }

    #[test]
    fn spans_and_events_for_which_a_condition_holds_are_left_out() {
        let event = |name: &str| Event {
            name: name.to_owned(),
            ..Event::default()
        };
        let mut kept = span("c");
        kept.events = vec![event("noise"), event("news")];
        let mut sent = request(vec![span("a"), span("b"), kept.clone()]);
        let empty = request(vec![span("b")]).resource_spans.remove(0);
        sent.resource_spans.push(empty);
        let filter = filter(&["name == \"a\"", "name == \"b\""], &["name == \"noise\""]);
        let filtered = filter.apply(&sent.encode_to_vec().into());
        kept.events.remove(0);
        assert_eq!(
            filtered,
            Filtered {
                request: Some(request(vec![kept]).encode_to_vec().into()),
                dropped_spans: 3,
            }
        );
        let nothing = filter.apply(&request(vec![span("a")]).encode_to_vec().into());
        assert_eq!((nothing.request, nothing.dropped_spans), (None, 1));
    }
}
