//! Listeners, and what is the same on all of them: TLS, size limits,
//! compression, authentication, tenancy, the form of error answers.

pub mod authentication;
pub mod body;
pub mod budget;
pub mod cors;
pub mod datagrams;
pub mod grpc;
pub mod gzip;
pub mod listener;
pub mod nodes;
pub mod status;
pub mod tenancy;
pub mod tls;

mod activity;
mod clients;
mod connection;
mod inflate;
mod peer;
mod stream;

pub use authentication::{Authentication, AuthenticationConfig};
pub use body::{BodyError, read_body, read_held_body};
pub use budget::{Budget, Hold, Overloaded, RequestMemory};
pub use cors::CorsConfig;
pub use datagrams::{Datagram, Datagrams};
pub use listener::{BindError, Listener, ServeOptions};
pub use nodes::{NodeAuthentication, NodeAuthenticationConfig};
pub use peer::PeerAddress;
pub use tenancy::{Tenancy, TenantError};
pub use tls::{Tls, TlsConfig, TlsError};
