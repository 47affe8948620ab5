"""Sends traces with the OpenTelemetry SDK, as an instrumented service would.

usage: send_spans.py PROTOCOL ENDPOINT ORDERS [CA [CERTIFICATE KEY]]

PROTOCOL is grpc, grpc-gzip, http or http-gzip. With CA, a file in PEM, it is spoken
over TLS; with CERTIFICATE and KEY the client shows who it is. Each order is one trace of the service
"shop": a server span "POST /orders" and below it a client span "SELECT" and
an internal span "price". Every fourth order fails with status ERROR.
"""

import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


def exporter(protocol: str, endpoint: str, ca=None, certificate=None, key=None):
    compressed = protocol.endswith("-gzip")
    if protocol.startswith("grpc"):
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        credentials = None
        if ca:
            files = [file and open(file, "rb").read() for file in (ca, key, certificate)]
            credentials = grpc.ssl_channel_credentials(*files)
        return OTLPSpanExporter(
            endpoint=endpoint,
            insecure=not ca,
            credentials=credentials,
            compression=grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        endpoint=endpoint,
        certificate_file=ca,
        client_certificate_file=certificate,
        client_key_file=key,
        compression=Compression.Gzip if compressed else Compression.NoCompression,
    )


def main() -> None:
    protocol, endpoint, orders = sys.argv[1], sys.argv[2], int(sys.argv[3])
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    # Room for all: a full queue drops spans before they are ever sent.
    sender = exporter(protocol, endpoint, *sys.argv[4:])
    batches = BatchSpanProcessor(sender, max_queue_size=3 * orders)
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
