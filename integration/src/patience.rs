//! How long tests wait for what must come: one setting for all of them.

use std::time::Duration;

use tokio::time::Instant;

/// The environment variable with the patience in whole seconds.
const VARIABLE: &str = "SPANMILL_TEST_PATIENCE";

/// The longest a test waits for one thing before it fails.
///
/// Long by default, because it only costs time when something is broken.
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var(VARIABLE).ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Asks again and again until the answer is `Ok`, for as long as the patience
/// lasts; then fails with `what` and the last error.
///
/// # Errors
///
/// The last error of `ask`.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + patience();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {:?} for {what}", patience())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
