//! From settings to the addresses that are wanted, and how each is served.

use std::time::Duration;

use distributor::config::{GrpcReceiverConfig, HttpReceiverConfig, KeepaliveConfig};
use server::{ServeOptions, Tls, TlsConfig};
use settings::{Problem, Problems};

use crate::config::AppConfig;
use crate::error::StartError;
use crate::ports::{Face, Wanted};

/// The longest that the headers of a first request may take, whatever is set:
/// slow headers are how servers are starved of connections.
const MAX_HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Every address that the configuration asks for.
///
/// # Errors
///
/// An address that does not resolve, or TLS that cannot be set up.
pub(crate) fn wanted(config: &AppConfig, drain: Duration) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = Vec::new();
    let protocols = config
        .distributor
        .receivers
        .otlp
        .iter()
        .map(|otlp| &otlp.protocols);
    for protocols in protocols {
        if let Some(grpc) = &protocols.grpc {
            wanted.push(Wanted {
                face: Face::OtlpGrpc,
                address: grpc.socket_addr().map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.grpc.endpoint",
                options: grpc_options(grpc, drain)?,
            });
        }
        if let Some(http) = &protocols.http {
            wanted.push(Wanted {
                face: Face::OtlpHttp,
                address: http.socket_addr().map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.http.endpoint",
                options: http_options(http, drain)?,
            });
        }
    }
    let options = ServeOptions {
        drain_timeout: drain,
        ..ServeOptions::default()
    };
    let addresses = [
        (
            Face::Internal,
            config.server.grpc_address(),
            "server.grpc_listen_port",
        ),
        (
            Face::Api,
            config.server.http_address(),
            "server.http_listen_port",
        ),
        (
            Face::Admin,
            config.server.admin_address(),
            "server.admin_listen_port",
        ),
    ];
    for (face, address, setting) in addresses {
        wanted.push(Wanted {
            face,
            address: address.map_err(refused)?,
            setting,
            options: options.clone(),
        });
    }
    Ok(wanted)
}

fn refused(problem: Problem) -> StartError {
    StartError::Config(Problems::from(problem))
}

fn grpc_options(config: &GrpcReceiverConfig, drain: Duration) -> Result<ServeOptions, StartError> {
    let KeepaliveConfig {
        server_parameters: keepalive,
        ..
    } = &config.keepalive;
    let default = ServeOptions::default();
    let tls = config.tls.as_ref();
    Ok(ServeOptions {
        tls: load_tls("distributor.receivers.otlp.protocols.grpc.tls", tls)?,
        drain_timeout: drain,
        max_concurrent_streams: match config.max_concurrent_streams {
            0 => default.max_concurrent_streams,
            streams => streams,
        },
        ping_interval: set(keepalive.time).unwrap_or(default.ping_interval),
        ping_timeout: set(keepalive.timeout).unwrap_or(default.ping_timeout),
        max_connection_age: set(keepalive.max_connection_age),
        max_connection_age_grace: set(keepalive.max_connection_age_grace),
        ..default
    })
}

fn http_options(config: &HttpReceiverConfig, drain: Duration) -> Result<ServeOptions, StartError> {
    /// Stands for no limit.
    const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

    let tls = config.tls.as_ref();
    Ok(ServeOptions {
        tls: load_tls("distributor.receivers.otlp.protocols.http.tls", tls)?,
        drain_timeout: drain,
        header_read_timeout: set(config.read_header_timeout)
            .unwrap_or(MAX_HEADER_READ_TIMEOUT)
            .min(MAX_HEADER_READ_TIMEOUT),
        idle_timeout: set(config.idle_timeout).unwrap_or(NEVER),
        http1_keep_alive: config.keep_alives_enabled,
        ..ServeOptions::default()
    })
}

/// A duration of which zero means that it is not set.
fn set(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn load_tls(setting: &'static str, config: Option<&TlsConfig>) -> Result<Option<Tls>, StartError> {
    config
        .map(Tls::load)
        .transpose()
        .map_err(|source| StartError::Tls { setting, source })
}
