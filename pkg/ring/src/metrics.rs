//! Metrics of the ring, all named `ring_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use strum::{IntoEnumIterator as _, VariantArray as _};
use telemetry::MetricsRegistry;

use crate::gossip::MemberStatus;
use crate::gossip::frame::Refusal;
use crate::member::{Member, MemberState, Role};

/// The state of a member that is not alive, whatever it says.
const DEAD: &str = "dead";

/// Metrics of the ring.
///
/// Cloning is cheap and shares the underlying counters.
#[derive(Clone, Debug, Default)]
pub struct RingMetrics {
    members: Family<ByStateAndRole, Gauge>,
    changes: Counter,
    own_state: Family<ByState, Gauge>,
    own_tokens: Gauge,
    desired_generators: Gauge,
    duplicate: Gauge,
    protocol: Gauge,
    gossip_datagrams: Family<ByDirection, Counter>,
    gossip_bytes: Family<ByDirection, Counter>,
    gossip_refused: Family<ByReason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStateAndRole {
    state: &'static str,
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

impl RingMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        for reason in Refusal::iter() {
            metrics.refused(reason, 0);
        }
        let registry = registry.sub_registry_with_prefix("ring");
        registry.register(
            "members",
            "Members that this node knows, by what they do and what they take; dead ones are silent",
            metrics.members.clone(),
        );
        registry.register(
            "changes",
            "Changes of the member list that can move traffic",
            metrics.changes.clone(),
        );
        registry.register(
            "own_state",
            "1 for the state in which this node is",
            metrics.own_state.clone(),
        );
        registry.register(
            "own_tokens",
            "Tokens that this node takes traffic for",
            metrics.own_tokens.clone(),
        );
        registry.register(
            "desired_generators",
            "Generators that would be loaded to 70 % each by what the active ones do now",
            metrics.desired_generators.clone(),
        );
        registry.register(
            "duplicate_instance_id",
            "1 if another node has the instance_id of this one",
            metrics.duplicate.clone(),
        );
        registry.register(
            "protocol",
            "The latest version of the protocol between nodes that all live members speak; 0 if there is none",
            metrics.protocol.clone(),
        );
        registry.register(
            "gossip_datagrams",
            "Datagrams of gossip that were sent, and that were received and taken",
            metrics.gossip_datagrams.clone(),
        );
        registry.register(
            "gossip_bytes",
            "Bytes of these datagrams",
            metrics.gossip_bytes.clone(),
        );
        registry.register(
            "gossip_refused",
            "Datagrams that were received and not taken, by reason",
            metrics.gossip_refused.clone(),
        );
        metrics
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.gossip("sent", bytes);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.gossip("received", bytes);
    }

    fn gossip(&self, direction: &'static str, bytes: usize) {
        let labels = ByDirection { direction };
        self.gossip_datagrams.get_or_create(&labels).inc();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.gossip_bytes.get_or_create(&labels).inc_by(bytes);
    }

    pub(crate) fn refused(&self, reason: Refusal, datagrams: u64) {
        let labels = ByReason {
            reason: reason.into(),
        };
        self.gossip_refused.get_or_create(&labels).inc_by(datagrams);
    }

    pub(crate) fn changed(&self) {
        self.changes.inc();
    }

    pub(crate) fn own(&self, state: MemberState, tokens: u16, has_duplicate: bool) {
        for other in MemberState::VARIANTS {
            let labels = ByState {
                state: (*other).into(),
            };
            let value = i64::from(*other == state);
            self.own_state.get_or_create(&labels).set(value);
        }
        self.own_tokens.set(i64::from(tokens));
        self.duplicate.set(i64::from(has_duplicate));
    }

    pub(crate) fn protocol(&self, common: Option<u16>) {
        self.protocol.set(common.map_or(0, i64::from));
    }

    pub(crate) fn members(&self, members: &[MemberStatus], desired_generators: u64) {
        let count = |state: &'static str, role: Role| {
            let is_it = |member: &Member| member.role == role && state_of(member) == state;
            members
                .iter()
                .filter(|status| is_it(&status.member))
                .count()
        };
        let states = MemberState::VARIANTS.iter().map(|state| (*state).into());
        for state in states.chain([DEAD]) {
            for role in Role::VARIANTS {
                let labels = ByStateAndRole {
                    state,
                    role: (*role).into(),
                };
                let count = i64::try_from(count(state, *role)).unwrap_or(i64::MAX);
                self.members.get_or_create(&labels).set(count);
            }
        }
        let desired = i64::try_from(desired_generators).unwrap_or(i64::MAX);
        self.desired_generators.set(desired);
    }
}

fn state_of(member: &Member) -> &'static str {
    match member.is_alive {
        true => member.state.into(),
        false => DEAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are an interface: dashboards and alerts ask for them.
    #[test]
    fn exported_names_and_labels_are_stable() {
        let mut registry = telemetry::new_metrics_registry();
        let metrics = RingMetrics::register(&mut registry);
        metrics.sent(100);
        metrics.received(50);
        metrics.refused(Refusal::OtherCluster, 2);
        metrics.changed();
        metrics.own(MemberState::ReadOnly, 512, true);
        metrics.members(&[], 3);
        metrics.protocol(Some(1));
        let text = telemetry::encode_metrics(&registry);
        for line in [
            "spanmill_ring_members{state=\"dead\",role=\"generator\"} 0",
            "spanmill_ring_changes_total 1",
            "spanmill_ring_own_state{state=\"read_only\"} 1",
            "spanmill_ring_own_state{state=\"active\"} 0",
            "spanmill_ring_own_tokens 512",
            "spanmill_ring_desired_generators 3",
            "spanmill_ring_duplicate_instance_id 1",
            "spanmill_ring_protocol 1",
            "spanmill_ring_gossip_datagrams_total{direction=\"sent\"} 1",
            "spanmill_ring_gossip_bytes_total{direction=\"received\"} 50",
            "spanmill_ring_gossip_refused_total{reason=\"other_cluster\"} 2",
            "spanmill_ring_gossip_refused_total{reason=\"forged\"} 0",
        ] {
            assert!(text.contains(line), "missing {line}\n{text}");
        }
    }
}
