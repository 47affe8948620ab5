//! The topology file: what people write, and its resolution to indices.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{
    Call, Callee, Database, Names, Operation, Protocol, Queue, Topology, TopologyError, Work,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) services: Vec<ServiceEntry>,
    #[serde(default)]
    databases: Vec<DatabaseEntry>,
    #[serde(default)]
    queues: Vec<QueueEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceEntry {
    pub(super) name: String,
    #[serde(default = "default_language")]
    pub(super) language: String,
    #[serde(default = "default_version")]
    pub(super) version: String,
    #[serde(default = "one")]
    pub(super) instances: usize,
    operations: Vec<OperationEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    http: Option<String>,
    grpc: Option<String>,
    consumes: Option<String>,
    work: Option<String>,
    #[serde(default)]
    weight: f64,
    #[serde(default = "default_latency", deserialize_with = "duration")]
    latency: Duration,
    #[serde(default = "default_spread")]
    spread: f64,
    #[serde(default)]
    errors: f64,
    #[serde(default)]
    calls: Vec<CallEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallEntry {
    to: String,
    operation: Option<String>,
    #[serde(default = "hundred")]
    percent: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseEntry {
    name: String,
    system: String,
    database: String,
    #[serde(default = "default_latency", deserialize_with = "duration")]
    latency: Duration,
    #[serde(default = "default_spread")]
    spread: f64,
    #[serde(default)]
    errors: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueEntry {
    name: String,
    system: String,
    #[serde(default = "default_latency", deserialize_with = "duration")]
    delay: Duration,
}

fn default_namespace() -> String {
    "shop".to_owned()
}

fn default_language() -> String {
    "go".to_owned()
}

fn default_version() -> String {
    "1.0.0".to_owned()
}

fn default_latency() -> Duration {
    Duration::from_millis(5)
}

fn default_spread() -> f64 {
    0.5
}

fn one() -> usize {
    1
}

fn hundred() -> f64 {
    100.0
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|problem| {
        serde::de::Error::custom(format!("{text:?} is not a duration such as 5ms: {problem}"))
    })
}

/// Reads, resolves and checks.
pub(super) fn read(text: &str) -> Result<Topology, TopologyError> {
    let file: File = serde_saphyr::from_str(text)
        .map_err(|problem| TopologyError::Syntax(problem.to_string()))?;
    let (services, resources) = super::build_resources(&file);
    let mut topology = Topology {
        services,
        resources,
        databases: file.databases.iter().map(DatabaseEntry::build).collect(),
        queues: file.queues.iter().map(QueueEntry::build).collect(),
        operations: Vec::new(),
        entries: Vec::new(),
    };
    let queues = names(file.queues.iter().map(|queue| queue.name.as_str()))?;
    let databases = names(file.databases.iter().map(|database| database.name.as_str()))?;
    let services = names(file.services.iter().map(|service| service.name.as_str()))?;
    let mut weights = 0.0;
    for (index, service) in file.services.iter().enumerate() {
        for entry in &service.operations {
            let protocol = entry.protocol(&service.name, &queues)?;
            let number = topology.operations.len();
            if let Protocol::Consumes { queue } = protocol
                && let Some(queue) = topology.queues.get_mut(queue)
            {
                queue.consumers.push(number);
            }
            if entry.weight > 0.0 {
                weights += entry.weight;
                topology.entries.push((weights, number));
            }
            topology.operations.push(Operation {
                service: index,
                protocol,
                work: Work {
                    median: entry.latency,
                    spread: entry.spread,
                    errors: entry.errors,
                },
                calls: Vec::new(),
            });
        }
    }
    let entries = file
        .services
        .iter()
        .flat_map(|service| service.operations.iter().map(move |entry| (service, entry)));
    for (number, (service, entry)) in entries.enumerate() {
        let mut calls = Vec::new();
        for call in &entry.calls {
            let place = format!("service {}, {}", service.name, entry.title());
            let to = call.resolve(&place, &topology, &services, &databases, &queues)?;
            calls.push(Call {
                to,
                probability: call.percent / 100.0,
            });
        }
        if let Some(operation) = topology.operations.get_mut(number) {
            operation.calls = calls;
        }
    }
    check(&topology)?;
    Ok(topology)
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> Result<Names<'a>, TopologyError> {
    let mut names = Names::new();
    for (index, name) in all.enumerate() {
        if names.insert(name, index).is_some() {
            return Err(invalid(name, "there are two of this name".to_owned()));
        }
    }
    Ok(names)
}

fn invalid(place: &str, problem: String) -> TopologyError {
    TopologyError::Invalid {
        place: place.to_owned(),
        problem,
    }
}

/// Refuses what would never send a span, and what would never end.
fn check(topology: &Topology) -> Result<(), TopologyError> {
    if topology.entries.is_empty() {
        let problem = "no operation has a weight, so nothing is called from outside".to_owned();
        return Err(invalid("services", problem));
    }
    let mut path = Vec::new();
    for (_, entry) in &topology.entries {
        find_cycle(topology, *entry, &mut path)?;
    }
    Ok(())
}

fn find_cycle(
    topology: &Topology,
    operation: usize,
    path: &mut Vec<usize>,
) -> Result<(), TopologyError> {
    /// Deeper call chains are refused: the work grows with each level.
    const DEEPEST: usize = 64;
    let again = path.contains(&operation);
    path.push(operation);
    if again || path.len() > DEEPEST {
        let names: Vec<_> = path.iter().map(|one| topology.title(*one)).collect();
        let problem = format!(
            "calls itself, so a trace would never end: {}",
            names.join(" > ")
        );
        return Err(invalid(&topology.title(operation), problem));
    }
    let calls = topology.operations.get(operation).map(|one| &one.calls);
    for call in calls.into_iter().flatten() {
        match &call.to {
            Callee::Operation(callee) => find_cycle(topology, *callee, path)?,
            Callee::Queue(queue) => {
                let consumers = topology.queues.get(*queue).map(|queue| &queue.consumers);
                for consumer in consumers.into_iter().flatten() {
                    find_cycle(topology, *consumer, path)?;
                }
            }
            Callee::Query { .. } => {}
        }
    }
    path.pop();
    Ok(())
}

impl Topology {
    fn title(&self, operation: usize) -> String {
        let Some(operation) = self.operations.get(operation) else {
            return String::new();
        };
        let service = self.services.get(operation.service);
        let service = service.map_or("", |service| service.name.as_str());
        format!("{service} {}", operation.protocol.title())
    }
}

impl Protocol {
    fn title(&self) -> String {
        match self {
            Self::Http { method, route } => format!("{method} {route}"),
            Self::Grpc { service, method } => format!("{service}/{method}"),
            Self::Consumes { .. } => "consumer".to_owned(),
            Self::Internal { name } => name.clone(),
        }
    }
}

impl DatabaseEntry {
    fn build(&self) -> Database {
        Database {
            name: self.name.clone(),
            system: self.system.clone(),
            database: self.database.clone(),
            work: Work {
                median: self.latency,
                spread: self.spread,
                errors: self.errors,
            },
        }
    }
}

impl QueueEntry {
    fn build(&self) -> Queue {
        Queue {
            name: self.name.clone(),
            system: self.system.clone(),
            delay: self.delay,
            consumers: Vec::new(),
        }
    }
}

impl OperationEntry {
    fn title(&self) -> &str {
        let names = [&self.http, &self.grpc, &self.consumes, &self.work];
        names
            .into_iter()
            .flatten()
            .next()
            .map_or("", String::as_str)
    }

    fn protocol(&self, service: &str, queues: &Names<'_>) -> Result<Protocol, TopologyError> {
        let place = format!("service {service}, {}", self.title());
        match (&self.http, &self.grpc, &self.consumes, &self.work) {
            (Some(http), None, None, None) => {
                let (method, route) = http.split_once(' ').unwrap_or((http, ""));
                let method = METHODS.iter().find(|known| **known == method);
                match (method, route.trim()) {
                    (Some(method), route) if route.starts_with('/') => Ok(Protocol::Http {
                        method,
                        route: route.to_owned(),
                    }),
                    _ => Err(invalid(
                        &place,
                        "http: is METHOD /route, as in GET /cart".to_owned(),
                    )),
                }
            }
            (None, Some(grpc), None, None) => match grpc.split_once('/') {
                Some((service, method)) => Ok(Protocol::Grpc {
                    service: service.to_owned(),
                    method: method.to_owned(),
                }),
                None => Err(invalid(
                    &place,
                    "grpc: is package.Service/Method".to_owned(),
                )),
            },
            (None, None, Some(queue), None) => match queues.get(queue.as_str()) {
                Some(queue) => Ok(Protocol::Consumes { queue: *queue }),
                None => Err(invalid(&place, format!("no queue is named {queue}"))),
            },
            (None, None, None, Some(name)) => Ok(Protocol::Internal { name: name.clone() }),
            _ => Err(invalid(
                &place,
                "an operation has exactly one of http, grpc, consumes, work".to_owned(),
            )),
        }
    }
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

impl CallEntry {
    fn resolve(
        &self,
        place: &str,
        topology: &Topology,
        services: &Names<'_>,
        databases: &Names<'_>,
        queues: &Names<'_>,
    ) -> Result<Callee, TopologyError> {
        let to = self.to.as_str();
        if let Some(queue) = queues.get(to) {
            return Ok(Callee::Queue(*queue));
        }
        let Some(wanted) = &self.operation else {
            return Err(invalid(
                place,
                format!("the call to {to} needs an operation"),
            ));
        };
        if let Some(database) = databases.get(to) {
            return Ok(Callee::Query {
                database: *database,
                query: wanted.clone(),
            });
        }
        let Some(service) = services.get(to) else {
            let problem = format!("no service, database or queue is named {to}");
            return Err(invalid(place, problem));
        };
        let callee = topology.operations.iter().position(|operation| {
            operation.service == *service && operation.protocol.title() == *wanted
        });
        callee
            .map(Callee::Operation)
            .ok_or_else(|| invalid(place, format!("service {to} has no operation {wanted:?}")))
    }
}
