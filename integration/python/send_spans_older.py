"""Sends traces with the exporters of OpenTelemetry for Zipkin and Jaeger.

usage: send_spans_older.py PROTOCOL ENDPOINT ORDERS

PROTOCOL is zipkin-json-v1, zipkin-json, zipkin-proto, jaeger-grpc, jaeger-http or
jaeger-udp. The spans are those of send_spans.py.
"""

import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


def exporter(protocol: str, endpoint: str):
    if protocol == "zipkin-proto":
        from opentelemetry.exporter.zipkin.proto.http import ZipkinExporter

        return ZipkinExporter(endpoint=endpoint)
    if protocol.startswith("zipkin-json"):
        from opentelemetry.exporter.zipkin.json import Protocol, ZipkinExporter

        version = Protocol.V1 if protocol.endswith("v1") else Protocol.V2
        # Without a length version 1 fails.
        return ZipkinExporter(version, endpoint=endpoint, max_tag_value_length=128)
    if protocol == "jaeger-grpc":
        from opentelemetry.exporter.jaeger.proto.grpc import JaegerExporter

        return JaegerExporter(collector_endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.jaeger.thrift import JaegerExporter

    if protocol == "jaeger-http":
        return JaegerExporter(collector_endpoint=endpoint)
    host, port = endpoint.rsplit(":", 1)
    return JaegerExporter(
        agent_host_name=host, agent_port=int(port), udp_split_oversized_batches=True
    )


def main() -> None:
    protocol, endpoint, orders = sys.argv[1], sys.argv[2], int(sys.argv[3])
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    # Room for all: a full queue drops spans before they are ever sent. A batch has up to
    # 512, and a queue may not be shorter.
    room = max(3 * orders, 512)
    batches = BatchSpanProcessor(exporter(protocol, endpoint), max_queue_size=room)
    provider.add_span_processor(batches)
    tracer = provider.get_tracer("orders")
    for order in range(orders):
        with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER) as span:
            with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as query:
                query.add_event("sent", {"rows": 3})
            with tracer.start_as_current_span("price"):
                pass
            if order % 4 == 3:
                span.set_status(Status(StatusCode.ERROR, "out of stock"))
    if not provider.force_flush():
        sys.exit("not everything was sent")
    provider.shutdown()


main()
