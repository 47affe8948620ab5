"""Sends traces with py_zipkin, as a service instrumented with it would.

usage: send_zipkin.py ENCODING ENDPOINT ORDERS

ENCODING is one of py_zipkin's: V1_JSON, V2_JSON, V2_PROTO3. Each order is one trace of the
service "shop": a server span "POST /orders" and below it a client span "SELECT" and a
local span "price". Every fourth order fails with a tag "error".
"""

import sys

import requests
from py_zipkin import Encoding, Kind
from py_zipkin.zipkin import zipkin_span

CONTENT_TYPES = {
    Encoding.V1_JSON: "application/json",
    Encoding.V2_JSON: "application/json",
    Encoding.V2_PROTO3: "application/x-protobuf",
}


def main() -> None:
    encoding, endpoint, orders = Encoding(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    session = requests.Session()

    def send(payload) -> None:
        headers = {"Content-Type": CONTENT_TYPES[encoding]}
        answer = session.post(endpoint, data=payload, headers=headers)
        if answer.status_code != 202:
            sys.exit(f"{answer.status_code}: {answer.text}")

    for order in range(orders):
        with zipkin_span(
            service_name="shop",
            span_name="POST /orders",
            transport_handler=send,
            encoding=encoding,
            kind=Kind.SERVER,
            sample_rate=100,
            use_128bit_trace_id=order % 2 == 0,
        ) as span:
            with zipkin_span(service_name="shop", span_name="SELECT", kind=Kind.CLIENT) as query:
                query.add_sa_binary_annotation(port=5432, service_name="db", host="10.0.0.9")
            with zipkin_span(service_name="shop", span_name="price") as price:
                price.add_annotation("priced")
            if order % 4 == 3:
                span.update_binary_annotations({"error": "out of stock"})


main()
