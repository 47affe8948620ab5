//! What each listener serves.

use std::net::SocketAddr;

use axum::Router;
use distributor::{Distributor, UsageTracker};
use generator::{Generator, NodePushes, PUSH_SERVICE};
use overrides::UserOverrides;
use ring::Ring;
use server::grpc::Health;
use server::nodes::NODE_PUSH_SERVICE;
use server::{Authentication, NodeAuthentication, Tenancy};

use crate::authentication::needs;
use crate::config::AppConfig;
use crate::deletion::Deletion;
use crate::downscale::Downscale;
use crate::listening;
use crate::node_calls::NodeAnswers;
use crate::pages::{self, Pages};
use crate::ports::{Face, Port, UdpPort};
use crate::process::{Address, Part};
use crate::pusher::Pusher;

/// What the routes of all listeners are made of.
pub(crate) struct Routes {
    pub(crate) config: AppConfig,
    pub(crate) tenancy: Tenancy,
    /// None where everyone may come in.
    pub(crate) authentication: Option<Authentication>,
    /// None where clients send no spans.
    pub(crate) distributor: Option<Distributor<Pusher>>,
    pub(crate) usage: UsageTracker,
    /// None where no series are made.
    pub(crate) generator: Option<Generator>,
    /// None where no distributors of a cluster push.
    pub(crate) node_pushes: Option<NodePushes>,
    /// None where the process is alone.
    pub(crate) ring: Option<Ring>,
    /// None where no other generator could take what this one leaves.
    pub(crate) downscale: Option<Downscale>,
    /// What tenants change themselves, if they may.
    pub(crate) user_overrides: Option<UserOverrides>,
    pub(crate) pages: Pages,
    /// Deletes tenants, where there is something of them.
    pub(crate) deletion: Option<Deletion>,
    /// What gRPC's health service says.
    pub(crate) health: Health,
    /// Tasks of answers that outlive their handler.
    pub(crate) tasks: lifecycle::TaskGroup,
}

impl Routes {
    /// What one port serves. Where it has several faces, a path that the first
    /// does not have is looked for in the next.
    pub(crate) fn of(&self, port: &Port) -> Router {
        let address = port.listener.local_addr();
        let mut router: Option<Router> = None;
        for face in port.faces.iter().rev() {
            let own = self.guarded(*face, self.of_face(*face, address));
            router = Some(match router {
                None => own,
                Some(next) => own.fallback_service(next),
            });
        }
        router.unwrap_or_default()
    }

    /// What a face serves, to those who may have it.
    fn guarded(&self, face: Face, own: Router) -> Router {
        let Some(authentication) = &self.authentication else {
            return own;
        };
        let prefix = self.config.http_api_prefix.clone();
        authentication.guard(own, self.tenancy, move |method, path| {
            needs(face, &prefix, method, path)
        })
    }

    fn of_face(&self, face: Face, address: SocketAddr) -> Router {
        match face {
            Face::Internal => {
                let limit = self.config.server.grpc_server_max_recv_msg_size.as_usize();
                let generator = self.generator.as_ref();
                let pushes = generator.map(|own| own.push_routes(self.tenancy, limit));
                let of_nodes = self.node_pushes.as_ref().map(|own| own.routes(limit));
                let samples = generator.filter(|_| of_nodes.is_some()).map(|own| {
                    let nodes = NodeAuthentication::new(&self.config.node_authentication);
                    own.handover_routes(nodes, limit)
                });
                let services: &[_] = match (&pushes, &of_nodes) {
                    (Some(_), Some(_)) => &[PUSH_SERVICE, NODE_PUSH_SERVICE],
                    (Some(_), None) => &[PUSH_SERVICE],
                    (None, _) => &[],
                };
                let calls = self.node_answers().map(|answers| answers.routes(limit));
                pushes
                    .unwrap_or_default()
                    .merge(calls.unwrap_or_default())
                    .merge(of_nodes.unwrap_or_default())
                    .merge(samples.unwrap_or_default())
                    .merge(self.health.router(services))
            }
            Face::Api => self.api(address),
            Face::Admin => {
                let deletion = self.deletion.clone().map(pages::deletion::routes);
                let ring = self.ring.clone().map(pages::ring::admin_routes);
                let downscale = self.downscale.clone();
                let downscale = downscale.map(pages::prepare_downscale::routes);
                let pages = self.pages.clone().routes();
                pages
                    .merge(self.usage.routes())
                    .merge(deletion.unwrap_or_default())
                    .merge(ring.unwrap_or_default())
                    .merge(downscale.unwrap_or_default())
                    .merge(self.ring_page())
            }
            _ => {
                let distributor = self.distributor.as_ref();
                let router = distributor.and_then(|own| self.receiver(own, face));
                router.unwrap_or_default()
            }
        }
    }

    /// What answers other nodes; none where there are none.
    fn node_answers(&self) -> Option<NodeAnswers> {
        self.ring.as_ref()?;
        Some(NodeAnswers {
            authentication: NodeAuthentication::new(&self.config.node_authentication),
            deletion: self.deletion.clone()?,
            tenants: self.pages.tenants.clone()?,
        })
    }

    fn ring_page(&self) -> Router {
        let ring = self.ring.clone();
        ring.map(pages::ring::routes).unwrap_or_default()
    }

    fn api(&self, address: SocketAddr) -> Router {
        let prefix = &self.config.http_api_prefix;
        let generator = self.generator.as_ref();
        let scrape =
            generator.map(|own| own.scrape_routes(self.tenancy, &self.tasks, address, prefix));
        let mut pages = self.pages.clone();
        if self.tenancy.multitenancy_enabled {
            // Clients of tenants come here, and are not to see each other's series.
            pages.tenants = None;
        }
        pages
            .routes()
            .merge(self.usage.routes())
            .merge(scrape.unwrap_or_default())
            .merge(self.ring_page())
            .merge(pages::not_offered::routes(prefix))
            .merge(pages::overrides_api::routes(
                prefix,
                self.user_overrides.clone(),
                self.tenancy,
            ))
    }

    /// A receiver; none if it is not configured, or has no requests.
    fn receiver(&self, distributor: &Distributor<Pusher>, face: Face) -> Option<Router> {
        let receivers = &self.config.distributor.receivers;
        let otlp = receivers.otlp.as_ref().map(|otlp| &otlp.protocols);
        let jaeger = receivers.jaeger.as_ref().map(|jaeger| &jaeger.protocols);
        match face {
            Face::OtlpGrpc => {
                let grpc = otlp?.grpc.as_ref()?;
                Some(distributor.grpc_router(grpc, &self.health))
            }
            Face::OtlpHttp => Some(distributor.http_router(otlp?.http.as_ref()?)),
            Face::Zipkin => Some(distributor.zipkin_router(receivers.zipkin.as_ref()?)),
            Face::JaegerGrpc => {
                let grpc = jaeger?.grpc.as_ref()?;
                Some(distributor.jaeger_grpc_router(grpc, &self.health))
            }
            Face::JaegerThriftHttp => {
                Some(distributor.jaeger_http_router(jaeger?.thrift_http.as_ref()?))
            }
            Face::JaegerThriftCompact
            | Face::JaegerThriftBinary
            | Face::Internal
            | Face::Api
            | Face::Admin => None,
        }
    }

    /// Reads a UDP port in the background, and says where it is; none where nobody
    /// takes spans.
    pub(crate) fn receive(&self, port: UdpPort, intake: &Part) -> Option<Address> {
        let distributor = self.distributor.clone()?;
        let UdpPort { datagrams, wanted } = port;
        let address = datagrams.local_addr();
        let shown = listening::show(&self.config, wanted.face, address, false);
        let encoding = wanted.encoding;
        let handle = move |datagram| {
            let distributor = distributor.clone();
            async move { distributor.jaeger_datagram(encoding, datagram).await }
        };
        datagrams.serve(
            wanted.max_bytes,
            intake.shutdown.clone(),
            &intake.tasks,
            handle,
        );
        Some(Address {
            face: wanted.face,
            address,
            shown,
        })
    }
}
