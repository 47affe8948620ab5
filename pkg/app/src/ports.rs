//! The addresses that the process listens on, and what it serves at each.

use std::net::SocketAddr;

use distributor::conversion::ThriftEncoding;
use server::{BindError, Datagrams, Listener, ServeOptions};

/// Something that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    OtlpGrpc,
    OtlpHttp,
    Zipkin,
    JaegerGrpc,
    JaegerThriftHttp,
    JaegerThriftCompact,
    JaegerThriftBinary,
    Api,
    Internal,
    Admin,
}

/// A face and where it is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) face: Face,
    pub(crate) address: SocketAddr,
    /// The setting that holds the address.
    pub(crate) setting: &'static str,
    pub(crate) options: ServeOptions,
}

/// A bound address with all faces that are wanted there.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) listener: Listener,
    pub(crate) faces: Vec<Face>,
    pub(crate) options: ServeOptions,
}

/// A face over UDP and where it is wanted.
#[derive(Debug)]
pub(crate) struct WantedUdp {
    pub(crate) face: Face,
    /// How the face's datagrams are encoded.
    pub(crate) encoding: ThriftEncoding,
    pub(crate) address: SocketAddr,
    /// The setting that holds the address.
    pub(crate) setting: &'static str,
    /// The largest datagram.
    pub(crate) max_bytes: usize,
    /// What the system keeps unread; 0 leaves it to the system.
    pub(crate) buffer_bytes: usize,
}

/// A bound UDP address.
#[derive(Debug)]
pub(crate) struct UdpPort {
    pub(crate) datagrams: Datagrams,
    pub(crate) wanted: WantedUdp,
}

/// Ports that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Two settings have one address, but not the same TLS.
    #[error("{first} and {second} are both {address}, but their tls settings differ")]
    TlsDiffers {
        /// The address.
        address: SocketAddr,
        /// One setting.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl Face {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "OTLP/gRPC",
            Self::OtlpHttp => "OTLP/HTTP",
            Self::Zipkin => "Zipkin",
            Self::JaegerGrpc => "Jaeger gRPC",
            Self::JaegerThriftHttp => "Jaeger Thrift over HTTP",
            Self::JaegerThriftCompact => "Jaeger Thrift over UDP, compact",
            Self::JaegerThriftBinary => "Jaeger Thrift over UDP, binary",
            Self::Api => "HTTP API",
            Self::Internal => "internal gRPC",
            Self::Admin => "admin",
        }
    }

    /// Whether it takes spans, and so is closed first.
    pub(crate) fn takes_spans(self) -> bool {
        match self {
            Self::OtlpGrpc
            | Self::OtlpHttp
            | Self::Zipkin
            | Self::JaegerGrpc
            | Self::JaegerThriftHttp
            | Self::JaegerThriftCompact
            | Self::JaegerThriftBinary
            | Self::Internal => true,
            Self::Api | Self::Admin => false,
        }
    }
}

impl Port {
    /// Whether any of its faces takes spans.
    pub(crate) fn takes_spans(&self) -> bool {
        self.faces.iter().any(|face| face.takes_spans())
    }
}

/// Binds every address, or none: equal addresses share a listener, except that
/// each port 0 is a port of its own. On a shared one the options of the first hold.
///
/// # Errors
///
/// The first address that cannot be had.
pub(crate) fn bind(wanted: Vec<Wanted>) -> Result<Vec<Port>, PortsError> {
    let mut groups: Vec<(Wanted, Vec<Face>)> = Vec::new();
    for next in wanted {
        let shared = groups
            .iter_mut()
            .find(|(first, _)| first.address == next.address && next.address.port() != 0);
        match shared {
            Some((first, faces)) => {
                if first.options.tls != next.options.tls {
                    return Err(PortsError::TlsDiffers {
                        address: next.address,
                        first: first.setting,
                        second: next.setting,
                    });
                }
                faces.push(next.face);
            }
            None => {
                let faces = vec![next.face];
                groups.push((next, faces));
            }
        }
    }
    groups
        .into_iter()
        .map(|(first, faces)| {
            Ok(Port {
                listener: Listener::bind(first.address, first.setting)?,
                faces,
                options: first.options,
            })
        })
        .collect()
}

/// Binds every UDP address, or none.
///
/// # Errors
///
/// The first address that cannot be had.
pub(crate) fn bind_udp(wanted: Vec<WantedUdp>) -> Result<Vec<UdpPort>, PortsError> {
    wanted
        .into_iter()
        .map(|wanted| {
            let datagrams = Datagrams::bind(wanted.address, wanted.setting, wanted.buffer_bytes)?;
            Ok(UdpPort { datagrams, wanted })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(face: Face, address: SocketAddr, setting: &'static str) -> Wanted {
        Wanted {
            face,
            address,
            setting,
            options: ServeOptions::default(),
        }
    }

    fn faces(ports: &[Port]) -> Vec<&[Face]> {
        ports.iter().map(|port| port.faces.as_slice()).collect()
    }

    /// A port that was free a moment ago.
    fn free_address() -> SocketAddr {
        let any = "127.0.0.1:0".parse().unwrap();
        Listener::bind(any, "test").unwrap().local_addr()
    }

    #[test]
    fn equal_addresses_share_a_listener_and_port_0_does_not() {
        let (one, any) = (free_address(), "127.0.0.1:0".parse().unwrap());
        let ports = bind(vec![
            wanted(Face::OtlpGrpc, one, "a"),
            wanted(Face::Api, any, "b"),
            wanted(Face::OtlpHttp, one, "c"),
            wanted(Face::Admin, any, "d"),
        ])
        .unwrap();
        assert_eq!(
            faces(&ports),
            [
                [Face::OtlpGrpc, Face::OtlpHttp].as_slice(),
                &[Face::Api],
                &[Face::Admin]
            ]
        );
        assert_eq!(ports[0].listener.local_addr(), one);
        assert_ne!(
            ports[1].listener.local_addr(),
            ports[2].listener.local_addr()
        );
    }

    #[test]
    fn failure_names_the_setting_and_leaves_no_port_bound() {
        let taken = Listener::bind("127.0.0.1:0".parse().unwrap(), "x").unwrap();
        let free = free_address();
        let error = bind(vec![
            wanted(Face::OtlpGrpc, free, "a.endpoint"),
            wanted(Face::Api, taken.local_addr(), "server.http_listen_port"),
        ])
        .unwrap_err();
        assert!(
            error.to_string().starts_with("server.http_listen_port: "),
            "{error}"
        );
        assert!(Listener::bind(free, "x").is_ok());
    }
}
