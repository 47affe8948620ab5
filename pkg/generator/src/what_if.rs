//! What a processor that is off would add for a tenant.
//!
//! Of the metrics of span metrics this follows from the label sets that there are, if
//! others of them are on. All else is tried: for a while the processor sees the
//! tenant's spans beside the others, in a registry that is thrown away.

use std::sync::Arc;

use model::TenantId;
use overrides::Processor;
use registry::{Counts, MetricSurvey, Survey};

use crate::Generator;
use crate::instance::{Instance, Shadow};

/// What a processor would add, where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldAdd {
    /// The metrics that would come, with the series of one label set.
    pub metrics: Vec<MetricSurvey>,
    /// Label sets that would have them: exact.
    pub label_sets: u64,
}

/// The answer to what a processor would add.
#[derive(Debug)]
pub enum WhatIf {
    /// It follows from the series that there are.
    Known(WouldAdd),
    /// It has to be tried.
    Trial(Trial),
}

/// Why it cannot be said what a processor would add.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhatIfError {
    /// The tenant has not sent any spans.
    #[error("the tenant has not sent any spans since the start")]
    UnknownTenant,
    /// The processor is on.
    #[error("{processor} is on for the tenant")]
    On {
        /// The processor.
        processor: Processor,
    },
    /// This version does not have the processor.
    #[error("this version does not have {processor}")]
    Unavailable {
        /// The processor.
        processor: Processor,
    },
    /// One is tried already.
    #[error("another processor is being tried for the tenant")]
    Busy,
}

/// A processor that is tried; it ends when this is dropped.
#[derive(Debug)]
pub struct Trial {
    instance: Arc<Instance>,
    shadow: Arc<Shadow>,
    spans_before: u64,
}

/// What a trial has found.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What its series are made of: of the first 10,000 label sets, and how many more
    /// there were, about.
    pub survey: Survey,
    /// Spans of the tenant that came meanwhile.
    pub spans: u64,
    /// Of these, how many still wait for their counterpart.
    pub waiting_spans: u64,
}

impl Generator {
    /// Says what a processor would add for a tenant, or begins to try it. From then on
    /// each push of the tenant is read twice.
    ///
    /// # Errors
    ///
    /// [`WhatIfError`].
    pub fn what_if(&self, tenant: &TenantId, processor: Processor) -> Result<WhatIf, WhatIfError> {
        let instance = self.instance(tenant).ok_or(WhatIfError::UnknownTenant)?;
        if let Some(known) = instance.follows(processor)? {
            return Ok(WhatIf::Known(known));
        }
        let shadow = instance.begin_shadow(processor, self.max_lanes())?;
        let (spans_before, _) = instance.spans_and_time();
        Ok(WhatIf::Trial(Trial {
            instance,
            shadow,
            spans_before,
        }))
    }
}

impl Trial {
    /// Series and label sets that there would be so far, about.
    pub fn so_far(&self) -> Counts {
        self.shadow.demand()
    }

    /// Ends it, and says what it has found.
    pub fn finish(self) -> Tried {
        let (spans, now_ms) = self.instance.spans_and_time();
        self.instance.end_shadow(&self.shadow);
        Tried {
            survey: self.shadow.survey(now_ms),
            spans: spans.saturating_sub(self.spans_before),
            waiting_spans: self.shadow.waiting_spans(),
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.instance.end_shadow(&self.shadow);
    }
}
