//! What a request must come with, by the listener and the path it goes to.

use axum::http::Method;
use generator::TAKE_SAMPLES;
use server::authentication::{Needs, Role};
use server::nodes::{NODE_PUSH, NODE_PUSH_ALL, NODE_TAKE_EDGES};

use crate::node_calls::NodeCall;
use crate::ports::Face;

/// gRPC's health service, which orchestrators ask without a credential.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Calls of other nodes, which are told from others where they are served.
const OF_NODES: [&str; 4] = [NODE_PUSH, NODE_PUSH_ALL, NODE_TAKE_EDGES, TAKE_SAMPLES];

/// What shows all tenants at once, where operators and their Prometheus look.
const OPERATORS: &[Role] = &[Role::Read, Role::Admin];

/// What a request to a face needs where there is authentication.
///
/// A path that is not known here needs a credential that may act for its tenant: to read
/// by `GET`, to change its settings by any other method.
pub(crate) fn needs(face: Face, prefix: &str, method: &Method, path: &str) -> Needs {
    match face {
        Face::OtlpGrpc | Face::JaegerGrpc | Face::Internal if path.starts_with(GRPC_HEALTH) => {
            Needs::Nothing
        }
        Face::Internal if OF_NODES.contains(&path) || NodeCall::of(path).is_some() => {
            Needs::Nothing
        }
        // A browser asks so before it sends, and cannot send a credential with it.
        Face::OtlpHttp if method == Method::OPTIONS => Needs::Nothing,
        Face::OtlpGrpc
        | Face::OtlpHttp
        | Face::Zipkin
        | Face::JaegerGrpc
        | Face::JaegerThriftHttp
        // Not over HTTP, and refused in the configuration.
        | Face::JaegerThriftCompact
        | Face::JaegerThriftBinary
        | Face::Internal => Needs::Tenant(Role::Write),
        Face::Admin if path == "/ready" => Needs::Nothing,
        Face::Admin => Needs::AllTenants(&[Role::Admin]),
        Face::Api => of_api(prefix, method, path),
    }
}

fn of_api(prefix: &str, method: &Method, path: &str) -> Needs {
    if path == "/ready" {
        return Needs::Nothing;
    }
    if path == "/metrics" || path == "/usage_metrics" {
        return Needs::AllTenants(OPERATORS);
    }
    let of_tenant = path.strip_prefix("/status/overrides/");
    if let Some(tenant) = of_tenant.filter(|tenant| !tenant.is_empty()) {
        return Needs::Named(Role::Read, tenant.to_owned());
    }
    let is_below = |page: &str| {
        let rest = path.strip_prefix(page);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_below("/status") || is_below("/api/v1/tenants") {
        return Needs::AllTenants(&[Role::Admin]);
    }
    let below_prefix = path.strip_prefix(prefix).unwrap_or(path);
    if below_prefix == "/metrics/generated/targets" {
        return Needs::AllTenants(OPERATORS);
    }
    if method == Method::GET || method == Method::HEAD {
        Needs::Tenant(Role::Read)
    } else {
        Needs::Tenant(Role::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_needs_what_it_shows_or_changes() {
        let get = Method::GET;
        let admin = Needs::AllTenants(&[Role::Admin]);
        let operators = Needs::AllTenants(OPERATORS);
        let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let health = "/grpc.health.v1.Health/Check";
        for (face, method, path, want) in [
            (
                Face::OtlpGrpc,
                Method::POST,
                export,
                Needs::Tenant(Role::Write),
            ),
            (Face::OtlpGrpc, Method::POST, health, Needs::Nothing),
            (
                Face::OtlpHttp,
                Method::POST,
                "/v1/traces",
                Needs::Tenant(Role::Write),
            ),
            (
                Face::OtlpHttp,
                Method::POST,
                health,
                Needs::Tenant(Role::Write),
            ),
            (
                Face::OtlpHttp,
                Method::OPTIONS,
                "/v1/traces",
                Needs::Nothing,
            ),
            (
                Face::OtlpHttp,
                get.clone(),
                "/ready",
                Needs::Tenant(Role::Write),
            ),
            (
                Face::Internal,
                Method::POST,
                "/x",
                Needs::Tenant(Role::Write),
            ),
            (Face::Internal, Method::POST, health, Needs::Nothing),
            (Face::Internal, Method::POST, NODE_PUSH, Needs::Nothing),
            (Face::Internal, Method::POST, NODE_PUSH_ALL, Needs::Nothing),
            (
                Face::Internal,
                Method::POST,
                NODE_TAKE_EDGES,
                Needs::Nothing,
            ),
            (
                Face::OtlpGrpc,
                Method::POST,
                NODE_PUSH,
                Needs::Tenant(Role::Write),
            ),
            (Face::JaegerGrpc, Method::POST, health, Needs::Nothing),
            (
                Face::JaegerGrpc,
                Method::POST,
                "/x",
                Needs::Tenant(Role::Write),
            ),
            (
                Face::Zipkin,
                Method::POST,
                "/api/v2/spans",
                Needs::Tenant(Role::Write),
            ),
            (
                Face::JaegerThriftHttp,
                Method::POST,
                "/api/traces",
                Needs::Tenant(Role::Write),
            ),
            (Face::Api, get.clone(), "/usage_metrics", operators.clone()),
            (Face::Admin, get.clone(), "/ready", Needs::Nothing),
            (
                Face::Admin,
                get.clone(),
                "/status/overrides/acme",
                admin.clone(),
            ),
            (Face::Admin, get.clone(), "/", admin.clone()),
            (Face::Api, get.clone(), "/ready", Needs::Nothing),
            (Face::Api, get.clone(), "/ready/", Needs::Tenant(Role::Read)),
            (Face::Api, get.clone(), "/metrics", operators.clone()),
            (
                Face::Api,
                get.clone(),
                "/tempo/metrics/generated",
                Needs::Tenant(Role::Read),
            ),
            (
                Face::Api,
                get.clone(),
                "/tempo/metrics/generated/targets",
                operators,
            ),
            (Face::Api, get.clone(), "/status", admin.clone()),
            (Face::Api, get.clone(), "/status/config", admin.clone()),
            (Face::Api, get.clone(), "/status/overrides", admin.clone()),
            (Face::Api, get.clone(), "/status/overrides/", admin.clone()),
            (
                Face::Api,
                get.clone(),
                "/status/overrides/acme",
                Needs::Named(Role::Read, "acme".to_owned()),
            ),
            (Face::Api, get.clone(), "/api/v1/tenants/acme", admin),
            (
                Face::Api,
                get.clone(),
                "/tempo/api/overrides",
                Needs::Tenant(Role::Read),
            ),
            (
                Face::Api,
                Method::PATCH,
                "/tempo/api/overrides",
                Needs::Tenant(Role::Admin),
            ),
            (Face::Api, get, "/anything", Needs::Tenant(Role::Read)),
        ] {
            assert_eq!(
                needs(face, "/tempo", &method, path),
                want,
                "{face:?} {method} {path}"
            );
        }
    }
}
