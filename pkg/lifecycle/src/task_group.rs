//! Tasks and threads that have names, are waited for, and whose panics are
//! reported.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Long-lived work of one owner, to be joined before the owner ends.
///
/// Clones share the work. A panic ends its task alone and is logged as an
/// error with the task's name.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup(Arc<Group>);

#[derive(Debug, Default)]
struct Group {
    running: Mutex<Running>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, &'static str>,
}

/// A task that counts as running until this is dropped.
struct Entry {
    group: TaskGroup,
    id: u64,
}

impl TaskGroup {
    /// A group without work.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future on the current Tokio runtime.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let entry = self.enter(name);
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place that starts tasks, so that all are named and joined"
        )]
        tokio::spawn(async move {
            let _entry = entry;
            let mut work = pin!(work);
            poll_fn(|context| {
                match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                    Ok(poll) => poll,
                    Err(panic) => {
                        report(name, &*panic);
                        Poll::Ready(())
                    }
                }
            })
            .await;
        });
    }

    /// Runs a function on an operating-system thread of its own.
    ///
    /// For work that computes for long or blocks; the thread bears the name.
    /// If the system refuses a thread, that is logged and nothing runs.
    pub fn spawn_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let entry = self.enter(name);
        let started = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _entry = entry;
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                    report(name, &*panic);
                }
            });
        if let Err(error) = started {
            tracing::error!(task = name, %error, "cannot start thread");
        }
    }

    /// How many tasks and threads are running.
    pub fn running(&self) -> usize {
        self.0.running.lock().names.len()
    }

    /// Waits until nothing runs, at most for `deadline`.
    ///
    /// Returns the names of what still runs then, sorted; it goes on running.
    /// Cancel-safe.
    pub async fn join(&self, deadline: Duration) -> Vec<&'static str> {
        let all_ended = async {
            loop {
                let ended = self.0.ended.notified();
                if self.running() == 0 {
                    return;
                }
                ended.await;
            }
        };
        if timeout(deadline, all_ended).await.is_ok() {
            return Vec::new();
        }
        let mut names: Vec<_> = self.0.running.lock().names.values().copied().collect();
        names.sort_unstable();
        names
    }

    fn enter(&self, name: &'static str) -> Entry {
        let mut running = self.0.running.lock();
        let id = running.next;
        running.next += 1;
        running.names.insert(id, name);
        drop(running);
        Entry {
            group: self.clone(),
            id,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.group.0.running.lock().names.remove(&self.id);
        self.group.0.ended.notify_waiters();
    }
}

fn report(name: &'static str, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message");
    tracing::error!(task = name, panic = message, "task panicked");
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn join_names_what_still_runs_at_the_deadline() {
        let group = TaskGroup::new();
        let (stop, stopped) = oneshot::channel::<()>();
        group.spawn("quick", async {});
        group.spawn("slow", std::future::pending());
        group.spawn("asked", async {
            let _ = stopped.await;
        });
        stop.send(()).unwrap();
        assert_eq!(group.join(Duration::from_secs(5)).await, ["slow"]);
    }

    #[tokio::test]
    async fn join_waits_for_threads_and_for_work_of_clones() {
        let group = TaskGroup::new();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        group.spawn_thread("thread", move || {
            let _ = stopped.recv();
        });
        group.clone().spawn("task", async move {
            drop(stop);
        });
        assert_eq!(group.running(), 2);
        assert!(group.join(Duration::from_secs(60)).await.is_empty());
        assert_eq!(group.running(), 0);
    }

    #[tokio::test]
    async fn panic_ends_its_task_alone() {
        let group = TaskGroup::new();
        let (tell, told) = oneshot::channel();
        group.spawn("broken", async { panic!("boom") });
        group.spawn_thread("broken-thread", || panic!("{} {}", "formatted", 1));
        group.spawn("healthy", async move {
            tokio::task::yield_now().await;
            tell.send(5).unwrap();
        });
        assert!(group.join(Duration::from_secs(60)).await.is_empty());
        assert_eq!(told.await.unwrap(), 5);
    }
}
