//! Requests one after the other, as an exporter sends them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use proto::otlp::collector::ExportTraceServiceRequest;

use crate::patience::eventually;
use crate::traces::post;

/// Requests that are sent one after the other.
#[derive(Debug, Default)]
pub struct Load {
    is_over: AtomicBool,
    accepted: AtomicU64,
}

impl Load {
    /// Sends requests while `work` is done, and one after the other: each, whose
    /// numbers count from 1, until it is accepted. Gives what came of the work, and how
    /// many were accepted.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub async fn during<T>(
        url: &str,
        tenant: Option<&str>,
        request: impl Fn(u64) -> ExportTraceServiceRequest,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, u64)> {
        let load = Self::default();
        let work = async {
            let done = work(&load).await;
            load.is_over.store(true, Ordering::Relaxed);
            done
        };
        let (done, requests) = tokio::join!(work, load.send(url, tenant, request));
        Ok((done?, requests))
    }

    async fn send(
        &self,
        url: &str,
        tenant: Option<&str>,
        request: impl Fn(u64) -> ExportTraceServiceRequest,
    ) -> u64 {
        for number in 1.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let request = request(number);
            // Refused while the receiver stops, and not answered while it is away.
            while !is_accepted(url, &request, tenant).await {
                // There may be nobody left to accept anything.
                if self.is_over.load(Ordering::Relaxed) {
                    return self.accepted.load(Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have been accepted.
    ///
    /// # Errors
    ///
    /// When they are not before the patience is out.
    pub async fn more(&self, requests: u64) -> anyhow::Result<()> {
        let wanted = self.accepted.load(Ordering::Relaxed) + requests;
        eventually("more requests", || async {
            let accepted = self.accepted.load(Ordering::Relaxed);
            ensure!(accepted >= wanted, "{accepted} requests");
            Ok(())
        })
        .await
    }
}

async fn is_accepted(url: &str, request: &ExportTraceServiceRequest, tenant: Option<&str>) -> bool {
    let answer = post(url, request, tenant).await;
    answer.is_ok_and(|answer| answer.accepted().is_ok())
}
