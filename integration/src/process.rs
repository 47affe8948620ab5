//! Child processes that never outlive their test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use crate::patience::patience;

/// A running program whose output goes to a file.
///
/// Killed when dropped; then its log is shown, because a test that ends well
/// stops its processes itself.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stopped: bool,
}

impl Process {
    /// Starts `program` with its standard output and error in `<name>.log` of `directory`,
    /// which is also its working directory.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name,
            child,
            log,
            stopped: false,
        })
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with the log when the process has ended.
    ///
    /// # Errors
    ///
    /// The exit status and the log.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(
            ended.is_none(),
            "{} ended with {ended:?}; it printed\n{}",
            self.name,
            self.log()
        );
        Ok(())
    }

    /// Its process id.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn id(&self) -> anyhow::Result<u32> {
        let id = self.child.id();
        id.with_context(|| format!("{} has ended", self.name))
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.id()?;
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(id.to_string())
            .status()
            .await?;
        ensure!(sent.success(), "cannot signal {}", self.name);
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it has not ended before the patience is out.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let status = tokio::time::timeout(patience(), self.child.wait())
            .await
            .with_context(|| format!("{} does not end", self.name))??;
        self.stopped = true;
        Ok(status)
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`] and [`Process::wait`].
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.ensure_running()?;
        self.signal("TERM").await?;
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stopped {
            eprintln!("--- log of {}\n{}---", self.name, self.log());
        }
    }
}
