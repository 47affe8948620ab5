//! Spans in any of the forms in which they are at hand.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// Reads a file, or standard input, and gives its spans as an OTLP request in protobuf.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    let name = || file.display().to_string();
    read.with_context(name)?;
    to_protobuf(bytes).with_context(name)
}

/// Makes protobuf of JSON, and leaves protobuf as it is.
pub(super) fn to_protobuf(bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
    // A message may begin like white space and a brace.
    if !is_json || otlp::validate::check(&bytes).is_ok() {
        return Ok(bytes);
    }
    let document: Value = serde_json::from_slice(&bytes).context("cannot be read as JSON")?;
    if document.get("resourceSpans").is_some() {
        return Ok(otlp::json::to_protobuf(&bytes)?);
    }
    ensure!(
        document.get("traceId").is_some() || document.get("spanId").is_some(),
        "is neither an OTLP request (resourceSpans) nor a span (traceId)"
    );
    let request = json!({"resourceSpans": [{
        "resource": document.get("resource"),
        "scopeSpans": [{"spans": [document]}],
    }]});
    Ok(otlp::json::to_protobuf(request.to_string().as_bytes())?)
}
