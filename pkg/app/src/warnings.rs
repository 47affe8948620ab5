//! What the configuration asks for and its author may not have meant.

use overrides::Overrides;

use crate::config::AppConfig;
use crate::ports::{Port, UdpPort};

/// Logs everything that is worth a second look.
pub(crate) fn log(
    config: &AppConfig,
    ignored: &[String],
    overrides: &Overrides,
    ports: &[Port],
    udp_ports: &[UdpPort],
) {
    for warning in ignored {
        tracing::warn!(warning, "part of the configuration is ignored");
    }
    if !overrides.any_processor_configured() {
        tracing::warn!(
            "no tenant has a processor, so no series are generated; set \
             overrides.defaults.metrics_generator.processors"
        );
    }
    for port in ports {
        if config.authentication.is_on() {
            if can_be_overheard(config, port) {
                tracing::warn!(
                    address = %port.listener.local_addr(),
                    "credentials that are sent to this address can be overheard: set up TLS"
                );
            }
        } else if is_open_to_strangers(port) {
            let faces: Vec<_> = port.faces.iter().map(|face| face.name()).collect();
            tracing::warn!(
                address = %port.listener.local_addr(),
                serves = faces.join(", "),
                "{}",
                what_strangers_may(config.multitenancy_enabled)
            );
        }
    }
    for port in udp_ports {
        log_udp(port, config.multitenancy_enabled);
    }
}

fn log_udp(port: &UdpPort, multitenancy_enabled: bool) {
    let address = port.datagrams.local_addr();
    let serves = port.wanted.face.name();
    if multitenancy_enabled {
        tracing::warn!(
            %address,
            serves,
            "nothing is taken here: a datagram names no tenant, and multitenancy_enabled \
             asks for one"
        );
    } else if !address.ip().is_loopback() {
        tracing::warn!(%address, serves, "{}", what_strangers_may(false));
    }
}

/// Whether other hosts reach it without showing who they are.
fn is_open_to_strangers(port: &Port) -> bool {
    let authenticates = port
        .options
        .tls
        .as_ref()
        .is_some_and(server::Tls::asks_for_client_certificates);
    !authenticates && !port.listener.local_addr().ip().is_loopback()
}

/// Whether credentials cross the network as they are.
fn can_be_overheard(config: &AppConfig, port: &Port) -> bool {
    let is_plain = port.options.tls.is_none() && !port.listener.local_addr().ip().is_loopback();
    is_plain && config.authentication.can_be_overheard()
}

fn what_strangers_may(multitenancy_enabled: bool) -> &'static str {
    if multitenancy_enabled {
        "whoever reaches this address may act as any tenant: set up authentication, or put \
         something in front that authenticates and sets X-Scope-OrgID"
    } else {
        "this address is open to other hosts without authentication"
    }
}

#[cfg(test)]
mod tests {
    use server::authentication::{ClientCertificateConfig, CredentialConfig};
    use server::{Listener, ServeOptions};

    use super::*;
    use crate::ports::Face;

    #[test]
    fn only_ports_beyond_loopback_are_open_to_strangers() {
        for (address, open) in [
            ("127.0.0.1:0", false),
            ("127.0.0.2:0", false),
            ("0.0.0.0:0", true),
        ] {
            let port = Port {
                listener: Listener::bind(address.parse().unwrap(), "test").unwrap(),
                faces: vec![Face::OtlpGrpc],
                options: ServeOptions::default(),
            };
            assert_eq!(is_open_to_strangers(&port), open, "{address}");
            let mut config = AppConfig::default();
            assert!(!can_be_overheard(&config, &port));
            config
                .authentication
                .credentials
                .push(CredentialConfig::default());
            assert_eq!(can_be_overheard(&config, &port), open, "{address}");
            config.authentication.credentials = vec![CredentialConfig {
                client_certificate: Some(ClientCertificateConfig::default()),
                ..CredentialConfig::default()
            }];
            assert!(!can_be_overheard(&config, &port));
        }
        assert!(what_strangers_may(true).contains("any tenant"));
    }
}
