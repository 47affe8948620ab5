//! Memory of requests in flight, and who may take it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use model::TenantId;
use parking_lot::Mutex;
use tonic::{Code, Status};

use crate::status::Failure;

/// What a request holds before its length is known.
pub const UNKNOWN_LENGTH: usize = 8 << 10;

/// When to come again where requests in flight take all room: they end soon.
const RETRY_IN_FLIGHT: Duration = Duration::from_secs(1);

/// When to come again where the process is short of memory, which lasts.
const RETRY_MEMORY: Duration = Duration::from_secs(2);

/// The bytes that requests in flight may take together. Cloning is cheap and shares
/// them.
///
/// Tenants that are active at the same time have equal shares, and room for one more
/// stays free. Who holds less than a share may take of that room; who holds more may
/// take what others leave beside it. So no tenant waits for another that has more.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    active: HashMap<TenantId, Active>,
    throttles: HashMap<TenantId, Throttle>,
    is_closed: bool,
}

/// What a tenant has in flight.
#[derive(Debug, Default)]
struct Active {
    bytes: u64,
    holds: usize,
}

/// How many requests of a tenant are refused while memory is short.
#[derive(Debug)]
struct Throttle {
    /// Of all, between 0 and 1.
    part: f64,
    /// What was not refused so far, below 1.
    owed: f64,
}

/// What one request in flight takes, given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    tenant: TenantId,
    bytes: AtomicU64,
}

/// What memory a request was given, for all that read it. Cloning is cheap and shares it.
///
/// It is made before the tenant is known, and no limit holds until [`RequestMemory::take`].
/// The memory is given back when the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct RequestMemory(Arc<Given>);

#[derive(Debug, Default)]
struct Given {
    hold: OnceLock<Hold>,
    refusal: OnceLock<Overloaded>,
}

/// A request that there is no memory for now. It may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// Requests in flight have all of it.
    #[error("requests in flight take all of the memory that they may")]
    Full,
    /// The tenant's requests in flight have its share, and others need what is left.
    #[error("requests of this tenant in flight take its share of memory")]
    OverShare,
    /// Not requests take the memory, but what became of them, of this tenant's first.
    #[error("the process is short of memory, and this tenant takes much of it")]
    OutOfMemory,
}

impl Overloaded {
    /// When to send the same again.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::Full | Self::OverShare => RETRY_IN_FLIGHT,
            Self::OutOfMemory => RETRY_MEMORY,
        }
    }

    /// The HTTP status: 503.
    pub fn http_status(self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    /// The gRPC code: `UNAVAILABLE`.
    pub fn grpc_code(self) -> Code {
        Code::Unavailable
    }

    /// As a gRPC status, with the time to wait.
    pub fn to_grpc(self) -> Status {
        Failure::new(self.grpc_code(), self.to_string())
            .retry_after(self.retry_after())
            .to_grpc()
    }
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(capacity: u64) -> Self {
        Self(Arc::new(Shared {
            capacity,
            state: Mutex::default(),
        }))
    }

    /// A budget that does not end.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Bytes of all requests in flight.
    pub fn used(&self) -> u64 {
        self.0.state.lock().used
    }

    /// Begins a request of a tenant that is `bytes` long as far as is known, or
    /// [`UNKNOWN_LENGTH`].
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; then nothing is held.
    pub fn begin(&self, tenant: &TenantId, bytes: u64) -> Result<Hold, Overloaded> {
        let mut state = self.0.state.lock();
        if state.is_closed || state.throttle(tenant) {
            return Err(Overloaded::OutOfMemory);
        }
        let own = state.active.get(tenant);
        let (own_bytes, own_holds) = own.map_or((0, 0), |active| (active.bytes, active.holds));
        let tenants = state.active.len() + usize::from(own.is_none());
        let asked = Asked {
            more: bytes,
            own_bytes,
            is_only_one: own_holds == 0,
            tenants,
        };
        asked.fits(self.0.capacity, state.used)?;
        state.used += bytes;
        let active = state.active.entry(tenant.clone()).or_default();
        active.bytes += bytes;
        active.holds += 1;
        Ok(Hold {
            budget: self.clone(),
            tenant: tenant.clone(),
            bytes: AtomicU64::new(bytes),
        })
    }

    /// Says which part of whose requests is refused until this is called again, between
    /// 0 and 1 for each tenant.
    pub fn throttle(&self, parts: &[(TenantId, f64)]) {
        let mut state = self.0.state.lock();
        state.is_closed = false;
        let mut before = std::mem::take(&mut state.throttles);
        for (tenant, part) in parts.iter().filter(|(_, part)| *part > 0.0) {
            let owed = before.remove(tenant).map_or(0.0, |throttle| throttle.owed);
            let throttle = Throttle { part: *part, owed };
            state.throttles.insert(tenant.clone(), throttle);
        }
    }

    /// Refuses every request until [`Budget::throttle`] is called.
    pub fn close(&self) {
        self.0.state.lock().is_closed = true;
    }
}

impl State {
    /// Whether the tenant's next request is one of those that are refused, which are
    /// spread evenly.
    fn throttle(&mut self, tenant: &TenantId) -> bool {
        let Some(throttle) = self.throttles.get_mut(tenant) else {
            return false;
        };
        throttle.owed += throttle.part;
        let is_due = throttle.owed >= 1.0;
        if is_due {
            throttle.owed -= 1.0;
        }
        is_due
    }
}

/// What somebody wants to take.
struct Asked {
    more: u64,
    /// What the tenant has.
    own_bytes: u64,
    /// Whether the tenant has no other request in flight.
    is_only_one: bool,
    /// Tenants that are active, this one included.
    tenants: usize,
}

impl Asked {
    fn fits(&self, capacity: u64, used: u64) -> Result<(), Overloaded> {
        // A request that is alone is taken whatever its size: others have a limit for that,
        // and it would never fit.
        if used == self.own_bytes && self.is_only_one {
            return Ok(());
        }
        let after = used.saturating_add(self.more);
        if after > capacity {
            return Err(Overloaded::Full);
        }
        let share = capacity / (self.tenants as u64 + 1);
        let is_over_share = self.own_bytes.saturating_add(self.more) > share;
        if is_over_share && !self.is_only_one && after > capacity - share {
            return Err(Overloaded::OverShare);
        }
        Ok(())
    }
}

impl Hold {
    /// Raises what the request takes to `bytes`; never lowers it.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]; then it holds what it held before.
    pub fn raise_to(&self, bytes: u64) -> Result<(), Overloaded> {
        let mut state = self.budget.0.state.lock();
        let held = self.bytes.load(Ordering::Relaxed);
        let more = bytes.saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let tenants = state.active.len();
        let used = state.used;
        let Some(active) = state.active.get_mut(&self.tenant) else {
            return Ok(());
        };
        let asked = Asked {
            more,
            own_bytes: active.bytes,
            is_only_one: active.holds == 1,
            tenants,
        };
        asked.fits(self.budget.0.capacity, used)?;
        active.bytes += more;
        state.used += more;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl RequestMemory {
    /// Takes memory for a request of a tenant, as [`Budget::begin`]; once only.
    ///
    /// # Errors
    ///
    /// [`Overloaded`]. From then on what reads the request throws it away, and fails with
    /// the same at its end: an answer before that would reset the stream, and after many
    /// of these the connection is closed, with the requests of others on it.
    pub fn take(&self, budget: &Budget, tenant: &TenantId, bytes: usize) -> Result<(), Overloaded> {
        let hold = self.remember(budget.begin(tenant, bytes as u64))?;
        // The first one stays.
        let _ = self.0.hold.set(hold);
        Ok(())
    }

    /// Raises what the request takes to `bytes`, if it took any; never lowers it.
    ///
    /// # Errors
    ///
    /// As [`RequestMemory::take`].
    pub fn raise_to(&self, bytes: usize) -> Result<(), Overloaded> {
        let hold = self.0.hold.get();
        self.remember(hold.map_or(Ok(()), |hold| hold.raise_to(bytes as u64)))
    }

    /// Why the request is thrown away, if it is.
    pub fn refusal(&self) -> Option<Overloaded> {
        self.0.refusal.get().copied()
    }

    fn remember<T>(&self, taken: Result<T, Overloaded>) -> Result<T, Overloaded> {
        taken.inspect_err(|overloaded| {
            // The first one stays.
            let _ = self.0.refusal.set(*overloaded);
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut state = self.budget.0.state.lock();
        state.used = state.used.saturating_sub(bytes);
        if let Some(active) = state.active.get_mut(&self.tenant) {
            active.bytes = active.bytes.saturating_sub(bytes);
            active.holds = active.holds.saturating_sub(1);
            if active.holds == 0 {
                state.active.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests;
