//! What of remote write a tenant may change.

use std::collections::BTreeMap;

use settings::Secret;

/// Headers by name.
pub type RemoteWriteHeaders = BTreeMap<String, Secret>;
