"""Sends traces with jaeger_client, as a service instrumented with it would.

usage: send_jaeger.py PROTOCOL HOST:PORT ORDERS

PROTOCOL is compact, which is what the client speaks to an agent over UDP, or binary or
http: then the client's batches go out by these. Each order is one trace of the
service "shop": a server span "POST /orders" and below it a client span "SELECT" and
an internal span "price". Every fourth order fails with a tag "error".
"""

import socket
import sys
import urllib.request

import opentracing
from jaeger_client import ConstSampler, Tracer
from jaeger_client.reporter import NullReporter
from jaeger_client.thrift import make_jaeger_batch, make_process
from jaeger_client.thrift_gen.agent import Agent
from opentracing.ext import tags
from thrift.protocol import TBinaryProtocol, TCompactProtocol
from thrift.Thrift import TMessageType
from thrift.transport import TTransport


class Collector(NullReporter):
    """Keeps the spans that the tracer ends."""

    def __init__(self) -> None:
        self.spans = []

    def report_span(self, span) -> None:
        self.spans.append(span)


def encoded(batch, factory, call) -> bytes:
    memory = TTransport.TMemoryBuffer()
    protocol = factory(memory)
    if call:
        protocol.writeMessageBegin("emitBatch", TMessageType.ONEWAY, 0)
        Agent.emitBatch_args(batch).write(protocol)
        protocol.writeMessageEnd()
    else:
        batch.write(protocol)
    return memory.getvalue()


def send(protocol: str, address: str, batch) -> None:
    if protocol == "http":
        body = encoded(batch, TBinaryProtocol.TBinaryProtocol, call=False)
        url = f"http://{address}/api/traces?format=jaeger.thrift"
        headers = {"Content-Type": "application/x-thrift"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            if answer.status != 202:
                sys.exit(f"{answer.status}")
        return
    factories = {
        "binary": TBinaryProtocol.TBinaryProtocol,
        "compact": TCompactProtocol.TCompactProtocol,
    }
    host, port = address.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(encoded(batch, factories[protocol], call=True), (host, int(port)))


def main() -> None:
    protocol, address, orders = sys.argv[1], sys.argv[2], int(sys.argv[3])
    collector = Collector()
    tracer = Tracer("shop", reporter=collector, sampler=ConstSampler(True), tags={"team": "web"})
    for order in range(orders):
        kind = {tags.SPAN_KIND: tags.SPAN_KIND_RPC_SERVER}
        with tracer.start_span("POST /orders", tags=kind) as span:
            kind = {tags.SPAN_KIND: tags.SPAN_KIND_RPC_CLIENT}
            with tracer.start_span("SELECT", child_of=span, tags=kind) as query:
                query.log_kv({"event": "sent", "rows": 3})
            reference = opentracing.follows_from(span.context)
            kind = {tags.SPAN_KIND: "internal"}
            with tracer.start_span("price", references=reference, tags=kind) as price:
                price.set_tag("total", 9.5)
            if order % 4 == 3:
                span.set_tag(tags.ERROR, True)
    process = make_process("shop", tracer.tags, max_length=1024)
    # As many as fit a datagram.
    for start in range(0, len(collector.spans), 60):
        batch = make_jaeger_batch(collector.spans[start : start + 60], process)
        send(protocol, address, batch)


main()
