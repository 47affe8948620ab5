//! What is made of files, and made anew when they change.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use parking_lot::Mutex;
use telemetry::error_chain;
use tokio::time::sleep;

/// Settings that name files, and what is made of these.
pub trait OfFiles: Send + Sync + 'static {
    /// The files as they were read.
    type Files: PartialEq + Send;
    /// What is made of them.
    type Made: Send + Sync;
    /// Why that may fail.
    type Error: Error + Send;

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Where one cannot be read.
    fn read(&self) -> Result<Self::Files, Self::Error>;

    /// Makes of the files what is used.
    ///
    /// # Errors
    ///
    /// Where they do not hold what they should.
    fn make(&self, files: &Self::Files) -> Result<Self::Made, Self::Error>;
}

/// What was made of the files that were read last.
pub struct Reloaded<S: OfFiles> {
    source: S,
    files: Mutex<S::Files>,
    current: ArcSwap<S::Made>,
}

impl<S: OfFiles> Reloaded<S> {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// As [`OfFiles`] says.
    pub fn load(source: S) -> Result<Self, S::Error> {
        let files = source.read()?;
        let made = source.make(&files)?;
        Ok(Self {
            source,
            files: files.into(),
            current: ArcSwap::from_pointee(made),
        })
    }

    /// The settings.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// What is used now.
    pub fn current(&self) -> Arc<S::Made> {
        self.current.load_full()
    }

    /// Reads the files again; says whether they had changed.
    ///
    /// # Errors
    ///
    /// As [`OfFiles`] says; then everything stays as it was.
    pub fn reload(&self) -> Result<bool, S::Error> {
        let files = self.source.read()?;
        let mut last = self.files.lock();
        if *last == files {
            return Ok(false);
        }
        self.current.store(Arc::new(self.source.make(&files)?));
        *last = files;
        Ok(true)
    }

    /// Looks for new files at an interval, until shutdown. The log names `file`.
    pub fn reload_in_background(
        self: &Arc<Self>,
        interval: Duration,
        file: &Path,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) {
        let (reloaded, shutdown) = (self.clone(), shutdown.clone());
        let file = file.display().to_string();
        tasks.spawn("tls-reload", async move {
            loop {
                tokio::select! {
                    () = sleep(interval) => {}
                    () = shutdown.requested() => return,
                }
                match reloaded.reload() {
                    Ok(true) => tracing::info!(file, "certificate reloaded"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(
                        file,
                        error = %error_chain(&error),
                        "cannot reload certificate, keeping the old one"
                    ),
                }
            }
        });
    }
}
