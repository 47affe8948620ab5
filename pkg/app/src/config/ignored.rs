//! Settings of Tempo that do not concern us.

use settings::Node;

/// Settings that are taken out of a file with one warning each; nothing inside them is
/// checked. Keys of the block that comes first.
pub(crate) const IGNORED: [(&[&str], &[&str]); 10] = [
    (
        &[],
        &[
            "autocomplete_filtering_enabled",
            "backend_scheduler",
            "backend_scheduler_client",
            "backend_worker",
            "block_builder",
            "cache",
            "compactor",
            "enable_go_runtime_metrics",
            "ingest",
            "ingester",
            "ingester_client",
            "internal_server",
            "live_store",
            "live_store_client",
            "memory",
            "metrics_generator_enabled",
            "partition_ring_live_store",
            "querier",
            "query_frontend",
            "search_enabled",
            "stream_over_http_enabled",
            "usage_report",
            "use_otel_tracer",
        ],
    ),
    (
        &["server"],
        &[
            "cluster_validation",
            "create_new_traces",
            "enable_open_metrics_text_created_samples",
            "graceful_shutdown_for_http",
            "grpc_collect_max_streams_by_conn",
            "grpc_listen_network",
            "grpc_server_max_send_msg_size",
            "grpc_server_min_time_between_pings",
            "grpc_server_num_stream_workers",
            "grpc_server_num_workers",
            "grpc_server_ping_without_stream_allowed",
            "grpc_server_read_buffer_size",
            "grpc_server_recv_buffer_pools_enabled",
            "grpc_server_stats_tracking_enabled",
            "grpc_server_write_buffer_size",
            "http_listen_network",
            "http_log_closed_connections_without_response_enabled",
            "http_path_prefix",
            "log_request_at_info_level_enabled",
            "log_request_exclude_headers_list",
            "log_request_headers",
            "log_source_ips_enabled",
            "log_source_ips_full",
            "log_source_ips_header",
            "log_source_ips_regex",
            "num_workers",
            "proxy_protocol_enabled",
            "register_instrumentation",
            "report_grpc_codes_in_instrumentation_label_enabled",
            "throughput",
            "tls_cipher_suites",
            "trace_request_exclude_headers_list",
            "trace_request_headers",
        ],
    ),
    (
        &["metrics_generator_client", "grpc_client_config"],
        &[
            "backoff_config",
            "backoff_on_ratelimits",
            "cluster_validation",
            "connect_backoff_base_delay",
            "connect_backoff_max_delay",
            "grpc_compression",
            "initial_connection_window_size",
            "initial_stream_window_size",
            "rate_limit",
            "rate_limit_burst",
            "tls_cipher_suites",
            "tls_min_version",
        ],
    ),
    (
        &["memberlist"],
        &[
            "abort_if_cluster_join_fails",
            "abort_if_fast_join_fails",
            "acquire_writer_timeout",
            "broadcast_timeout_for_local_updates_on_shutdown",
            "cluster_label_verification_disabled",
            "compression_enabled",
            "dead_node_reclaim_time",
            "gossip_nodes",
            "gossip_to_dead_nodes_time",
            "leave_timeout",
            "left_ingesters_timeout",
            "max_concurrent_writes",
            "max_join_backoff",
            "max_join_retries",
            "message_history_buffer_bytes",
            "min_join_backoff",
            "node_name",
            "notify_interval",
            "obsolete_entries_timeout",
            "packet_dial_timeout",
            "packet_write_timeout",
            "pull_push_interval",
            "randomize_node_name",
            "rejoin_interval",
            "retransmit_factor",
            "stream_timeout",
            "tls_ca_path",
            "tls_cert_path",
            "tls_cipher_suites",
            "tls_enabled",
            "tls_insecure_skip_verify",
            "tls_key_path",
            "tls_min_version",
            "tls_server_name",
            "watch_prefix_buffer_size",
        ],
    ),
    (&["storage"], &["trace"]),
    (&["metrics_generator"], &["skip_stale_backlog_on_startup"]),
    (&["overrides"], &["config_type", "enable_legacy_overrides"]),
    (
        &["overrides", "user_configurable_overrides", "client", "gcs"],
        &[
            "chunk_buffer_size",
            "hedge_requests_at",
            "hedge_requests_up_to",
            "list_blocks_concurrency",
            "object_cache_control",
            "object_metadata",
        ],
    ),
    (
        &["overrides", "user_configurable_overrides", "client", "s3"],
        &[
            "bucket_lookup_type",
            "checksum_type",
            "enable_dual_stack",
            "forcepathstyle",
            "hedge_requests_at",
            "hedge_requests_up_to",
            "list_blocks_concurrency",
            "metadata",
            "native_aws_auth_enabled",
            "part_size",
            "signature_v2",
            "storage_class",
            "tags",
            "tls_ca_path",
            "tls_cert_path",
            "tls_cipher_suites",
            "tls_insecure_skip_verify",
            "tls_key_path",
            "tls_min_version",
            "tls_server_name",
        ],
    ),
    (
        &[
            "overrides",
            "user_configurable_overrides",
            "client",
            "azure",
        ],
        &[
            "buffer_size",
            "hedge_requests_at",
            "hedge_requests_up_to",
            "max_buffers",
            "use_federated_token",
            "use_managed_identity",
            "use_v2_sdk",
        ],
    ),
];

/// Takes the settings that do not concern us out of a document, and says so.
pub(super) fn take(root: &mut Node) -> Vec<String> {
    let mut warnings = Vec::new();
    for (block, keys) in IGNORED {
        let Some(node) = root.get_path_mut(block) else {
            continue;
        };
        for key in keys {
            if let Some(entry) = node.remove(key) {
                let path: Vec<_> = block.iter().chain([key]).copied().collect();
                warnings.push(format!(
                    "{}: {} has no effect here and is ignored",
                    entry.key_place(),
                    path.join(".")
                ));
            }
        }
    }
    warnings
}
