//! The tenants of a generator: one starts with its first push, and goes when nobody
//! has any use for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{HashMap, HashSet};
use model::TenantId;
use parking_lot::RwLock;

use crate::instance::Instance;

/// All tenants of a generator.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    state: RwLock<State>,
    /// Moved whenever a tenant comes or goes.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    instances: HashMap<TenantId, Arc<Instance>>,
    /// Who is being deleted, and does not start meanwhile.
    leaving: HashSet<TenantId>,
}

/// The tenant is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsLeaving;

impl Tenants {
    pub(crate) fn get(&self, tenant: &TenantId) -> Option<Arc<Instance>> {
        self.state.read().instances.get(tenant).cloned()
    }

    /// Whether a tenant is being deleted.
    pub(crate) fn is_leaving(&self, tenant: &TenantId) -> bool {
        self.state.read().leaving.contains(tenant)
    }

    /// The instance of a tenant, started if there is none.
    ///
    /// # Errors
    ///
    /// [`IsLeaving`]; then none is started.
    pub(crate) fn get_or_start(
        &self,
        tenant: &TenantId,
        start: impl FnOnce() -> Instance,
    ) -> Result<Arc<Instance>, IsLeaving> {
        if let Some(instance) = self.get(tenant) {
            return Ok(instance);
        }
        let mut state = self.state.write();
        if state.leaving.contains(tenant) {
            return Err(IsLeaving);
        }
        let instance = state
            .instances
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(start()));
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::clone(instance))
    }

    /// Ends the instance of a tenant that nobody is using at this moment, if `may` says
    /// so; returns whether it did. Nobody starts the tenant's next one before this one
    /// has ended.
    pub(crate) fn end_unused(
        &self,
        tenant: &TenantId,
        may: impl FnOnce(&Instance) -> bool,
    ) -> bool {
        let mut state = self.state.write();
        let Some(instance) = state.instances.remove(tenant) else {
            return false;
        };
        // Whoever is about to push or to collect has it as well.
        let (kept, ends) = match Arc::try_unwrap(instance) {
            Ok(instance) if may(&instance) => (None, Some(instance)),
            Ok(instance) => (Some(Arc::new(instance)), None),
            Err(shared) => (Some(shared), None),
        };
        if let Some(kept) = kept {
            state.instances.insert(tenant.clone(), kept);
        }
        if ends.is_some() {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        let has_ended = ends.is_some();
        drop(ends);
        drop(state);
        has_ended
    }

    /// Takes the instance of a tenant out, and lets no other start until
    /// [`stay_or_come`](Self::stay_or_come).
    ///
    /// # Errors
    ///
    /// [`IsLeaving`], if somebody else has done it.
    pub(crate) fn leave(&self, tenant: &TenantId) -> Result<Option<Arc<Instance>>, IsLeaving> {
        let mut state = self.state.write();
        if !state.leaving.insert(tenant.clone()) {
            return Err(IsLeaving);
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(state.instances.remove(tenant))
    }

    /// Lets a tenant start again, or go on with the instance that it had.
    pub(crate) fn stay_or_come(&self, tenant: &TenantId, instance: Option<Arc<Instance>>) {
        let mut state = self.state.write();
        state.leaving.remove(tenant);
        if let Some(instance) = instance {
            state.instances.insert(tenant.clone(), instance);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Another number than before if tenants have come or gone.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// All tenants with their instances, by name.
    pub(crate) fn all(&self) -> Vec<(TenantId, Arc<Instance>)> {
        let state = self.state.read();
        let mut all: Vec<_> = state
            .instances
            .iter()
            .map(|(tenant, instance)| (tenant.clone(), Arc::clone(instance)))
            .collect();
        drop(state);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
