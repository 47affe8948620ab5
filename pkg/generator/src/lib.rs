//! Spans to series: per-tenant processors, collection, and the scrape endpoint.
//!
//! A push is applied before it is answered: [`Generator`] finds the tenant's
//! instance, the instance reads the wire bytes once, and the registry counts.

mod attributes;
mod collection;
pub mod config;
pub mod explain;
mod exposition;
mod generator;
mod handover;
mod histograms;
mod ids;
mod instance;
mod labelling;
mod labels;
mod leaving;
mod ledger;
mod metrics;
mod moving;
mod multiplier;
mod node_pushes;
mod overview;
mod processors;
mod push_service;
mod rates;
mod raw_key;
mod reading;
mod recognised;
mod restart;
mod scrape;
mod span_filter;
mod span_name_template;
mod span_names;
mod state_dir;
mod tenants;
mod time_slack;
mod what_if;

pub use config::GeneratorConfig;
pub use generator::{Dependencies, Generator};
pub use handover::{HandedSamples, HandoverTarget, TAKE_SAMPLES};
pub use instance::{InstanceLabel, destinations, limits};
pub use leaving::{LeaveError, Leaving};
pub use metrics::GeneratorMetrics;
pub use moving::{AcceptEdgesError, HandedOver};
pub use node_pushes::{IsBack, NodePushDependencies, NodePushMetrics, NodePushes};
pub use overview::{Discards, Standing, TenantOverview};
pub use push_service::PUSH_SERVICE;
pub use rates::Rate;
pub use restart::ReadStates;
pub use what_if::{Trial, Tried, WhatIf, WhatIfError, WouldAdd};

/// What a tenant's series are made of.
pub use registry::{MetricSurvey, Survey, series_of};
