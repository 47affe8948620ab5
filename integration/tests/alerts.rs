//! The alerts are ones that Prometheus takes, and they fire for what they are about.

use std::path::Path;

use spanmill_integration::prometheus::promtool;

#[tokio::test]
async fn alerts_fire_for_what_is_wrong_and_for_nothing_else() -> anyhow::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operations/prometheus");
    promtool(&directory, &["check", "rules", "alerts.yaml"]).await?;
    promtool(&directory, &["test", "rules", "alerts_test.yaml"]).await
}
