//! Which version of remote write an endpoint is spoken to in.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::Clock;

use crate::config::ProtobufMessage;

/// How long an endpoint that did not take 2.0 is spoken to in 1.0 before 2.0 is
/// tried again: it may have been upgraded. A try that fails costs one request.
pub(crate) const FALLBACK: Duration = Duration::from_secs(60 * 60);

/// A version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 1.0: `prometheus.WriteRequest`.
    V1,
    /// 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// What an endpoint speaks: as it is set, or as it was found to.
#[derive(Debug)]
pub(crate) struct Negotiation {
    setting: ProtobufMessage,
    clock: Clock,
    /// Until when 1.0 is spoken although the setting is `auto`, in milliseconds
    /// since the Unix epoch.
    fallen_back_until_ms: AtomicI64,
}

impl Negotiation {
    /// An endpoint of which nothing is known but the setting.
    pub(crate) fn new(setting: ProtobufMessage, clock: Clock) -> Self {
        Self {
            setting,
            clock,
            fallen_back_until_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// What to speak now.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.setting {
            ProtobufMessage::V1 => Protocol::V1,
            ProtobufMessage::V2 => Protocol::V2,
            ProtobufMessage::Auto if self.has_fallen_back() => Protocol::V1,
            ProtobufMessage::Auto => Protocol::V2,
        }
    }

    /// Notes that the endpoint did not take 2.0. Returns whether it is spoken to
    /// in 1.0 now, which only `auto` allows.
    pub(crate) fn fall_back(&self) -> bool {
        if self.setting != ProtobufMessage::Auto {
            return false;
        }
        let now_ms = self.clock.unix_millis();
        let until_ms = now_ms.saturating_add(FALLBACK.as_millis() as i64);
        self.fallen_back_until_ms.store(until_ms, Ordering::Relaxed);
        true
    }

    /// Whether 1.0 is spoken because 2.0 was not taken.
    pub(crate) fn has_fallen_back(&self) -> bool {
        self.clock.unix_millis() < self.fallen_back_until_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_falls_back_and_for_an_hour() {
        let minute = |minute: u64| minute * 60_000_000_000;
        for (setting, want) in [
            (ProtobufMessage::V1, [Protocol::V1; 4]),
            (ProtobufMessage::V2, [Protocol::V2; 4]),
            (
                ProtobufMessage::Auto,
                [Protocol::V2, Protocol::V1, Protocol::V1, Protocol::V2],
            ),
        ] {
            let clock = Clock::manual(minute(1));
            let negotiation = Negotiation::new(setting, clock.clone());
            let before = negotiation.protocol();
            assert_eq!(negotiation.fall_back(), setting == ProtobufMessage::Auto);
            let after = [1, 60, 61].map(|now| {
                clock.set(minute(now));
                negotiation.protocol()
            });
            assert_eq!([before, after[0], after[1], after[2]], want, "{setting:?}");
        }
    }
}
