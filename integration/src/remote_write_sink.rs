//! A receiver of remote write 1.0 and 2.0 that keeps everything, answers as it is
//! told, and holds the sender to the protocol.

mod answer;
mod faults;
mod history;
mod protocol;
mod received;
mod second_version;
mod serving;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::ensure;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use answer::Answer;
pub use faults::{Faults, When};
use history::UnderWay;
pub use protocol::Version;
pub use received::{Received, ReceivedExemplar, ReceivedRequest, ReceivedSeries};
pub use second_version::ReceivedMetadata;

use crate::patience::eventually;
use crate::ports::Port;

/// A receiver on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct RemoteWriteSink {
    port: Port,
    /// Where it listens.
    ip: Ipv4Addr,
    shared: Arc<Shared>,
    /// Runs while the sink is up: when it goes, so do its listener and every
    /// connection.
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    answers: Mutex<VecDeque<Answer>>,
    faults: Mutex<Faults>,
    always: Mutex<Option<Answer>>,
    under_way: UnderWay,
    /// Rung when what is held is to be answered.
    let_go: watch::Sender<()>,
}

impl RemoteWriteSink {
    /// Starts one that answers 204.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Faults::new()).await
    }

    /// Starts one that answers by these rules, and 204 where none is met.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start_with(faults: Faults) -> anyhow::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, faults).await
    }

    /// The same on another address of this host.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start_at(ip: Ipv4Addr, faults: Faults) -> anyhow::Result<Self> {
        let sink = Self {
            port: Port::reserve()?,
            ip,
            shared: Arc::default(),
            runtime: Mutex::new(None),
        };
        sink.set_faults(faults);
        sink.bring_up().await?;
        Ok(sink)
    }

    /// Where to send.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address())
    }

    fn address(&self) -> SocketAddr {
        (self.ip, self.port.number()).into()
    }

    /// Answers by these rules from now on, in place of those before.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.lock() = faults;
    }

    /// Answers the requests that are held.
    pub fn let_go(&self) {
        self.shared.let_go.send_replace(());
    }

    /// Takes metrics of any kind, as scraped from anywhere: without help or
    /// start timestamp, and NaN. Otherwise only what spanmill makes.
    pub fn take_any_metric(&self) {
        self.shared.received.lock().takes_any_metric = true;
    }

    /// Checks that every series has this label with the value of its request's
    /// `X-Scope-OrgID`.
    pub fn check_tenant_label(&self, name: &str) {
        self.shared.received.lock().tenant_label = Some(name.to_owned());
    }

    /// Answers the next requests so, one each, before all rules.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().extend(answers);
    }

    /// Answers all requests so that meet no rule, until told otherwise; `None`
    /// for 204.
    pub fn always_answer(&self, answer: Option<Answer>) {
        *self.shared.always.lock() = answer;
    }

    /// Stops listening and cuts all connections: senders are refused.
    pub fn take_down(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        // The listener before this one may be a moment from gone.
        let listener = eventually("the sink's port", || async {
            Ok(std::net::TcpListener::bind(self.address())?)
        })
        .await?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote-write-sink")
            .enable_all()
            .build()?;
        let shared = self.shared.clone();
        runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => match serving::serve(listener, shared).await {},
                Err(error) => eprintln!("remote-write sink cannot listen: {error}"),
            }
        });
        *self.runtime.lock() = Some(runtime);
        Ok(())
    }

    /// What has come so far; requests wait while this is held.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received.lock()
    }

    /// Waits until what has come satisfies `condition`, and gives its result.
    ///
    /// # Errors
    ///
    /// The condition's last error, when the patience is out.
    pub async fn eventually<T>(
        &self,
        what: &str,
        condition: impl Fn(&Received) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eventually(what, || async { condition(&self.received()) }).await
    }

    /// Checks that the sender kept to the protocol in every request.
    ///
    /// # Errors
    ///
    /// What it did wrong, everything.
    pub fn check_protocol(&self) -> anyhow::Result<()> {
        let violations = &self.received().violations;
        ensure!(
            violations.is_empty(),
            "{} violations of the protocol:\n{}",
            violations.len(),
            violations.join("\n")
        );
        Ok(())
    }
}

impl Drop for RemoteWriteSink {
    fn drop(&mut self) {
        self.take_down();
    }
}

#[cfg(test)]
mod tests;
