//! Which endpoints have taken which requests, so that a client's retry reaches only the
//! others.

use std::collections::HashMap;
use std::time::Duration;

use model::TenantId;
use rand::RngCore as _;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// XXH3's default length of a secret.
const SECRET_BYTES: usize = 192;

/// A request is remembered for at least this long, unless there are too many, and at most
/// twice as long. As long as generators recognise one.
const REMEMBERED: Duration = Duration::from_secs(120);

/// Requests in each of the two generations: about 32 MiB together.
const MAX_REQUESTS: usize = 250_000;

/// What names a request of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestKey(u128);

/// Requests, each with a bit for every endpoint that took it.
#[derive(Debug)]
pub(super) struct Taken {
    young: HashMap<RequestKey, u64>,
    old: HashMap<RequestKey, u64>,
    since: Instant,
}

/// Makes keys, by a secret of its own, so that nobody can make two requests of one key.
#[derive(Debug)]
pub(super) struct RequestKeys([u8; SECRET_BYTES]);

impl RequestKeys {
    pub(super) fn new() -> Self {
        let mut secret = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        Self(secret)
    }

    pub(super) fn key(&self, tenant: &TenantId, request: &[u8]) -> RequestKey {
        let mut bytes = xxh3_128_with_secret(request, &self.0)
            .to_ne_bytes()
            .to_vec();
        bytes.extend_from_slice(tenant.as_str().as_bytes());
        RequestKey(xxh3_128_with_secret(&bytes, &self.0))
    }
}

impl Taken {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            since: now,
        }
    }

    /// The bits of the endpoints that took a request.
    pub(super) fn by(&mut self, key: RequestKey, now: Instant) -> u64 {
        self.age(now);
        let bits = |of: &HashMap<_, _>| of.get(&key).copied().unwrap_or_default();
        bits(&self.young) | bits(&self.old)
    }

    /// Remembers that an endpoint took a request.
    pub(super) fn add(&mut self, key: RequestKey, bit: u64, now: Instant) {
        self.age(now);
        *self.young.entry(key).or_default() |= bit;
    }

    fn age(&mut self, now: Instant) {
        let is_due = now.saturating_duration_since(self.since) >= REMEMBERED;
        if is_due || self.young.len() >= MAX_REQUESTS {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_remembered_for_two_minutes_at_least() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let keys = RequestKeys::new();
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        let key = keys.key(&a, b"x");
        assert_eq!(key, keys.key(&a, b"x"));
        assert_ne!(key, keys.key(&b, b"x"));
        assert_ne!(key, keys.key(&a, b"y"));
        let mut taken = Taken::new(start);
        taken.add(key, 1, after(119));
        taken.add(key, 4, after(121));
        assert_eq!(taken.by(key, after(240)), 5);
        assert_eq!(taken.by(key, after(242)), 4);
        assert_eq!(taken.by(key, after(500)), 0);
    }
}
