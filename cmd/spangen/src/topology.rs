//! Services that call each other, and the traces that come of it.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::semconv;
use crate::trace::{Resource, Trace};

mod file;
mod walk;

/// The built-in topology's text.
pub(crate) const WEB_SHOP: &str = include_str!("topology/web-shop.yaml");

/// A checked topology: every name is resolved to an index.
#[derive(Debug)]
pub(crate) struct Topology {
    services: Vec<Service>,
    databases: Vec<Database>,
    queues: Vec<Queue>,
    operations: Vec<Operation>,
    /// Operations that are called from outside, with the running sum of weights.
    entries: Vec<(f64, usize)>,
    resources: Vec<Resource>,
}

/// A topology that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopologyError {
    /// The text is not what is expected.
    #[error("{0}")]
    Syntax(String),
    /// A name stands for nothing, or for too much.
    #[error("{place}: {problem}")]
    Invalid {
        /// The service and operation.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

#[derive(Debug)]
struct Service {
    name: String,
    /// Indices into the resources.
    instances: std::ops::Range<usize>,
}

#[derive(Debug)]
struct Database {
    name: String,
    system: String,
    database: String,
    work: Work,
}

#[derive(Debug)]
struct Queue {
    name: String,
    system: String,
    delay: Duration,
    consumers: Vec<usize>,
}

#[derive(Debug)]
struct Operation {
    service: usize,
    protocol: Protocol,
    work: Work,
    calls: Vec<Call>,
}

/// How an operation is reached.
#[derive(Clone, Debug, PartialEq)]
enum Protocol {
    Http { method: &'static str, route: String },
    Grpc { service: String, method: String },
    Consumes { queue: usize },
    Internal { name: String },
}

/// How long something takes by itself, and how often it fails.
#[derive(Clone, Copy, Debug)]
struct Work {
    median: Duration,
    spread: f64,
    errors: f64,
}

#[derive(Debug)]
struct Call {
    to: Callee,
    probability: f64,
}

#[derive(Clone, Debug)]
enum Callee {
    Operation(usize),
    Query { database: usize, query: String },
    Queue(usize),
}

impl Topology {
    /// Reads and checks a topology file.
    pub(crate) fn parse(text: &str) -> Result<Self, TopologyError> {
        file::read(text)
    }

    /// All instances of all services.
    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The name of a queue with several consumers, if there is one.
    pub(crate) fn shared_queue(&self) -> Option<&str> {
        let shared = self.queues.iter().find(|queue| queue.consumers.len() > 1);
        shared.map(|queue| queue.name.as_str())
    }

    /// One request from outside and everything it causes.
    pub(crate) fn trace(&self, random: &mut StdRng) -> Trace {
        let total = self.entries.last().map_or(0.0, |(sum, _)| *sum);
        let pick = random.random::<f64>() * total;
        let entry = self.entries.iter().find(|(sum, _)| pick < *sum);
        let mut walk = walk::Walk::new(self, random);
        if let Some((_, operation)) = entry {
            walk.run(*operation, None, 0);
        }
        walk.into_trace()
    }
}

impl Work {
    /// A log-normal duration in nanoseconds, at most 10 s.
    fn sample(&self, random: &mut StdRng) -> u64 {
        log_normal(self.median, self.spread, random)
    }

    fn fails(&self, random: &mut StdRng) -> bool {
        random.random::<f64>() * 100.0 < self.errors
    }
}

/// A log-normal duration by its median and the sigma of its logarithm.
fn log_normal(median: Duration, sigma: f64, random: &mut StdRng) -> u64 {
    const LONGEST: f64 = 1e10;
    // Box and Muller, one of the two values.
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.random::<f64>()).cos();
    let nanos = median.as_secs_f64() * 1e9 * (sigma * normal).exp();
    nanos.clamp(1_000.0, LONGEST) as u64
}

fn build_resources(file: &file::File) -> (Vec<Service>, Vec<Resource>) {
    const NODES: usize = 4;
    let mut resources = Vec::new();
    let mut services = Vec::new();
    for service in &file.services {
        let first = resources.len();
        for number in 0..service.instances.max(1) {
            resources.push(semconv::resource(semconv::Instance {
                service: &service.name,
                namespace: &file.namespace,
                version: &service.version,
                language: &service.language,
                number,
                node: resources.len() % NODES,
            }));
        }
        services.push(Service {
            name: service.name.clone(),
            instances: first..resources.len(),
        });
    }
    (services, resources)
}

/// Names to indices, to resolve calls.
type Names<'a> = HashMap<&'a str, usize>;

#[cfg(test)]
mod tests;
