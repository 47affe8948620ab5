//! What the configuration makes of single spans of a tenant.

use generator::explain::{ExplainError, Explanation, Question, explain};
use model::TenantId;

use crate::build::instance_id;
use crate::error::StartError;
use crate::run::{Options, load};

/// Spans of which nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum TraceSpanError {
    /// A process with this configuration would not start, or not as written.
    #[error(transparent)]
    Config(#[from] StartError),
    /// The spans are refused as a whole.
    #[error("the spans")]
    Spans(#[from] ExplainError),
}

/// Says rule by rule what becomes of each span of an OTLP request in protobuf, sent by
/// a tenant to a process with this configuration that has had no span of it before.
///
/// `own_settings` is what the tenant has set itself: JSON, as `/api/overrides` gives it.
/// `now_unix_nanos` is when the spans arrive; `None` if each arrives at its end.
///
/// # Errors
///
/// What is wrong with the configuration, the runtime file, the tenant's own settings, or
/// the request as a whole.
pub fn trace_span(
    options: &Options,
    tenant: TenantId,
    own_settings: Option<&[u8]>,
    request: &[u8],
    now_unix_nanos: Option<u64>,
) -> Result<Explanation, TraceSpanError> {
    let loaded = load(options)?;
    let config = loaded.overrides.tenant_config(&tenant, own_settings);
    let question = Question {
        config: config.map_err(StartError::Config)?,
        instance_label: instance_id(&loaded.config.metrics_generator).into(),
        tenant,
        request,
        now_unix_nanos,
    };
    Ok(explain(&question)?)
}
