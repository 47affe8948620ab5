// Sends traces with the OpenTelemetry SDK for Node, as an instrumented service would.
//
// usage: send_spans.mjs PROTOCOL ENDPOINT ORDERS
//
// PROTOCOL is grpc, http-protobuf or http-json, each also with -gzip; or zipkin, jaeger-http
// or jaeger-udp. The spans are those of send_spans.py.

import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

async function exporter(protocol, endpoint) {
  const gzip = protocol.endsWith("-gzip");
  const options = { url: endpoint, compression: gzip ? "gzip" : "none" };
  switch (protocol.replace(/-gzip$/, "")) {
    case "grpc": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-grpc");
      return new OTLPTraceExporter(options);
    }
    case "http-protobuf": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-proto");
      return new OTLPTraceExporter(options);
    }
    case "http-json": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-http");
      return new OTLPTraceExporter(options);
    }
    case "zipkin": {
      const { ZipkinExporter } = await import("@opentelemetry/exporter-zipkin");
      return new ZipkinExporter({ url: endpoint });
    }
    case "jaeger-http": {
      const { JaegerExporter } = await import("@opentelemetry/exporter-jaeger");
      return new JaegerExporter({ endpoint });
    }
    case "jaeger-udp": {
      const { JaegerExporter } = await import("@opentelemetry/exporter-jaeger");
      const [host, port] = endpoint.split(":");
      return new JaegerExporter({ host, port: Number(port) });
    }
    default:
      throw new Error(`no protocol ${protocol}`);
  }
}

const [protocol, endpoint, count] = process.argv.slice(2);
const orders = Number(count);
// Room for all: a full queue drops spans before they are ever sent.
const batches = new BatchSpanProcessor(await exporter(protocol, endpoint), {
  maxQueueSize: Math.max(3 * orders, 512),
});
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "shop" }),
  spanProcessors: [batches],
});
const tracer = provider.getTracer("orders");
for (let order = 0; order < orders; order++) {
  const span = tracer.startSpan("POST /orders", { kind: SpanKind.SERVER });
  const within = trace.setSpan(context.active(), span);
  tracer.startSpan("SELECT", { kind: SpanKind.CLIENT }, within).addEvent("sent").end();
  tracer.startSpan("price", {}, within).end();
  if (order % 4 === 3) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: "out of stock" });
  }
  span.end();
}
await provider.forceFlush();
await provider.shutdown();
