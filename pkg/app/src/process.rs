//! The process as it runs, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use generator::Generator;
use lifecycle::{Shutdown, TaskGroup};
use remote_write::RemoteWrite;
use ring::Node;
use telemetry::error_chain;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, EdgeMoves};
use crate::data_dir::DataDir;
use crate::downscale::Downscale;
use crate::ports::Face;
use crate::readiness::{Readiness, Stage};

/// What runs together and ends together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: TaskGroup,
}

/// An address as it is bound, and what is served there.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) face: Face,
    pub(crate) address: SocketAddr,
    /// As people write it.
    pub(crate) shown: String,
}

/// What makes series.
#[derive(Clone, Debug)]
pub(crate) struct Generating {
    pub(crate) generator: Generator,
    pub(crate) remote_write: RemoteWrite,
}

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) readiness: Readiness,
    pub(crate) addresses: Vec<Address>,
    /// None where no series are made.
    pub(crate) generating: Option<Generating>,
    /// None where the process is alone.
    pub(crate) cluster: Option<Cluster>,
    /// None where there are no other generators.
    pub(crate) edge_moves: Option<EdgeMoves>,
    /// Whether this stop is for good; none where no other generator could take what is left.
    pub(crate) downscale: Option<Downscale>,
    /// Listeners that take spans.
    pub(crate) intake: Part,
    /// The other listeners.
    pub(crate) pages: Part,
    /// What works without being asked: collections, reloads, senders.
    pub(crate) background: Part,
    pub(crate) limits: StopLimits,
    /// The data directory's path.
    pub(crate) storage: PathBuf,
    /// None where nothing is kept.
    pub(crate) data_dir: Option<DataDir>,
}

/// How long the steps of a stop may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopLimits {
    /// How long it is announced before it begins.
    pub(crate) delay: Duration,
    /// Pushes in flight.
    pub(crate) drain: Duration,
    /// Sending what was collected.
    pub(crate) flush: Duration,
    /// All of it, but for the delay.
    pub(crate) whole: Duration,
}

/// How long halves of edges may take on their way to other generators.
const MOVING: Duration = Duration::from_secs(5);

/// What is kept of the deadline for closing the last listeners.
const CLOSING: Duration = Duration::from_secs(1);

impl Process {
    /// Ends without losing what was taken: closes the intake, lets pushes end,
    /// collects every tenant once more, saves the series for the next start, sends
    /// what there is. Takes no longer than the deadline after the delay.
    ///
    /// Cancelled, it leaves the process running, without an intake after the delay.
    pub(crate) async fn stop(self) {
        self.readiness.enter(Stage::Stopping);
        if let Some(cluster) = &self.cluster {
            cluster.announce_leaving().await;
        }
        sleep(self.limits.delay).await;
        let start = Instant::now();
        let left = || self.limits.whole.saturating_sub(start.elapsed());

        self.intake.shutdown.trigger();
        self.background.shutdown.trigger();
        // The listeners cut off what takes longer, and need a moment for it.
        let running = self.intake.tasks.join(self.limits.drain + CLOSING).await;
        if !running.is_empty() {
            tracing::warn!(?running, "intake did not close in time");
        }

        let before_closing = || left().saturating_sub(CLOSING);
        if let Some(moves) = &self.edge_moves {
            // No span comes any more.
            moves.move_all(before_closing().min(MOVING)).await;
        }
        if let Some(cluster) = &self.cluster {
            // Distributors have the answers to all that they sent.
            let told = timeout(before_closing(), cluster.ring.leave());
            if told.await.is_err() {
                tracing::warn!("the others could not be told that this node is gone");
            }
        }
        if let Some(generating) = &self.generating {
            self.collect_and_send(generating, before_closing).await;
        }

        self.pages.shutdown.trigger();
        self.pages.tasks.join(left().min(CLOSING)).await;
        let running = self.background.tasks.join(left().min(CLOSING)).await;
        if !running.is_empty() {
            tracing::warn!(?running, "not everything ended in time");
        }
        drop(self.data_dir);
        tracing::info!(seconds = start.elapsed().as_secs_f64(), "stopped");
        // All of it is on disk. Taken apart, each tenant would remove what is delivered from
        // its spool, which takes seconds with ten thousand tenants; the next start finds it
        // delivered, and the system takes the memory back at once.
        std::mem::forget(self.generating);
    }

    /// Whether this node does not come back.
    fn is_for_good(&self) -> bool {
        let Some(downscale) = &self.downscale else {
            return false;
        };
        downscale.is_prepared().unwrap_or_else(|error| {
            let error = error_chain(&error);
            tracing::warn!(%error, "cannot tell whether this stop is for good; it is taken for one like others");
            false
        })
    }

    /// Gives what receivers have not got to other generators, and leaves nothing behind.
    async fn hand_over(&self, generating: &Generating, patience: Duration) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let targets = cluster.other_generators();
        let generator = &generating.generator;
        let handed = generator.hand_over_samples(&targets, patience).await;
        if handed.left_samples > 0 {
            return;
        }
        let (remote_write, downscale) = (generating.remote_write.clone(), self.downscale.clone());
        let storage = self.storage.clone();
        let cleared = spawn_blocking(move || {
            if remote_write.clear() == 0 {
                Node::forget(&storage)?;
                downscale.map_or(Ok(()), |downscale| downscale.cancel())?;
            }
            Ok::<_, io::Error>(())
        });
        // It ends without an answer only where the process does.
        if let Ok(Err(error)) = cleared.await {
            let error = error_chain(&error);
            tracing::warn!(%error, "cannot remove what tells who this node was");
        }
    }

    /// Collects every tenant once more, saves the series, sends what there is.
    async fn collect_and_send(
        &self,
        generating: &Generating,
        before_closing: impl Fn() -> Duration,
    ) {
        let is_for_good = self.is_for_good();
        let (tell_collected, collected) = oneshot::channel();
        let (tell_saved, saved) = oneshot::channel();
        let generator = generating.generator.clone();
        let collect = move || {
            if is_for_good {
                let series = generator.stop_for_good();
                tracing::info!(
                    series,
                    "this generator goes for good, its series have ended"
                );
            } else {
                generator.stop();
            }
            // Nobody listens if the deadline has passed.
            let _ = tell_collected.send(());
            if !is_for_good {
                generator.save();
            }
            let _ = tell_saved.send(());
        };
        self.background
            .tasks
            .spawn_thread("final-collection", collect);
        if timeout(before_closing(), collected).await.is_err() {
            tracing::error!("last collection did not end in time; its samples are lost");
        }
        let unsent = generating
            .remote_write
            .flush(before_closing().min(self.limits.flush))
            .await;
        if unsent > 0 && !is_for_good {
            tracing::warn!(
                samples = unsent,
                "receivers did not take all samples in time; they stay in the spool for the next start"
            );
        }
        if is_for_good {
            generating.remote_write.settle().await;
        } else {
            generating.remote_write.stop();
        }
        let (tell_synced, synced) = oneshot::channel();
        let remote_write = generating.remote_write.clone();
        self.background.tasks.spawn_thread("spool-sync", move || {
            remote_write.sync();
            let _ = tell_synced.send(());
        });
        if timeout(before_closing(), synced).await.is_err() {
            tracing::warn!("spool was not made durable in time; it is safe unless power is lost");
        }
        if timeout(before_closing(), saved).await.is_err() {
            tracing::error!(
                "series were not all saved in time; the others begin at 0 after the next start"
            );
        }
        if is_for_good {
            self.hand_over(generating, before_closing()).await;
        }
    }
}

#[cfg(test)]
mod tests;
