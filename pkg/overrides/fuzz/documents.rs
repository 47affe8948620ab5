//! Whether what operators and tenants write as overrides may be anything.
//!
//! Shared by the fuzz target and the replay of its corpus.

use model::TenantId;
use settings::Problems;
use spanmill_overrides::{MAX_DOCUMENT_BYTES, OverridesConfig, OverridesSources, UserDocument};

/// As what a text was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// As the runtime file of a process.
    pub(crate) runtime_file: bool,
    /// As what a tenant may set.
    pub(crate) request: bool,
}

/// Where settings come from.
pub(crate) struct Sources {
    with_runtime_file: OverridesSources,
    without: OverridesSources,
}

impl Sources {
    pub(crate) fn new() -> Self {
        let sources = |runtime_file: &str| {
            let root = settings::read_str("config.yaml", "{}").unwrap();
            let config = OverridesConfig {
                per_tenant_override_config: runtime_file.into(),
                ..OverridesConfig::default()
            };
            OverridesSources::from_config(&root, &config).unwrap()
        };
        Self {
            with_runtime_file: sources("runtime.yaml"),
            without: sources(""),
        }
    }

    /// Reads `bytes` as a runtime file, and as a document of a tenant as it is sent, as a
    /// patch and as it is stored. All must end without a panic, and whatever was accepted
    /// must be accepted again.
    pub(crate) fn check(&self, bytes: &[u8]) -> Taken {
        let text = std::str::from_utf8(bytes).ok();
        let check = |text| self.with_runtime_file.check_text(Some(text)).is_ok();
        let request = UserDocument::from_request(bytes);
        if let Ok(document) = &request {
            let text = document.as_json().to_string();
            assert!(text.len() <= MAX_DOCUMENT_BYTES, "{} bytes", text.len());
            let again = UserDocument::from_request(text.as_bytes()).unwrap();
            assert_eq!(&again, document);
            assert_eq!(&document.patched(text.as_bytes()).unwrap(), document);
            self.tenant_config(text.as_bytes()).unwrap();
        }
        // Somebody else may have written what is stored.
        let _ = self.tenant_config(bytes);
        Taken {
            runtime_file: text.is_some_and(check),
            request: request.is_ok(),
        }
    }

    /// Reads what is stored for a tenant.
    fn tenant_config(&self, stored: &[u8]) -> Result<(), Problems> {
        let config = self
            .without
            .tenant_config(&TenantId::single(), Some(stored));
        config.map(drop)
    }
}
