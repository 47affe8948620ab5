//! One walk through a topology: a trace.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Callee, Operation, Protocol, Topology, log_normal};
use crate::semconv::{self, HttpRequest, scope};
use crate::trace::{Attributes, Kind, Span, Trace};

/// Both ways over the network together, median.
const NETWORK: Duration = Duration::from_micros(600);

/// How long handing a message to a queue takes, median.
const PUBLISH: Duration = Duration::from_millis(2);

/// A trace under construction. Times are nanoseconds since its start.
pub(super) struct Walk<'a> {
    topology: &'a Topology,
    random: &'a mut StdRng,
    spans: Trace,
}

/// How something ended.
#[derive(Clone, Copy)]
struct Ended {
    at: u64,
    failed: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(topology: &'a Topology, random: &'a mut StdRng) -> Self {
        Self {
            topology,
            random,
            spans: Trace::new(),
        }
    }

    pub(super) fn into_trace(self) -> Trace {
        self.spans
    }

    /// Runs an operation on one instance of its service: its span, half of its
    /// work, its calls one after the other, the other half.
    pub(super) fn run(&mut self, operation: usize, parent: Option<usize>, start: u64) {
        let instance = self.pick_instance(operation);
        self.run_on(instance, operation, parent, start);
    }

    fn pick_instance(&mut self, operation: usize) -> usize {
        let service = self
            .topology
            .operations
            .get(operation)
            .and_then(|operation| self.topology.services.get(operation.service));
        service.map_or(0, |service| {
            self.random.random_range(service.instances.clone())
        })
    }

    fn run_on(
        &mut self,
        resource: usize,
        operation: usize,
        parent: Option<usize>,
        start: u64,
    ) -> Ended {
        let topology = self.topology;
        let Some(operation) = topology.operations.get(operation) else {
            return Ended {
                at: start,
                failed: false,
            };
        };
        let index = self.spans.len();
        self.spans.push(Span {
            resource,
            parent,
            scope: operation.protocol.scope(),
            name: self.span_name(operation),
            churn: None,
            kind: operation.protocol.kind(),
            failure: None,
            start,
            end: start,
            attributes: Attributes::new(),
        });
        let own = operation.work.sample(self.random) / 2;
        let mut now = start + own;
        let mut failed = operation.work.fails(self.random);
        let mut message = "internal error";
        for call in &operation.calls {
            if failed || self.random.random::<f64>() >= call.probability {
                continue;
            }
            let ended = self.call(&call.to, resource, index, now);
            now = ended.at;
            if ended.failed {
                failed = true;
                message = "a call failed";
            }
        }
        let end = now + own;
        let attributes = self.attributes(operation, failed);
        if let Some(span) = self.spans.get_mut(index) {
            span.end = end;
            span.failure = failed.then_some(message);
            span.attributes = attributes;
        }
        Ended { at: end, failed }
    }

    fn call(&mut self, to: &Callee, resource: usize, parent: usize, start: u64) -> Ended {
        match to {
            Callee::Operation(callee) => self.call_operation(*callee, resource, parent, start),
            Callee::Query { database, query } => {
                self.query(*database, query, resource, parent, start)
            }
            Callee::Queue(queue) => self.publish(*queue, resource, parent, start),
        }
    }

    fn call_operation(
        &mut self,
        callee: usize,
        resource: usize,
        parent: usize,
        start: u64,
    ) -> Ended {
        let topology = self.topology;
        let Some(operation) = topology.operations.get(callee) else {
            return Ended {
                at: start,
                failed: false,
            };
        };
        if let Protocol::Internal { .. } = operation.protocol {
            return self.run_on(resource, callee, Some(parent), start);
        }
        let half = log_normal(NETWORK, 0.4, self.random) / 2;
        let client = self.spans.len();
        self.spans.push(Span {
            resource,
            parent: Some(parent),
            scope: operation.protocol.scope(),
            name: operation.protocol.client_name(),
            churn: None,
            kind: Kind::Client,
            failure: None,
            start,
            end: start,
            attributes: Attributes::new(),
        });
        let instance = self.pick_instance(callee);
        let served = self.run_on(instance, callee, Some(client), start + half);
        let attributes = self.client_attributes(operation, served.failed);
        let end = served.at + half;
        if let Some(span) = self.spans.get_mut(client) {
            span.end = end;
            span.failure = served.failed.then_some("the server failed");
            span.attributes = attributes;
        }
        Ended {
            at: end,
            failed: served.failed,
        }
    }

    fn query(
        &mut self,
        database: usize,
        query: &str,
        resource: usize,
        parent: usize,
        start: u64,
    ) -> Ended {
        let topology = self.topology;
        let Some(database) = topology.databases.get(database) else {
            return Ended {
                at: start,
                failed: false,
            };
        };
        let failed = database.work.fails(self.random);
        let end = start + database.work.sample(self.random);
        self.spans.push(Span {
            resource,
            parent: Some(parent),
            scope: scope::DATABASE,
            name: query.to_owned(),
            churn: None,
            kind: Kind::Client,
            failure: failed.then_some("canceling statement due to statement timeout"),
            start,
            end,
            attributes: semconv::database(
                &database.system,
                &database.database,
                &database.name,
                query,
                failed,
            ),
        });
        Ended { at: end, failed }
    }

    /// Sends a message and lets each consumer handle it afterwards, outside of
    /// the sender's span.
    fn publish(&mut self, queue: usize, resource: usize, parent: usize, start: u64) -> Ended {
        let topology = self.topology;
        let Some(queue) = topology.queues.get(queue) else {
            return Ended {
                at: start,
                failed: false,
            };
        };
        let end = start + log_normal(PUBLISH, 0.4, self.random);
        let producer = self.spans.len();
        self.spans.push(Span {
            resource,
            parent: Some(parent),
            scope: scope::MESSAGING,
            name: format!("send {}", queue.name),
            churn: None,
            kind: Kind::Producer,
            failure: None,
            start,
            end,
            attributes: semconv::messaging(&queue.system, &queue.name, "send", "producer-1", false),
        });
        for consumer in &queue.consumers {
            let received = end + log_normal(queue.delay, 0.6, self.random);
            self.run(*consumer, Some(producer), received);
        }
        Ended {
            at: end,
            failed: false,
        }
    }

    fn span_name(&self, operation: &Operation) -> String {
        match &operation.protocol {
            Protocol::Http { method, route } => format!("{method} {route}"),
            Protocol::Grpc { service, method } => format!("{service}/{method}"),
            Protocol::Consumes { queue } => {
                let queue = self.topology.queues.get(*queue);
                format!("process {}", queue.map_or("", |queue| queue.name.as_str()))
            }
            Protocol::Internal { name } => name.clone(),
        }
    }

    fn service_name(&self, operation: &Operation) -> &'a str {
        let service = self.topology.services.get(operation.service);
        service.map_or("", |service| service.name.as_str())
    }

    fn attributes(&self, operation: &Operation, failed: bool) -> Attributes {
        let service = self.service_name(operation);
        match &operation.protocol {
            Protocol::Http { method, route } => semconv::http_server(HttpRequest {
                method,
                route,
                server: service,
                status: http_status(failed),
            }),
            Protocol::Grpc {
                service: rpc,
                method,
            } => semconv::rpc(rpc, method, service, failed),
            Protocol::Consumes { queue } => match self.topology.queues.get(*queue) {
                Some(queue) => {
                    semconv::messaging(&queue.system, &queue.name, "process", service, failed)
                }
                None => Attributes::new(),
            },
            Protocol::Internal { name } => vec![("code.function.name", name.clone().into())],
        }
    }

    fn client_attributes(&self, operation: &Operation, failed: bool) -> Attributes {
        let server = self.service_name(operation);
        match &operation.protocol {
            Protocol::Http { method, route } => semconv::http_client(HttpRequest {
                method,
                route,
                server,
                status: http_status(failed),
            }),
            Protocol::Grpc { service, method } => semconv::rpc(service, method, server, failed),
            Protocol::Consumes { .. } | Protocol::Internal { .. } => Attributes::new(),
        }
    }
}

fn http_status(failed: bool) -> u16 {
    if failed { 500 } else { 200 }
}

impl Protocol {
    fn kind(&self) -> Kind {
        match self {
            Self::Http { .. } | Self::Grpc { .. } => Kind::Server,
            Self::Consumes { .. } => Kind::Consumer,
            Self::Internal { .. } => Kind::Internal,
        }
    }

    fn scope(&self) -> &'static str {
        match self {
            Self::Http { .. } => scope::HTTP,
            Self::Grpc { .. } => scope::RPC,
            Self::Consumes { .. } => scope::MESSAGING,
            Self::Internal { .. } => scope::OWN,
        }
    }

    /// What the caller's span is named: HTTP clients do not know the route.
    fn client_name(&self) -> String {
        match self {
            Self::Http { method, .. } => (*method).to_owned(),
            Self::Grpc { service, method } => format!("{service}/{method}"),
            Self::Consumes { .. } | Self::Internal { .. } => String::new(),
        }
    }
}
