//! The signal that work should end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

/// A signal that is given once and stays given.
///
/// Clones share it. Tasks wait with [`Shutdown::requested`], threads with
/// [`Shutdown::wait_blocking`].
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    token: CancellationToken,
    triggered: Mutex<bool>,
    changed: Condvar,
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; giving it again does nothing.
    pub fn trigger(&self) {
        *self.0.triggered.lock() = true;
        self.0.changed.notify_all();
        self.0.token.cancel();
    }

    /// Whether the signal has been given.
    pub fn is_triggered(&self) -> bool {
        *self.0.triggered.lock()
    }

    /// Waits for the signal. Cancel-safe.
    pub async fn requested(&self) {
        self.0.token.cancelled().await;
    }

    /// Waits for the signal on a thread, at most for `timeout`.
    ///
    /// Returns whether the signal has been given, so that
    /// `while !shutdown.wait_blocking(interval) { work() }` is a thread's loop.
    pub fn wait_blocking(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut triggered = self.0.triggered.lock();
        while !*triggered {
            match deadline {
                Some(deadline) => {
                    if self
                        .0
                        .changed
                        .wait_until(&mut triggered, deadline)
                        .timed_out()
                    {
                        break;
                    }
                }
                None => self.0.changed.wait(&mut triggered),
            }
        }
        *triggered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signal_reaches_every_clone_and_stays() {
        let shutdown = Shutdown::new();
        let task = shutdown.clone();
        let waiting = async {
            task.requested().await;
            task.requested().await;
        };
        assert!(!shutdown.is_triggered());
        tokio::join!(waiting, async { shutdown.trigger() });
        assert!(shutdown.clone().is_triggered());
    }

    #[test]
    fn thread_waits_until_its_timeout_or_the_signal() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.wait_blocking(Duration::from_millis(1)));
        let other = shutdown.clone();
        let thread = std::thread::spawn(move || other.wait_blocking(Duration::MAX));
        shutdown.trigger();
        assert!(thread.join().unwrap());
    }
}
