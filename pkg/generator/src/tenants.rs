//! The tenants of a generator: one starts with its first push.

use std::sync::Arc;

use hashbrown::HashMap;
use model::TenantId;
use parking_lot::RwLock;

use crate::instance::Instance;

/// All tenants of a generator.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    instances: RwLock<HashMap<TenantId, Arc<Instance>>>,
}

impl Tenants {
    pub(crate) fn get(&self, tenant: &TenantId) -> Option<Arc<Instance>> {
        self.instances.read().get(tenant).cloned()
    }

    /// The instance of a tenant, started if there is none.
    pub(crate) fn get_or_start(
        &self,
        tenant: &TenantId,
        start: impl FnOnce() -> Instance,
    ) -> Arc<Instance> {
        if let Some(instance) = self.get(tenant) {
            return instance;
        }
        let mut instances = self.instances.write();
        let instance = instances
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(start()));
        Arc::clone(instance)
    }

    pub(crate) fn len(&self) -> usize {
        self.instances.read().len()
    }

    /// All tenants with their instances, by name.
    pub(crate) fn all(&self) -> Vec<(TenantId, Arc<Instance>)> {
        let instances = self.instances.read();
        let mut all: Vec<_> = instances
            .iter()
            .map(|(tenant, instance)| (tenant.clone(), Arc::clone(instance)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
