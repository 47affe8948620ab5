//! From settings to the addresses that are wanted, and how each is served.

use std::net::SocketAddr;
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

/// Stands for no limit.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Every address that the configuration asks for.
///
/// # Errors
///
/// An address that does not resolve, or TLS that cannot be set up.
pub(crate) fn wanted(config: &AppConfig, drain: Duration) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = Vec::new();
    if let Some(otlp) = &config.distributor.receivers.otlp {
        if let Some(grpc) = &otlp.protocols.grpc {
            wanted.push(Wanted {
                face: Face::OtlpGrpc,
                address: grpc.socket_addr().map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.grpc.endpoint",
                options: grpc_options(grpc, drain)?,
            });
        }
        if let Some(http) = &otlp.protocols.http {
            wanted.push(Wanted {
                face: Face::OtlpHttp,
                address: http.socket_addr().map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.http.endpoint",
                options: http_options(http, drain)?,
            });
        }
    }
    let server = &config.server;
    let plain = ServeOptions {
        drain_timeout: drain,
        ..ServeOptions::default()
    };
    wanted.push(Wanted {
        face: Face::Internal,
        address: server.grpc_address().map_err(refused)?,
        setting: "server.grpc_listen_port",
        options: ServeOptions {
            tls: load_tls("server.grpc_tls_config", server.grpc_tls_config.tls())?,
            max_concurrent_streams: server.grpc_server_max_concurrent_streams,
            ..plain.clone()
        },
    });
    wanted.push(Wanted {
        face: Face::Api,
        address: server.http_address().map_err(refused)?,
        setting: "server.http_listen_port",
        options: ServeOptions {
            tls: load_tls("server.http_tls_config", server.http_tls_config.tls())?,
            idle_timeout: set(server.http_server_idle_timeout).unwrap_or(NEVER),
            ..plain.clone()
        },
    });
    wanted.push(Wanted {
        face: Face::Admin,
        address: server.admin_address().map_err(refused)?,
        setting: "server.admin_listen_port",
        options: plain,
    });
    Ok(wanted)
}

/// Where to send to, or look at, a face, for people.
pub(crate) fn show(config: &AppConfig, face: Face, address: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let http = config.distributor.receivers.otlp.as_ref();
    match face {
        Face::OtlpGrpc | Face::Internal => address.to_string(),
        Face::OtlpHttp => {
            let http = http.and_then(|otlp| otlp.protocols.http.as_ref());
            let path = http.map_or("", |http| &http.traces_url_path);
            format!("{scheme}://{address}{path}")
        }
        Face::Api => format!("{scheme}://{address}/metrics/generated"),
        Face::Admin => format!("{scheme}://{address}/status"),
    }
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
    let tls = config.tls.clone();
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
    let tls = config.tls.clone();
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

fn load_tls(setting: &'static str, config: Option<TlsConfig>) -> Result<Option<Tls>, StartError> {
    config
        .map(|config| Tls::load(&config))
        .transpose()
        .map_err(|source| StartError::Tls { setting, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loaded;

    fn options(text: &str) -> Vec<(Face, ServeOptions)> {
        let config = Loaded::from_text("c.yaml", text).unwrap().config;
        let wanted = wanted(&config, Duration::from_secs(7)).unwrap();
        wanted
            .into_iter()
            .map(|wanted| (wanted.face, wanted.options))
            .collect()
    }

    #[test]
    fn receivers_are_served_as_their_settings_say() {
        let text = "
distributor:
  receivers:
    otlp:
      protocols:
        grpc:
          max_concurrent_streams: 5
          keepalive: {server_parameters: {max_connection_age: 1m, time: 9s}}
        http: {read_header_timeout: 4s, idle_timeout: 0s, keep_alives_enabled: false}
server: {http_server_idle_timeout: 3m, grpc_server_max_concurrent_streams: 6}
";
        let options = options(text);
        let faces: Vec<_> = options.iter().map(|(face, _)| *face).collect();
        assert_eq!(
            faces,
            [
                Face::OtlpGrpc,
                Face::OtlpHttp,
                Face::Internal,
                Face::Api,
                Face::Admin
            ]
        );
        assert!(
            options
                .iter()
                .all(|(_, options)| options.drain_timeout.as_secs() == 7)
        );
        let [(_, grpc), (_, http), (_, internal), (_, api), _] = options.as_slice() else {
            panic!("{options:?}");
        };
        assert_eq!(grpc.max_concurrent_streams, 5);
        assert_eq!(grpc.max_connection_age, Some(Duration::from_secs(60)));
        assert_eq!(grpc.ping_interval, Duration::from_secs(9));
        assert_eq!(http.header_read_timeout, Duration::from_secs(4));
        assert_eq!(http.idle_timeout, NEVER);
        assert!(!http.http1_keep_alive);
        assert_eq!(internal.max_concurrent_streams, 6);
        assert_eq!(api.idle_timeout, Duration::from_secs(180));
    }

    #[test]
    fn defaults_bound_streams_and_headers() {
        let options = options("distributor: {receivers: {otlp: {protocols: {grpc:, http:}}}}");
        assert_eq!(options[0].1.max_concurrent_streams, 1_000);
        assert_eq!(options[1].1.header_read_timeout, Duration::from_secs(10));
    }

    #[test]
    fn tls_that_cannot_be_loaded_names_its_block() {
        let text =
            "server: {http_tls_config: {cert_file: /nowhere/c.pem, key_file: /nowhere/k.pem}}";
        let config = Loaded::from_text("c.yaml", text).unwrap().config;
        let error = wanted(&config, Duration::ZERO).unwrap_err();
        let report = error.report();
        assert!(
            report.starts_with("server.http_tls_config: cert_file: cannot read /nowhere/c.pem: "),
            "{report}"
        );
        assert_eq!(error.exit_code(), 2);
    }
}
