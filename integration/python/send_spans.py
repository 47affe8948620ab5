"""Sends traces with the OpenTelemetry SDK, as an instrumented service would.

usage: send_spans.py PROTOCOL ENDPOINT ORDERS

PROTOCOL is grpc, http or http-gzip. Each order is one trace of the service
"shop": a server span "POST /orders" and below it a client span "SELECT" and
an internal span "price". Every fourth order fails with status ERROR.
"""

import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


def exporter(protocol: str, endpoint: str):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    compression = Compression.Gzip if protocol == "http-gzip" else Compression.NoCompression
    return OTLPSpanExporter(endpoint=endpoint, compression=compression)


def main() -> None:
    protocol, endpoint, orders = sys.argv[1], sys.argv[2], int(sys.argv[3])
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    # Room for all: a full queue drops spans before they are ever sent.
    batches = BatchSpanProcessor(exporter(protocol, endpoint), max_queue_size=3 * orders)
    provider.add_span_processor(batches)
    tracer = provider.get_tracer("orders")
    for order in range(orders):
        with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", "POST")
            with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as query:
                query.set_attribute("db.system.name", "postgresql")
            with tracer.start_as_current_span("price"):
                pass
            if order % 4 == 3:
                span.set_status(Status(StatusCode.ERROR, "out of stock"))
    if not provider.force_flush():
        sys.exit("not everything was sent")
    provider.shutdown()


main()
