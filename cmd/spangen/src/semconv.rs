//! Attributes as OpenTelemetry's semantic conventions name them (1.3x, stable
//! names for HTTP, databases and messaging).

use crate::trace::{Attributes, Resource};

/// Instrumentation libraries, by what they instrument.
pub(crate) mod scope {
    /// HTTP servers and clients.
    pub(crate) const HTTP: &str = "opentelemetry.instrumentation.http";
    /// gRPC servers and clients.
    pub(crate) const RPC: &str = "opentelemetry.instrumentation.grpc";
    /// Database clients.
    pub(crate) const DATABASE: &str = "opentelemetry.instrumentation.sql";
    /// Queue producers and consumers.
    pub(crate) const MESSAGING: &str = "opentelemetry.instrumentation.messaging";
    /// Spans that the application made itself.
    pub(crate) const OWN: &str = "shop.business-logic";
}

/// An instance of a service, as a resource describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance<'a> {
    /// `service.name`.
    pub(crate) service: &'a str,
    /// `service.namespace`.
    pub(crate) namespace: &'a str,
    /// `service.version`.
    pub(crate) version: &'a str,
    /// `telemetry.sdk.language`.
    pub(crate) language: &'a str,
    /// Its number among the instances of the service.
    pub(crate) number: usize,
    /// The node it runs on.
    pub(crate) node: usize,
}

/// The resource of an instance: 12 attributes.
pub(crate) fn resource(instance: Instance<'_>) -> Resource {
    let Instance {
        service,
        namespace,
        version,
        language,
        number,
        node,
    } = instance;
    let pod = format!("{service}-{}", pod_suffix(service, number));
    let node = format!("node-{node}.eu-west-1.internal");
    Resource {
        attributes: vec![
            ("service.name", service.to_owned().into()),
            ("service.namespace", namespace.to_owned().into()),
            ("service.version", version.to_owned().into()),
            ("service.instance.id", format!("{namespace}.{pod}").into()),
            ("telemetry.sdk.name", "opentelemetry".into()),
            ("telemetry.sdk.language", language.to_owned().into()),
            ("telemetry.sdk.version", "1.38.0".into()),
            ("host.name", node.clone().into()),
            ("k8s.namespace.name", namespace.to_owned().into()),
            ("k8s.pod.name", pod.into()),
            ("k8s.node.name", node.into()),
            ("deployment.environment.name", "production".into()),
        ],
    }
}

/// The random-looking end of a pod's name, the same for the same instance.
fn pod_suffix(service: &str, number: usize) -> String {
    let seed = service.bytes().fold(number as u64, |sum, byte| {
        crate::template::mix(sum ^ u64::from(byte))
    });
    format!("{:09x}-{:05x}", seed >> 28, seed & 0xf_ffff)
}

/// What an HTTP request looks like from either side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpRequest<'a> {
    /// `http.request.method`.
    pub(crate) method: &'static str,
    /// `http.route`.
    pub(crate) route: &'a str,
    /// The name of the service that answers.
    pub(crate) server: &'a str,
    /// `http.response.status_code`.
    pub(crate) status: u16,
}

/// The server's attributes of an HTTP request.
pub(crate) fn http_server(request: HttpRequest<'_>) -> Attributes {
    let mut attributes = vec![
        ("http.request.method", request.method.into()),
        ("http.route", request.route.to_owned().into()),
        ("url.path", request.route.replace(['{', '}'], "").into()),
        ("url.scheme", "http".into()),
        ("server.address", request.server.to_owned().into()),
        ("server.port", 8080_i64.into()),
        ("network.protocol.version", "1.1".into()),
        (
            "user_agent.original",
            "Mozilla/5.0 (X11; Linux x86_64)".into(),
        ),
    ];
    push_http_status(&mut attributes, request.status);
    attributes
}

/// The client's attributes of an HTTP request.
pub(crate) fn http_client(request: HttpRequest<'_>) -> Attributes {
    let path = request.route.replace(['{', '}'], "");
    let mut attributes = vec![
        ("http.request.method", request.method.into()),
        (
            "url.full",
            format!("http://{}:8080{path}", request.server).into(),
        ),
        ("server.address", request.server.to_owned().into()),
        ("server.port", 8080_i64.into()),
        ("network.protocol.version", "1.1".into()),
        ("peer.service", request.server.to_owned().into()),
    ];
    push_http_status(&mut attributes, request.status);
    attributes
}

fn push_http_status(attributes: &mut Attributes, status: u16) {
    attributes.push(("http.response.status_code", i64::from(status).into()));
    if status >= 500 {
        attributes.push(("error.type", status.to_string().into()));
    }
}

/// A gRPC call's attributes, the same on both sides.
pub(crate) fn rpc(service: &str, method: &str, server: &str, failed: bool) -> Attributes {
    let code = if failed { 14 } else { 0 };
    let mut attributes = vec![
        ("rpc.system", "grpc".into()),
        ("rpc.service", service.to_owned().into()),
        ("rpc.method", method.to_owned().into()),
        ("rpc.grpc.status_code", code.into()),
        ("server.address", server.to_owned().into()),
        ("server.port", 9000_i64.into()),
    ];
    if failed {
        attributes.push(("error.type", "UNAVAILABLE".into()));
    }
    attributes
}

/// A query's attributes, with the names before they were stable beside the
/// stable ones, as `OTEL_SEMCONV_STABILITY_OPT_IN=database/dup` gives them:
/// service graphs find databases by the old ones.
pub(crate) fn database(
    system: &str,
    namespace: &str,
    server: &str,
    query: &str,
    failed: bool,
) -> Attributes {
    let mut words = query.split_whitespace();
    let operation = words.next().unwrap_or_default().to_owned();
    let collection = words.next().unwrap_or_default().to_owned();
    let port: i64 = match system {
        "mysql" => 3306,
        "redis" => 6379,
        "mongodb" => 27017,
        _ => 5432,
    };
    let mut attributes = vec![
        ("db.system.name", system.to_owned().into()),
        ("db.namespace", namespace.to_owned().into()),
        ("db.operation.name", operation.into()),
        ("db.collection.name", collection.into()),
        ("db.query.summary", query.to_owned().into()),
        ("server.address", server.to_owned().into()),
        ("server.port", port.into()),
        ("db.system", system.to_owned().into()),
        ("db.name", namespace.to_owned().into()),
    ];
    if failed {
        attributes.push(("error.type", "query_canceled".into()));
    }
    attributes
}

/// Attributes of sending to a queue (`send`) or of handling a message from it
/// (`process`).
pub(crate) fn messaging(
    system: &str,
    queue: &str,
    operation: &'static str,
    client: &str,
    failed: bool,
) -> Attributes {
    let mut attributes = vec![
        ("messaging.system", system.to_owned().into()),
        ("messaging.destination.name", queue.to_owned().into()),
        ("messaging.operation.type", operation.into()),
        ("messaging.operation.name", operation.into()),
        ("messaging.client.id", client.to_owned().into()),
        ("server.address", format!("{system}-0").into()),
    ];
    if operation == "process" {
        attributes.push(("messaging.consumer.group.name", client.to_owned().into()));
    }
    if failed {
        attributes.push(("error.type", "processing_failed".into()));
    }
    attributes
}
