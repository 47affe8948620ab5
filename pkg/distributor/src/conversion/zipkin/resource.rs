//! Which tags are not of the span but of what it came from.

use super::super::attributes::{Attributes, Text, Value};
use super::super::output::Scope;

/// The names of OpenTelemetry's semantic conventions 1.6.1 for resources, and those
/// of OpenCensus; sorted.
const RESOURCE_TAGS: [&str; 86] = [
    "aws.ecs.cluster.arn",
    "aws.ecs.container.arn",
    "aws.ecs.launchtype",
    "aws.ecs.task.arn",
    "aws.ecs.task.family",
    "aws.ecs.task.revision",
    "aws.eks.cluster.arn",
    "aws.log.group.arns",
    "aws.log.group.names",
    "aws.log.stream.arns",
    "aws.log.stream.names",
    "cloud.account.id",
    "cloud.availability_zone",
    "cloud.platform",
    "cloud.provider",
    "cloud.region",
    "container.id",
    "container.image.name",
    "container.image.tag",
    "container.name",
    "container.runtime",
    "deployment.environment",
    "device.id",
    "device.manufacturer",
    "device.model.identifier",
    "device.model.name",
    "faas.id",
    "faas.instance",
    "faas.max_memory",
    "faas.name",
    "faas.version",
    "host.arch",
    "host.id",
    "host.image.id",
    "host.image.name",
    "host.image.version",
    "host.name",
    "host.type",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.container.restart_count",
    "k8s.cronjob.name",
    "k8s.cronjob.uid",
    "k8s.daemonset.name",
    "k8s.daemonset.uid",
    "k8s.deployment.name",
    "k8s.deployment.uid",
    "k8s.job.name",
    "k8s.job.uid",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.node.uid",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "k8s.replicaset.uid",
    "k8s.statefulset.name",
    "k8s.statefulset.uid",
    "opencensus.exporterversion",
    "opencensus.resourcetype",
    "opencensus.starttime",
    "os.description",
    "os.name",
    "os.type",
    "os.version",
    "process.command",
    "process.command_args",
    "process.command_line",
    "process.executable.name",
    "process.executable.path",
    "process.owner",
    "process.pid",
    "process.runtime.description",
    "process.runtime.name",
    "process.runtime.version",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.auto.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "webengine.description",
    "webengine.name",
    "webengine.version",
];

/// Takes the instrumentation library out of a span's tags.
pub(super) fn scope<'a>(tags: &mut Attributes<'a>) -> Scope<'a> {
    let name = tags.take_text(b"otel.library.name").unwrap_or_default();
    let version = tags.take_text(b"otel.library.version").unwrap_or_default();
    if name.is_empty() {
        return Scope::default();
    }
    Scope { name, version }
}

/// Takes what is of the resource out of a span's tags. Its service is that of the
/// local endpoint unless a tag names one.
pub(super) fn resource<'a>(service_name: Text<'a>, tags: &mut Attributes<'a>) -> Attributes<'a> {
    let source = tags.take_text(b"otlp.service.name.source");
    let source = source.filter(|source| !source.is_empty());
    let mut resource = tags.take_all(is_of_resource);
    if !service_name.is_empty() {
        let key = source.unwrap_or(Text::Borrowed(b"service.name"));
        if resource.get(&key).is_none() {
            resource.push(key, Value::Text(service_name));
        }
    }
    resource
}

fn is_of_resource(key: &[u8]) -> bool {
    let known = RESOURCE_TAGS.binary_search_by(|known| known.as_bytes().cmp(key));
    known.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_resources_are_sorted_for_the_search() {
        assert!(RESOURCE_TAGS.is_sorted());
        assert!(
            RESOURCE_TAGS
                .iter()
                .all(|tag| is_of_resource(tag.as_bytes()))
        );
        assert!(!is_of_resource(b"http.method"));
    }
}
