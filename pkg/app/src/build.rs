//! From configuration to a process that serves: every part, in the order in which
//! one needs the other.

use std::sync::Arc;
use std::thread::available_parallelism;

use distributor::{
    ClusterPusher, ClusterPusherDependencies, Distributor, Forwarders, Limits, OwnGenerator,
    UsageTracker,
};
use generator::{
    Dependencies, Generator, GeneratorConfig, NodePushDependencies, NodePushMetrics, NodePushes,
};
use model::Clock;
use overrides::user_configurable::config::Backend;
use overrides::{Overrides, UserOverrides};
use remote_write::RemoteWrite;
use server::grpc::Health;
use server::{Authentication, Budget, NodeAuthentication, Tenancy};
use tokio::sync::oneshot;

use crate::cluster::{self, Cluster, EdgeMoves, host_name};
use crate::config::{AppConfig, Loaded, Target};
use crate::data_dir::DataDir;
use crate::deletion::{self, Deletion};
use crate::downscale::Downscale;
use crate::error::StartError;
use crate::memory::{self, Marks};
use crate::own_metrics::{DistributingMetrics, GeneratingMetrics, OwnMetrics};
use crate::pages::tenants::Tenants;
use crate::pages::{Pages, ShownConfig};
use crate::ports::{self, Face};
use crate::process::{Address, Generating, Part, Process, StopLimits};
use crate::pusher::Pusher;
use crate::readiness::{Readiness, Stage};
use crate::routes::Routes;
use crate::{listening, warnings};

/// Where a planned stop keeps series, below the data directory.
const STATE_DIR: &str = "state";

/// Where settings that tenants change themselves are, below the data directory, unless
/// they are somewhere else.
const OVERRIDES_DIR: &str = "overrides";

/// Where it is marked who is being deleted, below the data directory.
const DELETIONS_DIR: &str = "deletions";

/// Where it is kept who was deleted, below the data directory.
const DELETED_DIR: &str = "deleted";

/// What every part is made with.
struct Common<'a> {
    config: &'a AppConfig,
    tenancy: Tenancy,
    overrides: Overrides,
    clock: Clock,
    /// None where the process is alone.
    cluster: Option<Cluster>,
    background: Part,
    /// The memory that requests in flight share.
    budget: Budget,
}

/// Starts everything.
///
/// # Errors
///
/// The first thing that stands in the way. Then no address is left bound.
pub(crate) async fn build(loaded: Loaded) -> Result<Process, StartError> {
    // All parts of a process on their way to their places take some 17 KiB.
    Box::pin(assemble(loaded)).await
}

async fn assemble(loaded: Loaded) -> Result<Process, StartError> {
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
    let (intake, pages, background) = (Part::default(), Part::default(), Part::default());

    // What only checks comes first, so that nothing runs yet if it fails.
    let drain_timeout = config
        .server
        .graceful_shutdown_timeout
        .min(config.shutdown_deadline / 2);
    let wanted = listening::wanted(&config, drain_timeout)?;
    // Distributors keep nothing.
    let data_dir = match config.target.generates() {
        true => Some(DataDir::lock(&config.storage.path)?),
        false => None,
    };
    let ports = ports::bind(wanted)?;
    let udp_ports = ports::bind_udp(listening::wanted_udp(&config)?)?;

    let authentication = Authentication::start(
        &config.authentication,
        metrics.authentication,
        &background.tasks,
        &background.shutdown,
    )
    .map_err(StartError::Config)?;
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
    let clock = Clock::system();
    let of_clients = metrics.distributing.generators.clone();
    let cluster = match cluster::is_wanted(&config) {
        true => {
            let internal = ports
                .iter()
                .find(|port| port.faces.contains(&Face::Internal));
            let internal = internal.map(|port| port.listener.local_addr());
            let joined = Cluster::join(
                &config,
                internal,
                clock.clone(),
                metrics.ring,
                of_clients,
                &background,
            );
            Some(joined.await?)
        }
        false => None,
    };
    let marks = Marks::new(config.memory_limit);
    let common = Common {
        config: &config,
        tenancy,
        overrides: overrides.clone(),
        clock,
        cluster: cluster.clone(),
        background: background.clone(),
        budget: marks.budget(),
    };
    let of_intake = metrics.distributing.distributor.clone();
    let of_nodes = metrics.generating.node_pushes.clone();
    let generating = match config.target.generates() {
        true => Some(generating(&common, metrics.generating)?),
        false => None,
    };
    let node_pushes = generating
        .as_ref()
        .zip(cluster.as_ref())
        .map(|(part, cluster)| node_pushes(&common, cluster, &part.generator, of_nodes));
    memory::watch(
        marks,
        common.budget.clone(),
        generating.as_ref().map(|part| part.generator.clone()),
        metrics.memory,
        &background,
    );
    let has_tenants = generating.is_some() || cluster.is_some();
    let deletion = has_tenants.then(|| {
        let parts = deletion::Parts {
            overrides: overrides.clone(),
            user_overrides: user_overrides.clone(),
            generating: generating.clone(),
            distributor: of_intake.clone(),
            authentication: authentication.clone(),
            cluster: cluster.clone(),
            has_node_authentication: NodeAuthentication::new(&config.node_authentication).is_on(),
        };
        deletion(&common, parts)
    });
    let usage = UsageTracker::new(
        &config.distributor.usage.cost_attribution,
        overrides.clone(),
        common.clock.clone(),
    );
    let rates = Limits::new(
        overrides.clone(),
        common.budget.clone(),
        &config.distributor,
    );
    let distributor = match config.target.distributes() {
        true => {
            let here = generating.as_ref().map(|part| &part.generator);
            let own = node_pushes.as_ref();
            let (rates, metrics) = (rates.clone(), metrics.distributing);
            let distributor = distributing(&common, here, own, rates, metrics)?;
            distributor.map(|distributor| distributor.with_usage(usage.clone()))
        }
        false => None,
    };

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
    if let Some(deletion) = &deletion {
        // Before anything of them is restored.
        deletion.finish_all();
    }
    if let Some(Generating { generator, .. }) = &generating {
        restore(generator, &background).await;
        let of_intake = of_intake.clone();
        generator.start_collections(
            &background.tasks,
            background.shutdown.clone(),
            move |tenant| of_intake.forget(tenant),
        );
    }
    let tenants = has_tenants.then(|| {
        let (of_intake, cluster) = (of_intake.clone(), cluster.clone());
        Tenants::new(overrides.clone(), generating.clone(), of_intake, cluster)
    });
    let services = services(config.target);
    let edge_moves = generating.as_ref().zip(cluster.as_ref());
    let edge_moves = edge_moves.map(|(part, cluster)| {
        EdgeMoves::new(cluster.clone(), part.generator.clone(), overrides.clone())
    });
    if let Some(cluster) = &cluster {
        cluster.keep_up(rates, marks, &background);
        if generating.is_none() {
            let idle = config.metrics_generator.retire_idle_tenants_after;
            cluster.forget_idle(of_intake.clone(), idle, &background);
        }
    }
    let downscale = edge_moves
        .as_ref()
        .map(|_| Downscale::new(&config.storage.path));
    if let Some(moves) = &edge_moves {
        moves.follow_the_ring(&background);
    }
    if let Some(deletion) = &deletion {
        deletion.catch_up();
    }
    let storage = config.storage.path.clone();
    let routes = Routes {
        config,
        tenancy,
        authentication,
        distributor,
        usage,
        generator: generating.as_ref().map(|part| part.generator.clone()),
        node_pushes,
        ring: cluster.as_ref().map(|cluster| cluster.ring.clone()),
        downscale: downscale.clone(),
        user_overrides,
        deletion,
        pages: Pages {
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            has_tempo_names,
            config: shown.into(),
            overrides,
            services,
            tenants,
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
        addresses.extend(routes.receive(port, &intake));
    }
    readiness.enter(Stage::Running);
    if let Some(cluster) = &cluster {
        cluster.take_spans();
    }
    Ok(Process {
        readiness,
        addresses,
        generating,
        cluster,
        edge_moves,
        downscale,
        intake,
        pages,
        background,
        limits,
        storage,
        data_dir,
    })
}

/// What makes series, with nothing restored yet.
fn generating(common: &Common<'_>, metrics: GeneratingMetrics) -> Result<Generating, StartError> {
    let config = &common.config.metrics_generator;
    let storage = &common.config.storage.path;
    let max_lanes = match config.max_lanes {
        0 => available_parallelism().map_or(1, usize::from),
        lanes => lanes,
    };
    let remote_write = RemoteWrite::start(
        config.remote_write(common.tenancy.multitenancy_enabled, storage),
        metrics.remote_write,
        common.clock.clone(),
        &common.background.tasks,
    )
    .map_err(StartError::RemoteWrite)?;
    let overrides = &common.overrides;
    remote_write.resume(|tenant| generator::destinations(&overrides.for_tenant(tenant)));
    let generator = Generator::new(Dependencies {
        overrides: overrides.clone(),
        remote_write: Some(remote_write.clone()),
        metrics: metrics.generator,
        clock: common.clock.clone(),
        max_lanes,
        deduplicate_pushes: config.deduplicate_pushes,
        instance_label: match &common.cluster {
            Some(cluster) => cluster.instance_label(),
            None => instance_id(config).into(),
        },
        state_dir: Some(storage.join(STATE_DIR)),
        retire_after: config.retire_idle_tenants_after,
    });
    Ok(Generating {
        generator,
        remote_write,
    })
}

/// What takes spans in.
fn distributing(
    common: &Common<'_>,
    here: Option<&Generator>,
    own: Option<&NodePushes>,
    limits: Limits,
    metrics: DistributingMetrics,
) -> Result<Option<Distributor<Pusher>>, StartError> {
    let config = &common.config.distributor;
    let pusher = match (&common.cluster, here) {
        (Some(cluster), _) => Pusher::Cluster(pusher(common, cluster, own, &metrics)),
        (None, Some(generator)) => Pusher::Here(generator.clone()),
        (None, None) => return Ok(None),
    };
    let forwarders = Forwarders::start(
        &config.forwarders,
        common.overrides.clone(),
        &metrics.forwarders,
        &common.background.tasks,
        &common.background.shutdown,
    )
    .map_err(StartError::Forwarders)?;
    let distributor = Distributor::new(common.tenancy, pusher, metrics.distributor, limits);
    Ok(Some(distributor.with_forwarders(forwarders)))
}

/// The way to the generators of a cluster.
fn pusher(
    common: &Common<'_>,
    cluster: &Cluster,
    own: Option<&NodePushes>,
    metrics: &DistributingMetrics,
) -> ClusterPusher {
    let identity = cluster.ring.identity();
    let own = own
        .cloned()
        .map(|own| OwnGenerator::new(move |metadata, request| own.take(metadata, request)));
    ClusterPusher::new(ClusterPusherDependencies {
        ring: cluster.ring.view(),
        seed: cluster.seed,
        overrides: common.overrides.clone(),
        clients: cluster.clients.clone(),
        own,
        id: Arc::clone(&identity.id),
        incarnation: identity.incarnation,
        began: cluster.began.into(),
        deduplicate_pushes: common.config.metrics_generator.deduplicate_pushes,
        metrics: metrics.distributor.clone(),
    })
}

/// What takes pushes from distributors of the cluster.
fn node_pushes(
    common: &Common<'_>,
    cluster: &Cluster,
    generator: &Generator,
    metrics: NodePushMetrics,
) -> NodePushes {
    let back = cluster.clone();
    let dependencies = NodePushDependencies {
        generator: generator.clone(),
        ring: cluster.ring.view(),
        id: Arc::clone(&cluster.ring.identity().id),
        seed: cluster.seed,
        authentication: NodeAuthentication::new(&common.config.node_authentication),
        is_back: Arc::new(move |since| back.is_back(since)),
        budget: common.budget.clone(),
        metrics,
    };
    let background = &common.background;
    NodePushes::start(dependencies, &background.tasks, &background.shutdown)
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

fn deletion(common: &Common<'_>, parts: deletion::Parts) -> Deletion {
    let storage = &common.config.storage.path;
    let store = &common.config.overrides.user_configurable_overrides.client;
    let generator = &common.config.metrics_generator;
    let remote_write = generator.remote_write(common.tenancy.multitenancy_enabled, storage);
    let places = deletion::Places {
        marks: storage.join(DELETIONS_DIR),
        records: storage.join(DELETED_DIR),
        overrides: storage.join(OVERRIDES_DIR),
        has_own_overrides: store.backend == Backend::Local
            && store.local.path.as_os_str().is_empty(),
        of_tenants: [storage.join(STATE_DIR), remote_write.spool.directory],
    };
    let background = &common.background;
    Deletion::new(
        parts,
        places,
        common.clock.clone(),
        &background.tasks,
        background.shutdown.clone(),
    )
}

/// The parts of a process, as `/status/services` lists them.
fn services(target: Target) -> &'static [&'static str] {
    match target {
        Target::All => &["distributor", "generator", "overrides", "remote-write"],
        Target::Distributor => &["distributor", "overrides"],
        Target::Generator => &["generator", "overrides", "remote-write"],
    }
}

/// The name of this generator: that of its host, unless it has one of its own.
pub(crate) fn instance_id(config: &GeneratorConfig) -> String {
    config
        .named_instance()
        .map_or_else(host_name, str::to_owned)
}
