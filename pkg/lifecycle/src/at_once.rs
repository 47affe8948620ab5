//! Work on many things, several at a time.

use std::thread;

use parking_lot::Mutex;

/// Does something for each of many, at most `limit` at a time, on threads that end with
/// it; returns when all is done. Blocks.
///
/// For work that mostly waits for the disk: what is written together is waited for
/// together. Where the system gives no more threads, those that there are do it all.
pub fn at_once<T: Send>(limit: usize, items: Vec<T>, work: impl Fn(T) + Sync) {
    let threads = limit.min(items.len());
    let left = Mutex::new(items.into_iter());
    let work_on_some = || {
        loop {
            // In a statement of its own: the lock is not to be held while it is done.
            let next = left.lock().next();
            match next {
                Some(item) => work(item),
                None => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let started = thread::Builder::new().spawn_scoped(scope, work_on_some);
            if started.is_err() {
                break;
            }
        }
        work_on_some();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_is_worked_on_once_and_several_at_the_same_time() {
        // Nobody gets past it unless four are there.
        let four = Barrier::new(4);
        let sum = AtomicUsize::new(0);
        at_once(4, (1..=8).collect(), |item: usize| {
            four.wait();
            sum.fetch_add(item, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 36);
    }

    #[test]
    fn no_more_than_the_limit_are_worked_on() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        at_once(3, vec![(); 50], |()| {
            let working = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(working, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert!(most.into_inner() <= 3);
        at_once(3, Vec::<()>::new(), |()| {});
    }
}
