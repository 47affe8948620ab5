//! Generates the messages from the `.proto` files, without a system `protoc`.

use std::path::PathBuf;

use prost_build::Config;

const FILES: [&str; 10] = [
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "jaeger/api_v2/collector.proto",
    "zipkin/zipkin.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
    "prometheus/client/metrics.proto",
    "prometheus/write/v1.proto",
    "prometheus/write/v2.proto",
    "tempopb/generator.proto",
    "spanmill/v1/generator.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).open_files(FILES)?;
    std::fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    Config::new()
        // Comments of others are neither our docs nor sound doc tests.
        .disable_comments(["."])
        // Parts of what was received, not copies.
        .bytes([".spanmill.v1.Pushes.messages"])
        .include_file("messages.rs")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
