//! From configuration to a process that serves: every part, in the order in which
//! one needs the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;

use axum::Router;
use distributor::{Distributor, Forwarders, Limits, UsageTracker};
use generator::{Dependencies, Generator, GeneratorConfig, PUSH_SERVICE};
use model::Clock;
use overrides::{Overrides, UserOverrides};
use remote_write::RemoteWrite;
use server::grpc::Health;
use server::{Authentication, Tenancy};
use tokio::sync::oneshot;

use crate::authentication::needs;
use crate::config::{AppConfig, Loaded};
use crate::data_dir::DataDir;
use crate::deletion::{self, Deletion};
use crate::error::StartError;
use crate::own_metrics::OwnMetrics;
use crate::pages::tenants::Tenants;
use crate::pages::{self, Pages, ShownConfig};
use crate::ports::{self, Face, Port, UdpPort};
use crate::process::{Address, Part, Process, StopLimits};
use crate::readiness::{Readiness, Stage};
use crate::{listening, warnings};

/// The parts of this process, as `/status/services` lists them.
const SERVICES: [&str; 4] = ["distributor", "generator", "overrides", "remote-write"];

/// Where a planned stop keeps series, below the data directory.
const STATE_DIR: &str = "state";

/// Where settings that tenants change themselves are, below the data directory, unless
/// they are somewhere else.
const OVERRIDES_DIR: &str = "overrides";

/// Where it is marked who is being deleted, below the data directory.
const DELETIONS_DIR: &str = "deletions";

/// What the routes of all listeners are made of.
struct Routes {
    config: AppConfig,
    tenancy: Tenancy,
    /// None where everyone may come in.
    authentication: Option<Authentication>,
    distributor: Distributor<Generator>,
    usage: UsageTracker,
    generator: Generator,
    /// What tenants change themselves, if they may.
    user_overrides: Option<UserOverrides>,
    pages: Pages,
    /// Deletes tenants.
    deletion: Deletion,
    /// What gRPC's health service says.
    health: Health,
    /// Tasks of answers that outlive their handler.
    tasks: lifecycle::TaskGroup,
}

/// Starts everything.
///
/// # Errors
///
/// The first thing that stands in the way. Then no address is left bound.
pub(crate) async fn build(loaded: Loaded) -> Result<Process, StartError> {
    let Loaded {
        config,
        overrides: sources,
        warnings: ignored,
    } = loaded;
    let mut registry = telemetry::new_metrics_registry();
    let metrics = OwnMetrics::register(&mut registry);
    let tenancy = Tenancy {
        multitenancy_enabled: config.multitenancy_enabled,
    };
    let clock = Clock::system();
    let (intake, pages, background) = (Part::default(), Part::default(), Part::default());

    // What only checks comes first, so that nothing runs yet if it fails.
    let drain_timeout = config
        .server
        .graceful_shutdown_timeout
        .min(config.shutdown_deadline / 2);
    let wanted = listening::wanted(&config, drain_timeout)?;
    let data_dir = DataDir::lock(&config.storage.path)?;
    let ports = ports::bind(wanted)?;
    let udp_ports = ports::bind_udp(listening::wanted_udp(&config)?)?;

    let max_lanes = match config.metrics_generator.max_lanes {
        0 => available_parallelism().map_or(1, usize::from),
        lanes => lanes,
    };
    let authentication = Authentication::start(
        &config.authentication,
        metrics.authentication,
        &background.tasks,
        &background.shutdown,
    )
    .map_err(StartError::Config)?;
    let remote_write = RemoteWrite::start(
        config
            .metrics_generator
            .remote_write(tenancy.multitenancy_enabled, &config.storage.path),
        metrics.remote_write,
        clock.clone(),
        &background.tasks,
    )
    .map_err(StartError::RemoteWrite)?;
    let overrides = Overrides::start(
        sources,
        metrics.overrides.clone(),
        &background.tasks,
        &background.shutdown,
    )
    .map_err(StartError::Config)?;
    let user_configurable = &config.overrides.user_configurable_overrides;
    let user_overrides = match user_configurable.enabled {
        true => Some(
            UserOverrides::start(
                user_configurable,
                &config.storage.path.join(OVERRIDES_DIR),
                overrides.clone(),
                &metrics.overrides,
                &background.tasks,
                &background.shutdown,
            )
            .await
            .map_err(StartError::UserOverrides)?,
        ),
        false => None,
    };
    remote_write.resume(|tenant| generator::destinations(&overrides.for_tenant(tenant)));
    let generator = Generator::new(Dependencies {
        overrides: overrides.clone(),
        remote_write: Some(remote_write.clone()),
        metrics: metrics.generator,
        clock: clock.clone(),
        max_lanes,
        deduplicate_pushes: config.metrics_generator.deduplicate_pushes,
        instance_id: instance_id(&config.metrics_generator).into(),
        state_dir: Some(config.storage.path.join(STATE_DIR)),
        retire_after: config.metrics_generator.retire_idle_tenants_after,
    });
    let tenants = Tenants::new(
        overrides.clone(),
        generator.clone(),
        Some(remote_write.clone()),
        metrics.distributor.clone(),
    );
    let deletion = Deletion::new(
        deletion::Parts {
            overrides: overrides.clone(),
            user_overrides: user_overrides.clone(),
            generator: generator.clone(),
            remote_write: remote_write.clone(),
            distributor: metrics.distributor.clone(),
        },
        deletion::Places {
            marks: config.storage.path.join(DELETIONS_DIR),
            overrides: config.storage.path.join(OVERRIDES_DIR),
        },
        &background.tasks,
        background.shutdown.clone(),
    );
    let intake_metrics = metrics.distributor.clone();
    let cost_attribution = &config.distributor.usage.cost_attribution;
    let usage = UsageTracker::new(cost_attribution, overrides.clone(), clock);
    let forwarders = Forwarders::start(
        &config.distributor.forwarders,
        overrides.clone(),
        &metrics.forwarders,
        &background.tasks,
        &background.shutdown,
    )
    .map_err(StartError::Forwarders)?;
    let limits = Limits::new(overrides.clone(), &config.distributor);
    let distributor = Distributor::new(tenancy, generator.clone(), metrics.distributor, limits)
        .with_usage(usage.clone())
        .with_forwarders(forwarders);

    warnings::log(&config, &ignored, &overrides, &ports, &udp_ports);
    let limits = StopLimits {
        delay: config.shutdown_delay,
        drain: drain_timeout,
        flush: config.metrics_generator.storage.remote_write_flush_deadline,
        whole: config.shutdown_deadline,
    };
    let readiness = Readiness::new();
    let has_tempo_names = config.tempo_metric_names;
    let shown = ShownConfig::new(&config).map_err(StartError::Config)?;
    // Before anything of them is restored.
    deletion.finish_all();
    restore(&generator, &background).await;
    generator.start_collections(
        &background.tasks,
        background.shutdown.clone(),
        move |tenant| intake_metrics.forget(tenant),
    );
    let routes = Routes {
        config,
        tenancy,
        authentication,
        distributor,
        usage,
        generator: generator.clone(),
        user_overrides,
        deletion,
        pages: Pages {
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            has_tempo_names,
            config: shown.into(),
            overrides: overrides.clone(),
            services: &SERVICES,
            tenants: Some(tenants),
        },
        health: Health::new(readiness.stopping().clone(), intake.shutdown.clone()),
        tasks: pages.tasks.clone(),
    };
    let mut addresses = Vec::new();
    for port in ports {
        let address = port.listener.local_addr();
        let tls = port.options.tls.is_some();
        for face in &port.faces {
            addresses.push(Address {
                face: *face,
                address,
                shown: listening::show(&routes.config, *face, address, tls),
            });
        }
        let router = routes.of(&port);
        let part = if port.takes_spans() { &intake } else { &pages };
        port.listener
            .serve(router, port.options, part.shutdown.clone(), &part.tasks);
    }
    for port in udp_ports {
        addresses.push(routes.receive(port, &intake));
    }
    readiness.enter(Stage::Running);
    Ok(Process {
        readiness,
        addresses,
        generator,
        remote_write,
        intake,
        pages,
        background,
        limits,
        data_dir,
    })
}

/// Restores what the last stop saved. Nothing can fail from here on, so it is gone
/// from the disk then.
///
/// Cancelled, it leaves all on the disk for the next start.
async fn restore(generator: &Generator, background: &Part) {
    let (tell, told) = oneshot::channel();
    let generator = generator.clone();
    background.tasks.spawn_thread("restore", move || {
        // Nobody listens if a signal has ended the start.
        let _ = tell.send(generator.restore());
    });
    // It ends without an answer only by a panic, which is logged.
    if let Ok(read) = told.await {
        read.remove();
    }
}

impl Routes {
    /// What one port serves. Where it has several faces, a path that the first
    /// does not have is looked for in the next.
    fn of(&self, port: &Port) -> Router {
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
            Face::OtlpGrpc => match self.protocols().and_then(|named| named.grpc.as_ref()) {
                Some(grpc) => self.distributor.grpc_router(grpc, &self.health),
                None => Router::new(),
            },
            Face::OtlpHttp => match self.protocols().and_then(|named| named.http.as_ref()) {
                Some(http) => self.distributor.http_router(http),
                None => Router::new(),
            },
            Face::Zipkin => match &self.config.distributor.receivers.zipkin {
                Some(zipkin) => self.distributor.zipkin_router(zipkin),
                None => Router::new(),
            },
            Face::JaegerGrpc => match self.jaeger().and_then(|named| named.grpc.as_ref()) {
                Some(grpc) => self.distributor.jaeger_grpc_router(grpc, &self.health),
                None => Router::new(),
            },
            Face::JaegerThriftHttp => {
                match self.jaeger().and_then(|named| named.thrift_http.as_ref()) {
                    Some(http) => self.distributor.jaeger_http_router(http),
                    None => Router::new(),
                }
            }
            // Not over HTTP.
            Face::JaegerThriftCompact | Face::JaegerThriftBinary => Router::new(),
            Face::Internal => {
                let limit = self.config.server.grpc_server_max_recv_msg_size.as_usize();
                let pushes = self.generator.push_routes(self.tenancy, limit);
                pushes.merge(self.health.router(&[PUSH_SERVICE]))
            }
            Face::Api => {
                let prefix = &self.config.http_api_prefix;
                let scrape =
                    self.generator
                        .scrape_routes(self.tenancy, &self.tasks, address, prefix);
                let not_offered = pages::not_offered::routes(prefix);
                let mut pages = self.pages.clone();
                if self.tenancy.multitenancy_enabled {
                    // Clients of tenants come here, and are not to see each other's series.
                    pages.tenants = None;
                }
                let overrides =
                    pages::overrides_api::routes(prefix, self.user_overrides.clone(), self.tenancy);
                let pages = pages
                    .routes()
                    .merge(self.usage.routes())
                    .merge(scrape)
                    .merge(not_offered);
                pages.merge(overrides)
            }
            Face::Admin => {
                let deletion = pages::deletion::routes(self.deletion.clone());
                let pages = self.pages.clone().routes();
                pages.merge(self.usage.routes()).merge(deletion)
            }
        }
    }

    /// Reads a UDP port in the background, and says where it is.
    fn receive(&self, port: UdpPort, intake: &Part) -> Address {
        let UdpPort { datagrams, wanted } = port;
        let address = datagrams.local_addr();
        let shown = listening::show(&self.config, wanted.face, address, false);
        let (distributor, encoding) = (self.distributor.clone(), wanted.encoding);
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
        Address {
            face: wanted.face,
            address,
            shown,
        }
    }

    fn jaeger(&self) -> Option<&distributor::config::JaegerProtocols> {
        let jaeger = self.config.distributor.receivers.jaeger.as_ref()?;
        Some(&jaeger.protocols)
    }

    fn protocols(&self) -> Option<&distributor::config::Protocols> {
        let otlp = self.config.distributor.receivers.otlp.as_ref()?;
        Some(&otlp.protocols)
    }
}

/// The name of this generator: that of its host, unless it has one of its own.
pub(crate) fn instance_id(config: &GeneratorConfig) -> String {
    if !config.instance_id.is_empty() {
        return config.instance_id.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    host.map_or_else(|_| "localhost".to_owned(), |host| host.trim().to_owned())
}
