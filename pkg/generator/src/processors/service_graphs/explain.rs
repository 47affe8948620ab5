//! The rules of service graphs in words.

use otlp::Span;
use overrides::TenantConfig;

use super::half_edge::{HalfEdge, Role};
use super::{Outcome, ServiceGraphs};
use crate::attributes::Values;
use crate::explain::{Rule, hex, shown};

impl ServiceGraphs {
    /// What each rule finds for a span, in the order in which they apply.
    pub(crate) fn explain(
        &self,
        config: &TenantConfig,
        span: &Span<'_>,
        values: Values<'_, '_>,
    ) -> Vec<Rule> {
        let mut scratch = Vec::new();
        let side = self.resource_side(values, &mut scratch);
        let outcome = self.process(span, values, side, &mut scratch, &mut false);
        let settings = &config.service_graphs;
        let role = |role: &str| Rule::new("kind", role.to_owned());
        let half = match outcome {
            Outcome::OtherKind => return vec![role("is no side of a call: refused")],
            Outcome::Bridge(_) => {
                return vec![role("internal: no side of a call, but it bridges two")];
            }
            Outcome::NoService => {
                let finding = "the resource has none: refused";
                return vec![Rule::new("resource service.name", finding)];
            }
            Outcome::Half(half) | Outcome::Linked(half) => half,
        };
        let mut rules = vec![role(match (half.role, half.is_messaging) {
            (Role::Client, false) => "client: the calling side of an edge",
            (Role::Client, true) => "producer: the calling side of an edge",
            (Role::Server, false) => "server: the called side of an edge",
            (Role::Server, true) => "consumer: the called side of an edge",
            (Role::Internal, _) => "internal",
        })];
        if let Some(name) = values.in_resource(self.service_name) {
            rules.push(Rule::new(
                "resource service.name",
                format!("is {}", shown(name)),
            ));
        }
        let policies = &settings.filter_policies;
        rules.extend(self.filter.explain(policies, span, values));
        if half.is_filtered {
            return rules;
        }
        let weight = self.multiplier.weight(span, values);
        rules.push(weight.explain(
            &settings.span_multiplier_key,
            settings.enable_tracestate_span_multiplier,
        ));
        for (key, dimension) in settings.dimensions.iter().zip(&self.dimensions) {
            let value = values.dimension(dimension.key).map(shown);
            let value = value.map_or("is not there".to_owned(), |value| format!("is {value}"));
            rules.push(Rule::new(format!("dimension {key}"), value));
        }
        if matches!(outcome, Outcome::Linked(_)) {
            let finding = "has links: an edge from each span that it is linked to";
            rules.push(Rule::new("use_span_links", finding));
        }
        rules.push(Rule::new("edge", key(&half)));
        self.explain_peer(&half, config, values, &mut rules);
        rules
    }

    /// Who the other side is, if it does not come.
    fn explain_peer(
        &self,
        half: &HalfEdge,
        config: &TenantConfig,
        values: Values<'_, '_>,
        rules: &mut Vec<Rule>,
    ) {
        let settings = &config.service_graphs;
        if half.role == Role::Client && half.is_database {
            let waits = match settings.database_wait_for_server {
                true => "; it waits for the database's own span",
                false => ": the edge is complete",
            };
            let finding = format!("a call of a database{waits}");
            rules.push(Rule::new("database_name_attributes", finding));
        }
        if half.role == Role::Client || half.is_root {
            let peer = self.peers.peer(values).map(shown);
            let keys = settings.peer_attributes.join(", ");
            let finding = match (peer, half.is_root) {
                (Some(peer), true) => format!("{keys} is {peer}, the client"),
                (None, true) => format!("none of {keys} is there: the client is \"user\""),
                (Some(peer), false) => {
                    format!("{keys} is {peer}, the server if none comes")
                }
                (None, false) => format!("none of {keys} is there"),
            };
            rules.push(Rule::new("peer_attributes", finding));
        }
    }
}

/// Which edge it is half of.
fn key(half: &HalfEdge) -> String {
    let (trace, span) = (hex(&half.key.trace_id), hex(&half.key.span_id));
    match half.role {
        _ if half.is_root => format!("root of trace {trace}: its client is not traced"),
        Role::Client => format!("of span {span} in trace {trace}, to those whose parent it is"),
        Role::Server | Role::Internal => format!("of its parent {span} in trace {trace}"),
    }
}
