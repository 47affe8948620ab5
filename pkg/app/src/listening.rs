//! From settings to the addresses that are wanted, and how each is served.

use std::net::SocketAddr;
use std::time::Duration;

use distributor::config::{JaegerProtocols, ReceiversConfig};
use distributor::conversion::ThriftEncoding;
use server::{ServeOptions, Tls, TlsConfig};
use settings::{Problem, Problems};

use crate::config::AppConfig;
use crate::error::StartError;
use crate::ports::{Face, Wanted, WantedUdp};

/// Every address that the configuration asks for.
///
/// # Errors
///
/// An address that does not resolve, or TLS that cannot be set up.
pub(crate) fn wanted(config: &AppConfig, drain: Duration) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = match config.target.distributes() {
        true => receivers_wanted(&config.distributor.receivers)?,
        false => Vec::new(),
    };
    let server = &config.server;
    let tls = load_tls("server.grpc_tls_config", server.grpc_tls())?;
    wanted.push(Wanted {
        face: Face::Internal,
        address: server.grpc_address().map_err(refused)?,
        setting: "server.grpc_listen_port",
        options: server.grpc_options(tls),
    });
    let tls = load_tls("server.http_tls_config", server.http_tls())?;
    wanted.push(Wanted {
        face: Face::Api,
        address: server.http_address().map_err(refused)?,
        setting: "server.http_listen_port",
        options: server.http_options(tls),
    });
    let tls = load_tls("server.admin_tls_config", server.admin_tls())?;
    wanted.push(Wanted {
        face: Face::Admin,
        address: server.admin_address().map_err(refused)?,
        setting: "server.admin_listen_port",
        options: ServeOptions {
            tls,
            ..ServeOptions::default()
        },
    });
    for port in &mut wanted {
        port.options.drain_timeout = drain;
        port.options.max_connections_per_client = match server.max_connections_per_client {
            0 => (port.options.max_connections / 2).max(1),
            limit => limit,
        };
    }
    Ok(wanted)
}

fn receivers_wanted(receivers: &ReceiversConfig) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = Vec::new();
    if let Some(otlp) = &receivers.otlp {
        if let Some(grpc) = &otlp.protocols.grpc {
            let block = "distributor.receivers.otlp.protocols.grpc";
            let tls = load_tls(
                "distributor.receivers.otlp.protocols.grpc.tls",
                grpc.tls.clone(),
            )?;
            wanted.push(Wanted {
                face: Face::OtlpGrpc,
                address: grpc.socket_addr(block).map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.grpc.endpoint",
                options: grpc.serve_options(tls),
            });
        }
        if let Some(http) = &otlp.protocols.http {
            let block = "distributor.receivers.otlp.protocols.http";
            let tls = load_tls(
                "distributor.receivers.otlp.protocols.http.tls",
                http.tls.clone(),
            )?;
            wanted.push(Wanted {
                face: Face::OtlpHttp,
                address: http.socket_addr(block).map_err(refused)?,
                setting: "distributor.receivers.otlp.protocols.http.endpoint",
                options: http.serve_options(tls),
            });
        }
    }
    if let Some(zipkin) = &receivers.zipkin {
        let tls = load_tls("distributor.receivers.zipkin.tls", zipkin.tls.clone())?;
        let block = "distributor.receivers.zipkin";
        wanted.push(Wanted {
            face: Face::Zipkin,
            address: zipkin.socket_addr(block).map_err(refused)?,
            setting: "distributor.receivers.zipkin.endpoint",
            options: zipkin.serve_options(tls),
        });
    }
    if let Some(jaeger) = &receivers.jaeger {
        wanted.extend(jaeger_wanted(&jaeger.protocols)?);
    }
    Ok(wanted)
}

fn jaeger_wanted(protocols: &JaegerProtocols) -> Result<Vec<Wanted>, StartError> {
    let mut wanted = Vec::new();
    if let Some(grpc) = &protocols.grpc {
        let block = "distributor.receivers.jaeger.protocols.grpc";
        let tls = load_tls(
            "distributor.receivers.jaeger.protocols.grpc.tls",
            grpc.tls.clone(),
        )?;
        wanted.push(Wanted {
            face: Face::JaegerGrpc,
            address: grpc.socket_addr(block).map_err(refused)?,
            setting: "distributor.receivers.jaeger.protocols.grpc.endpoint",
            options: grpc.serve_options(tls),
        });
    }
    if let Some(http) = &protocols.thrift_http {
        let block = "distributor.receivers.jaeger.protocols.thrift_http";
        let setting = "distributor.receivers.jaeger.protocols.thrift_http.tls";
        let tls = load_tls(setting, http.tls.clone())?;
        wanted.push(Wanted {
            face: Face::JaegerThriftHttp,
            address: http.socket_addr(block).map_err(refused)?,
            setting: "distributor.receivers.jaeger.protocols.thrift_http.endpoint",
            options: http.serve_options(tls),
        });
    }
    Ok(wanted)
}

/// Every UDP address that the configuration asks for.
///
/// # Errors
///
/// An address that does not resolve.
pub(crate) fn wanted_udp(config: &AppConfig) -> Result<Vec<WantedUdp>, StartError> {
    let mut wanted = Vec::new();
    let jaeger = config.distributor.receivers.jaeger.as_ref();
    let Some(jaeger) = jaeger.filter(|_| config.target.distributes()) else {
        return Ok(wanted);
    };
    if let Some(udp) = &jaeger.protocols.thrift_compact {
        let block = "distributor.receivers.jaeger.protocols.thrift_compact";
        wanted.push(WantedUdp {
            face: Face::JaegerThriftCompact,
            encoding: ThriftEncoding::Compact,
            address: udp.socket_addr(block).map_err(refused)?,
            setting: "distributor.receivers.jaeger.protocols.thrift_compact.endpoint",
            max_bytes: udp.max_datagram_bytes(),
            buffer_bytes: udp.socket_buffer_size.as_usize(),
        });
    }
    if let Some(udp) = &jaeger.protocols.thrift_binary {
        let block = "distributor.receivers.jaeger.protocols.thrift_binary";
        wanted.push(WantedUdp {
            face: Face::JaegerThriftBinary,
            encoding: ThriftEncoding::Binary,
            address: udp.socket_addr(block).map_err(refused)?,
            setting: "distributor.receivers.jaeger.protocols.thrift_binary.endpoint",
            max_bytes: udp.max_datagram_bytes(),
            buffer_bytes: udp.socket_buffer_size.as_usize(),
        });
    }
    Ok(wanted)
}

/// Where to send to, or look at, a face, for people.
pub(crate) fn show(config: &AppConfig, face: Face, address: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let http = config.distributor.receivers.otlp.as_ref();
    match face {
        Face::OtlpGrpc | Face::JaegerGrpc | Face::Internal => address.to_string(),
        Face::JaegerThriftCompact | Face::JaegerThriftBinary => format!("{address}/udp"),
        Face::Zipkin => format!("{scheme}://{address}/api/v2/spans"),
        Face::JaegerThriftHttp => format!("{scheme}://{address}/api/traces"),
        Face::OtlpHttp => {
            let http = http.and_then(|otlp| otlp.protocols.http.as_ref());
            let path = http.map_or("", |http| &http.traces_url_path);
            format!("{scheme}://{address}{path}")
        }
        Face::Api => {
            let prefix = &config.http_api_prefix;
            format!("{scheme}://{address}{prefix}/metrics/generated")
        }
        Face::Admin => format!("{scheme}://{address}/status"),
    }
}

fn refused(problem: Problem) -> StartError {
    StartError::Config(Problems::from(problem))
}

fn load_tls(setting: &'static str, config: Option<TlsConfig>) -> Result<Option<Tls>, StartError> {
    config
        .map(|config| Tls::load(&config))
        .transpose()
        .map_err(|source| StartError::Tls { setting, source })
}

#[cfg(test)]
mod tests;
