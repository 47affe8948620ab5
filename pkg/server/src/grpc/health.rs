//! gRPC's health service. Source: gRPC health checking protocol, `health.proto`.

use std::pin::Pin;

use axum::Router;
use futures_util::Stream;
use futures_util::stream::unfold;
use lifecycle::Shutdown;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const PATH: &str = "/grpc.health.v1.Health/{procedure}";

/// `grpc.health.v1.Health`: every service serves until the process is to stop.
///
/// A stop takes two steps, so that whoever balances load has time between them.
#[derive(Clone, Debug)]
pub struct Health {
    stopping: Shutdown,
    closing: Shutdown,
}

impl Health {
    /// Health that turns to `NOT_SERVING` with `stopping`.
    ///
    /// Watches end with `closing`, which listeners close with: they would never
    /// end by themselves, and connections wait for their requests.
    pub fn new(stopping: Shutdown, closing: Shutdown) -> Self {
        Self { stopping, closing }
    }

    /// The service for a port that has these gRPC services.
    pub fn router(&self, services: &'static [&'static str]) -> Router {
        let answers = Answers {
            health: self.clone(),
            services,
        };
        Router::new().route_service(PATH, HealthServer::new(answers))
    }

    fn status(&self) -> ServingStatus {
        if self.stopping.is_triggered() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }
}

struct Answers {
    health: Health,
    services: &'static [&'static str],
}

/// What a watch tells next.
enum Next {
    Status,
    Change { from: ServingStatus },
}

impl Answers {
    /// Whether a service is here; the empty name is the whole process.
    fn has(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl HealthService for Answers {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.has(&request.get_ref().service) {
            return Err(Status::not_found("service is not known here"));
        }
        Ok(Response::new(response(self.health.status())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let is_known = self.has(&request.get_ref().service);
        let health = self.health.clone();
        let told = unfold(Next::Status, move |next| {
            let health = health.clone();
            async move {
                let status = match next {
                    Next::Status if is_known => health.status(),
                    Next::Status => ServingStatus::ServiceUnknown,
                    Next::Change {
                        from: ServingStatus::Serving,
                    } => {
                        health.stopping.requested().await;
                        ServingStatus::NotServing
                    }
                    Next::Change { .. } => {
                        health.closing.requested().await;
                        return None;
                    }
                };
                Some((Ok(response(status)), Next::Change { from: status }))
            }
        });
        Ok(Response::new(Box::pin(told)))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[cfg(test)]
mod tests {
    use lifecycle::TaskGroup;
    use tonic::Code;
    use tonic::transport::Channel;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::{Listener, ServeOptions};

    /// A client of a port that has the service `a.Service`.
    async fn client(health: &Health, tasks: &TaskGroup) -> HealthClient<Channel> {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
        let uri = format!("http://{}", listener.local_addr());
        let router = health.router(&["a.Service"]);
        let closing = health.closing.clone();
        listener.serve(router, ServeOptions::default(), closing, tasks);
        let channel = Channel::from_shared(uri).unwrap().connect().await;
        HealthClient::new(channel.unwrap())
    }

    fn about(service: &str) -> HealthCheckRequest {
        HealthCheckRequest {
            service: service.to_owned(),
        }
    }

    #[tokio::test]
    async fn services_serve_until_the_process_is_to_stop() {
        let health = Health::new(Shutdown::new(), Shutdown::new());
        let mut client = client(&health, &TaskGroup::new()).await;
        for want in [ServingStatus::Serving, ServingStatus::NotServing] {
            for service in ["", "a.Service"] {
                let checked = client.check(about(service)).await.unwrap();
                assert_eq!(checked.get_ref().status(), want, "{service:?}");
            }
            health.stopping.trigger();
        }
        let unknown = client.check(about("b.Service")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
    }

    #[tokio::test]
    async fn watches_tell_that_the_stop_begins_and_end_when_ports_close() {
        let (health, tasks) = (
            Health::new(Shutdown::new(), Shutdown::new()),
            TaskGroup::new(),
        );
        let mut client = client(&health, &tasks).await;
        let mut known = client.watch(about("a.Service")).await.unwrap().into_inner();
        let mut unknown = client.watch(about("b.Service")).await.unwrap().into_inner();
        let first = known.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        let first = unknown.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);

        health.stopping.trigger();
        let second = known.message().await.unwrap().unwrap();
        assert_eq!(second.status(), ServingStatus::NotServing);
        health.closing.trigger();
        assert_eq!(known.message().await.unwrap(), None);
        assert_eq!(unknown.message().await.unwrap(), None);
    }
}
