//! What comes with a push from a distributor of the cluster: `spanmill.v1.Generator/Push`.
//!
//! The message is the spans and nothing else, so that a distributor passes on the bytes
//! that it got.

use std::str;
use std::sync::Arc;
use std::time::Duration;

use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderValue};
use model::TenantId;
use strum::{EnumString, IntoStaticStr};
use tonic::Status;

use crate::tenancy::{TENANT_HEADER, Tenancy, TenantError};

/// The gRPC service of generators for distributors of their cluster.
pub const NODE_PUSH_SERVICE: &str = "spanmill.v1.Generator";
/// The path of its method that takes halves of edges. The message is what a generator has
/// written of them; the tenant is in the metadata.
pub const NODE_TAKE_EDGES: &str = "/spanmill.v1.Generator/TakeEdges";
/// The path of its method that takes spans.
pub const NODE_PUSH: &str = "/spanmill.v1.Generator/Push";
/// The path of its method that takes the spans of several pushes with the same metadata.
pub const NODE_PUSH_ALL: &str = "/spanmill.v1.Generator/PushAll";

/// In an answer: why the push was certainly not applied. An error without it says nothing
/// of that.
pub const NOT_APPLIED_HEADER: &str = "spanmill-not-applied";

const SENDER: &str = "spanmill-sender";
const INCARNATION: &str = "spanmill-incarnation";
const SENT_AT: &str = "spanmill-sent-at";
const EXPIRES_IN: &str = "spanmill-expires-in";
const PLACEMENT: &str = "spanmill-placement";
const SKIP_METRICS: &str = "spanmill-skip-metrics";

/// What comes with a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushMetadata {
    /// Whose spans.
    pub tenant: TenantId,
    /// The id of the distributor.
    pub sender: Arc<str>,
    /// Which life of the distributor sends it.
    pub incarnation: u64,
    /// When it was sent, by a clock of the distributor that is never set; where the clock
    /// begins does not matter. In microseconds on the wire.
    pub sent_at: Duration,
    /// How long from then on the distributor cares for an answer. In milliseconds on the
    /// wire.
    pub expires_in: Duration,
    /// The placement by which the spans are this generator's.
    pub placement: u64,
    /// The client asked for no metrics.
    pub skip_metrics: bool,
}

/// Why a generator did certainly not apply a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NotApplied {
    /// The generator is about to leave, or takes nothing for another reason that the ring
    /// tells.
    Leaving,
    /// The spans are another generator's.
    NotOwner,
    /// The distributor had given up on it before it was read.
    Expired,
    /// The generator stood still, and is not yet back in the ring.
    Frozen,
    /// The generator stops.
    Stopping,
    /// The generator has no memory for it now: the client is to wait, and not another
    /// generator to take it.
    Overloaded,
    /// The tenant is being deleted: the client is to wait, and no other generator to begin
    /// it again.
    TenantLeaves,
}

/// Metadata that a distributor does not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No tenant.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A key is missing or is not what it should be.
    #[error("metadata {key} is missing or unreadable")]
    Unreadable {
        /// The key.
        key: &'static str,
    },
}

impl PushMetadata {
    /// Writes it into the headers of a call.
    ///
    /// # Errors
    ///
    /// [`InvalidHeaderValue`] if the sender's id has control characters.
    pub fn write(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        let micros = u64::try_from(self.sent_at.as_micros()).unwrap_or(u64::MAX);
        let millis = u64::try_from(self.expires_in.as_millis()).unwrap_or(u64::MAX);
        headers.insert(TENANT_HEADER, HeaderValue::from_str(self.tenant.as_str())?);
        headers.insert(SENDER, HeaderValue::from_bytes(self.sender.as_bytes())?);
        headers.insert(INCARNATION, self.incarnation.into());
        headers.insert(SENT_AT, micros.into());
        headers.insert(EXPIRES_IN, millis.into());
        headers.insert(PLACEMENT, self.placement.into());
        if self.skip_metrics {
            headers.insert(SKIP_METRICS, HeaderValue::from_static("true"));
        }
        Ok(())
    }

    /// Reads it from the headers of a call.
    ///
    /// # Errors
    ///
    /// [`MetadataError`].
    pub fn read(headers: &HeaderMap) -> Result<Self, MetadataError> {
        let with_tenants = Tenancy {
            multitenancy_enabled: true,
        };
        let sender = text(headers, SENDER)?;
        Ok(Self {
            tenant: with_tenants.tenant(headers)?,
            sender: sender.into(),
            incarnation: number(headers, INCARNATION)?,
            sent_at: Duration::from_micros(number(headers, SENT_AT)?),
            expires_in: Duration::from_millis(number(headers, EXPIRES_IN)?),
            placement: number(headers, PLACEMENT)?,
            skip_metrics: headers.contains_key(SKIP_METRICS),
        })
    }
}

impl NotApplied {
    /// An answer that says so.
    pub fn grpc_status(self) -> Status {
        let sentence = match self {
            Self::Leaving => "the generator is leaving",
            Self::NotOwner => "the spans are another generator's",
            Self::Expired => "the push came too late",
            Self::Frozen => "the generator stood still and is not back in the ring yet",
            Self::Stopping => "the generator is stopping",
            Self::Overloaded => "the generator is short of memory",
            Self::TenantLeaves => "the tenant is being deleted",
        };
        let mut status = Status::unavailable(sentence);
        let value = HeaderValue::from_static(self.into());
        let metadata = status.metadata_mut().as_mut();
        metadata.insert(NOT_APPLIED_HEADER, value);
        status
    }

    /// What the headers or trailers of an answer say; none if they do not say that the push
    /// was certainly not applied, or in words that are not known here.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(NOT_APPLIED_HEADER)?.to_str().ok()?.parse().ok()
    }
}

fn text<'a>(headers: &'a HeaderMap, key: &'static str) -> Result<&'a str, MetadataError> {
    let value = headers.get(key).map(HeaderValue::as_bytes);
    let value = value.and_then(|value| str::from_utf8(value).ok());
    value.ok_or(MetadataError::Unreadable { key })
}

fn number(headers: &HeaderMap, key: &'static str) -> Result<u64, MetadataError> {
    let parsed = text(headers, key)?.parse();
    parsed.map_err(|_| MetadataError::Unreadable { key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> PushMetadata {
        PushMetadata {
            tenant: TenantId::parse("acme").unwrap(),
            sender: "distributor-ö".into(),
            incarnation: u64::MAX,
            sent_at: Duration::from_micros(12_345_678),
            expires_in: Duration::from_millis(5_001),
            placement: 7,
            skip_metrics: true,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut headers = HeaderMap::new();
        metadata().write(&mut headers).unwrap();
        assert_eq!(PushMetadata::read(&headers), Ok(metadata()));
        let counted = PushMetadata {
            skip_metrics: false,
            ..metadata()
        };
        let mut headers = HeaderMap::new();
        counted.write(&mut headers).unwrap();
        assert_eq!(PushMetadata::read(&headers), Ok(counted));
    }

    /// The version of the method is in its path.
    #[test]
    fn metadata_are_those_of_their_version_and_those_of_later_ones_are_passed_over() {
        let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "push-metadata");
        let version = NODE_PUSH.strip_prefix("/spanmill.v").unwrap();
        let (version, _) = version.split_once('.').unwrap();
        let mut headers = HeaderMap::new();
        metadata().write(&mut headers).unwrap();
        let lines = headers.iter().map(|(key, value)| {
            let value = str::from_utf8(value.as_bytes()).unwrap();
            format!("{key}: {value}")
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        let written = lines.join("\n") + "\n";
        let version = version.parse().unwrap();
        format.check(version, written.as_bytes()).unwrap();
        for (version, kept) in format.kept().unwrap() {
            let kept = String::from_utf8(kept).unwrap();
            let mut headers = HeaderMap::new();
            for line in kept.lines().chain(["spanmill-later: x"]) {
                let (key, value) = line.split_once(": ").unwrap();
                let key = http::HeaderName::try_from(key).unwrap();
                headers.insert(key, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let read = PushMetadata::read(&headers);
            assert_eq!(read, Ok(metadata()), "{version}");
        }
    }

    #[test]
    fn nothing_is_guessed_where_a_key_is_missing() {
        let mut whole = HeaderMap::new();
        metadata().write(&mut whole).unwrap();
        for key in [SENDER, INCARNATION, SENT_AT, EXPIRES_IN, PLACEMENT] {
            let mut headers = whole.clone();
            headers.remove(key);
            let found = PushMetadata::read(&headers);
            assert_eq!(found, Err(MetadataError::Unreadable { key }));
        }
        whole.remove(TENANT_HEADER);
        let found = PushMetadata::read(&whole);
        assert_eq!(found, Err(MetadataError::Tenant(TenantError::Missing)));
    }

    #[test]
    fn every_reason_comes_through_and_no_other_word_does() {
        for (reason, word) in [
            (NotApplied::Leaving, "leaving"),
            (NotApplied::NotOwner, "not_owner"),
            (NotApplied::Expired, "expired"),
            (NotApplied::Frozen, "frozen"),
            (NotApplied::Stopping, "stopping"),
            (NotApplied::Overloaded, "overloaded"),
            (NotApplied::TenantLeaves, "tenant_leaves"),
        ] {
            let status = reason.grpc_status();
            let headers = status.into_http::<String>().into_parts().0.headers;
            assert_eq!(headers[NOT_APPLIED_HEADER], word);
            assert_eq!(NotApplied::of(&headers), Some(reason));
        }
        let mut headers = HeaderMap::new();
        assert_eq!(NotApplied::of(&headers), None);
        headers.insert(NOT_APPLIED_HEADER, HeaderValue::from_static("tired"));
        assert_eq!(NotApplied::of(&headers), None);
    }
}
