//! Why the process does not start.

use std::io;

use server::TlsError;
use settings::Problems;
use telemetry::error_chain;
use telemetry::logging::LoggingError;

pub use crate::data_dir::DataDirError;
pub use crate::ports::PortsError;

/// A process that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used:\n{0}")]
    Config(Problems),
    /// Logging cannot be set up as asked for.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// TLS of a listener cannot be set up.
    #[error("{setting}")]
    Tls {
        /// The `tls` block.
        setting: &'static str,
        /// What is wrong with it.
        #[source]
        source: TlsError,
    },
    /// Remote write cannot be set up.
    #[error("metrics_generator.storage")]
    RemoteWrite(#[source] remote_write::StartError),
    /// The store of what tenants set themselves cannot be used.
    #[error("overrides.user_configurable_overrides.client")]
    UserOverrides(#[source] overrides::StoreError),
    /// The file that says who this node is cannot be used.
    #[error(transparent)]
    Node(#[from] ring::NodeFileError),
    /// The cluster cannot be joined.
    #[error(transparent)]
    Ring(#[from] ring::StartRingError),
    /// TLS of the way to generators cannot be set up.
    #[error("metrics_generator_client.grpc_client_config")]
    GeneratorClient(#[source] distributor::ClientTlsError),
    /// A forwarder cannot be set up.
    #[error("distributor.forwarders")]
    Forwarders(#[source] distributor::ForwarderStartError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// Threads cannot be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl StartError {
    /// The exit code of a process that ends with it: 2 where flags or
    /// configuration must change, 1 where something else stands in the way.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Logging(_)
            | Self::Tls { .. }
            | Self::RemoteWrite(_)
            | Self::Forwarders(_)
            | Self::GeneratorClient(_)
            | Self::UserOverrides(_) => 2,
            Self::DataDir(_)
            | Self::Node(_)
            | Self::Ring(_)
            | Self::Ports(_)
            | Self::Signals(_)
            | Self::Runtime(_) => 1,
        }
    }

    /// The message for whoever started the process, with all causes.
    pub fn report(&self) -> String {
        error_chain(self).to_string()
    }
}
