use super::*;
use crate::config::Loaded;

fn options(text: &str) -> Vec<(Face, ServeOptions)> {
    let config = Loaded::from_text("c.yaml", text).unwrap().config;
    let wanted = wanted(&config, Duration::from_secs(7)).unwrap();
    wanted
        .into_iter()
        .map(|wanted| (wanted.face, wanted.options))
        .collect()
}

#[test]
fn ports_are_served_as_their_settings_say() {
    let text = "
distributor:
  receivers:
    otlp:
      protocols:
        grpc:
          max_concurrent_streams: 5
          keepalive:
            server_parameters: {max_connection_age: 1m, max_connection_idle: 8s, time: 9s}
        http:
          read_header_timeout: 4s
          idle_timeout: 0s
          write_timeout: 3s
          keep_alives_enabled: false
server:
  http_listen_conn_limit: 11
  http_server_read_timeout: 6s
  http_server_idle_timeout: 3m
  http_server_write_timeout: 2s
  grpc_listen_conn_limit: 12
  grpc_server_max_concurrent_streams: 6
  grpc_server_max_connection_idle: 13s
  grpc_server_max_connection_age: 14s
  grpc_server_max_connection_age_grace: 15s
  grpc_server_keepalive_time: 16s
  grpc_server_keepalive_timeout: 17s
";
    let seconds = Duration::from_secs;
    let options = options(text);
    let faces: Vec<_> = options.iter().map(|(face, _)| *face).collect();
    assert_eq!(
        faces,
        [
            Face::OtlpGrpc,
            Face::OtlpHttp,
            Face::Internal,
            Face::Api,
            Face::Admin
        ]
    );
    assert!(
        options
            .iter()
            .all(|(_, options)| options.drain_timeout == seconds(7))
    );
    let [(_, grpc), (_, http), (_, internal), (_, api), _] = options.as_slice() else {
        panic!("{options:?}");
    };
    assert_eq!(grpc.max_concurrent_streams, 5);
    assert_eq!(grpc.max_connection_age, Some(seconds(60)));
    assert_eq!(grpc.http2_idle_timeout, Some(seconds(8)));
    assert_eq!(grpc.ping_interval, seconds(9));
    assert_eq!(http.header_read_timeout, seconds(4));
    assert_eq!((http.idle_timeout, http.http2_idle_timeout), (None, None));
    assert_eq!(http.write_timeout, Some(seconds(3)));
    assert!(!http.http1_keep_alive);
    assert_eq!(internal.max_connections, 12);
    assert_eq!(internal.max_concurrent_streams, 6);
    assert_eq!(internal.http2_idle_timeout, Some(seconds(13)));
    assert_eq!(internal.max_connection_age, Some(seconds(14)));
    assert_eq!(internal.max_connection_age_grace, Some(seconds(15)));
    assert_eq!(internal.ping_interval, seconds(16));
    assert_eq!(internal.ping_timeout, seconds(17));
    assert_eq!(api.max_connections, 11);
    assert_eq!(api.header_read_timeout, seconds(6));
    assert_eq!(api.write_timeout, Some(seconds(2)));
    assert_eq!(api.idle_timeout, Some(seconds(180)));
    assert_eq!(api.http2_idle_timeout, Some(seconds(180)));
}

#[test]
fn receivers_of_other_protocols_listen_where_they_are_told_to() {
    let text = "
distributor:
  receivers:
    zipkin: {endpoint: '127.0.0.1:1', idle_timeout: 3s}
    jaeger:
      protocols:
        grpc: {endpoint: '127.0.0.1:2', max_concurrent_streams: 7}
        thrift_http: {endpoint: '127.0.0.1:3', write_timeout: 4s}
        thrift_compact: {endpoint: '127.0.0.1:4', max_packet_size: 1000}
        thrift_binary: {endpoint: '127.0.0.1:5', socket_buffer_size: 1MiB}
";
    let config = Loaded::from_text("c.yaml", text).unwrap().config;
    let wanted = wanted(&config, Duration::ZERO).unwrap();
    let [zipkin, grpc, http, ..] = wanted.as_slice() else {
        panic!("{wanted:?}");
    };
    let faces = [zipkin.face, grpc.face, http.face];
    assert_eq!(
        faces,
        [Face::Zipkin, Face::JaegerGrpc, Face::JaegerThriftHttp]
    );
    let ports = [zipkin, grpc, http].map(|wanted| wanted.address.port());
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(zipkin.options.idle_timeout, Some(Duration::from_secs(3)));
    assert_eq!(grpc.options.max_concurrent_streams, 7);
    assert_eq!(http.options.write_timeout, Some(Duration::from_secs(4)));
    let udp: Vec<_> = wanted_udp(&config)
        .unwrap()
        .into_iter()
        .map(|udp| {
            (
                udp.face,
                udp.encoding,
                udp.address.port(),
                udp.max_bytes,
                udp.buffer_bytes,
            )
        })
        .collect();
    assert_eq!(
        udp,
        [
            (
                Face::JaegerThriftCompact,
                ThriftEncoding::Compact,
                4,
                1_000,
                0
            ),
            (
                Face::JaegerThriftBinary,
                ThriftEncoding::Binary,
                5,
                65_000,
                1 << 20
            ),
        ]
    );
}

#[test]
fn zero_and_absence_bound_streams_and_headers() {
    let zero = "
distributor:
  receivers:
    otlp:
      protocols: {grpc: {max_concurrent_streams: 0}, http: {read_header_timeout: 0s}}
server: {grpc_server_max_concurrent_streams: 0, http_server_read_header_timeout: 0s}";
    let longer = "
distributor: {receivers: {otlp: {protocols: {grpc:, http: {read_header_timeout: 5m}}}}}
server: {http_server_read_header_timeout: 5m}";
    for text in ["", zero, longer] {
        for (face, options) in options(text) {
            assert_eq!(options.max_concurrent_streams, 1_000, "{face:?} {text}");
            assert_eq!(options.header_read_timeout.as_secs(), 10, "{face:?} {text}");
        }
    }
}

#[test]
fn oldest_tls_version_is_that_of_go() {
    let files = "cert_file: c, key_file: k";
    for (given, want) in [
        ("''", "1.2"),
        ("VersionTLS11", "1.2"),
        ("VersionTLS13", "1.3"),
    ] {
        let text = format!(
            "server: {{tls_min_version: {given}, http_tls_config: {{{files}}}, \
                 grpc_tls_config: {{{files}}}}}"
        );
        let server = Loaded::from_text("c.yaml", text).unwrap().config.server;
        for tls in [server.http_tls(), server.grpc_tls()] {
            assert_eq!(tls.unwrap().min_version, want, "{given}");
        }
    }
    let text = "server: {tls_min_version: '1.3'}";
    let refused = Loaded::from_text("c.yaml", text).unwrap_err().to_string();
    assert!(refused.contains("server.tls_min_version"), "{refused}");
}

#[test]
fn tls_that_cannot_be_loaded_names_its_block() {
    let text = "server: {http_tls_config: {cert_file: /nowhere/c.pem, key_file: /nowhere/k.pem}}";
    let config = Loaded::from_text("c.yaml", text).unwrap().config;
    let error = wanted(&config, Duration::ZERO).unwrap_err();
    let report = error.report();
    assert!(
        report.starts_with("server.http_tls_config: cert_file: cannot read /nowhere/c.pem: "),
        "{report}"
    );
    assert_eq!(error.exit_code(), 2);
}
