//! What is sent, where to, and how much may wait.

pub use overrides::tenant_config::remote_write::auth::{Authorization, BasicAuth};
pub use overrides::tenant_config::remote_write::queue::{MetadataConfig, QueueConfig};
pub use overrides::tenant_config::remote_write::relabel::{RelabelAction, RelabelConfig};
pub use overrides::tenant_config::remote_write::tls::{TlsClientConfig, TlsVersion};
pub use overrides::tenant_config::remote_write::{Author, EndpointConfig, ProtobufMessage};

use crate::spool::SpoolConfig;

/// What the process sends, and how much may wait.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// Receivers that are checked at the start. Which are used is said for each
    /// tenant.
    pub endpoints: Vec<EndpointConfig>,

    /// Whether requests carry `X-Scope-OrgID`, the tenant. Set it when
    /// multi-tenancy is on, unless `remote_write_add_org_id_header` is off.
    /// Default: false.
    pub add_org_id_header: bool,

    /// Where samples wait for their receivers, and how many may.
    pub spool: SpoolConfig,
}
