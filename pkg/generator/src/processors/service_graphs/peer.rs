//! Who a client calls, as its span's attributes tell.
//!
//! Source: tempo-2.10, service-graph rule 4.

use otlp::AnyValue;
use overrides::ServiceGraphsConfig;
use registry::InvalidLabels;

use super::is_named;
use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::labels::LabelWriter;
use crate::raw_key::write_raw;

/// Who a client calls, as its span's attributes tell.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    peers: Vec<KeyIndex>,
    databases: Vec<KeyIndex>,
    /// What names a database better than its own attributes, first to last.
    service: KeyIndex,
    address: KeyIndex,
    network_address: KeyIndex,
    network_port: KeyIndex,
}

/// The name of a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Database<'a> {
    name: AnyValue<'a>,
    port: Option<AnyValue<'a>>,
}

impl Peers {
    pub(super) fn new(settings: &ServiceGraphsConfig, wanted: &mut WantedKeys) -> Self {
        let mut all = |keys: &[String]| keys.iter().map(|key| wanted.want(key)).collect();
        Self {
            peers: all(&settings.peer_attributes),
            databases: all(&settings.database_name_attributes),
            service: wanted.want("peer.service"),
            address: wanted.want("server.address"),
            network_address: wanted.want("network.peer.address"),
            network_port: wanted.want("network.peer.port"),
        }
    }

    /// The first attribute of the span that names its peer.
    #[inline]
    pub(super) fn peer<'a>(&self, values: Values<'_, 'a>) -> Option<AnyValue<'a>> {
        let peer = self.peers.iter().find_map(|key| values.in_span(*key));
        peer.filter(|peer| is_named(*peer))
    }

    /// The database that a client calls; `None` if it does not call one. An
    /// attribute that is there and empty hides those after it.
    #[inline]
    pub(super) fn database<'a>(&self, values: Values<'_, 'a>) -> Option<Database<'a>> {
        let found = |key| values.dimension(key);
        let database = self.databases.iter().copied().find_map(found)?;
        let named = |key| found(key).map(|name| Database { name, port: None });
        let by_network = || {
            Some(Database {
                name: found(self.network_address)?,
                port: found(self.network_port),
            })
        };
        named(self.service)
            .or_else(|| named(self.address))
            .or_else(by_network)
            .or(Some(Database {
                name: database,
                port: None,
            }))
    }
}

impl Database<'_> {
    pub(super) fn is_named(self) -> bool {
        is_named(self.name)
    }

    pub(super) fn write_key(self, out: &mut Vec<u8>) {
        write_raw(Some(self.name), out);
        write_raw(self.port, out);
    }

    pub(super) fn write_label(
        self,
        name: &str,
        writer: &mut LabelWriter<'_>,
    ) -> Result<(), InvalidLabels> {
        writer.joined(name, ":", [Some(self.name), self.port].into_iter())
    }
}
