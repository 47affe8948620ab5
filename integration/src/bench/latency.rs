//! Latencies of pushes, while series are collected and otherwise.

/// One push: its start in Unix microseconds, and its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    start: u64,
    latency: u64,
}

/// A span of time in Unix microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    start: u64,
    end: u64,
}

/// Quantiles of some pushes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// How many.
    pub(crate) pushes: usize,
    /// 99 % took at most this.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

/// Reads what spangen's `--latency-log` wrote.
pub(crate) fn parse(log: &str) -> Vec<Push> {
    let lines = log.lines().filter_map(|line| {
        let (start, latency) = line.split_once(' ')?;
        Some(Push {
            start: start.parse().ok()?,
            latency: latency.parse().ok()?,
        })
    });
    lines.collect()
}

/// Collections, told from when remote-write requests arrived.
///
/// A collection begins somewhat before its first request arrives, so its
/// window begins half a second earlier.
pub(crate) fn collections(mut arrivals: Vec<u64>) -> Vec<Window> {
    const BEFORE: u64 = 500_000;
    const AFTER: u64 = 100_000;
    const GAP: u64 = 2_000_000;
    arrivals.sort_unstable();
    let mut windows: Vec<Window> = Vec::new();
    for at in arrivals {
        let end = at + AFTER;
        match windows.last_mut() {
            Some(window) if at.saturating_sub(window.end) < GAP => window.end = end,
            _ => windows.push(Window {
                start: at.saturating_sub(BEFORE),
                end,
            }),
        }
    }
    windows
}

/// Pushes that overlap a window, and all others.
pub(crate) fn split(pushes: &[Push], windows: &[Window]) -> (Summary, Summary) {
    let (inside, outside): (Vec<Push>, Vec<Push>) = pushes.iter().partition(|push| {
        let end = push.start + push.latency;
        windows
            .iter()
            .any(|window| push.start <= window.end && end >= window.start)
    });
    (summary(inside), summary(outside))
}

fn summary(mut pushes: Vec<Push>) -> Summary {
    pushes.sort_unstable_by_key(|push| push.latency);
    let rank = (pushes.len() * 99).div_ceil(100).saturating_sub(1);
    let seconds = |push: Option<&Push>| push.map_or(0.0, |push| push.latency as f64 / 1e6);
    Summary {
        pushes: pushes.len(),
        p99: seconds(pushes.get(rank)),
        max: seconds(pushes.last()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_told_apart_by_the_collections_they_meet() {
        let windows = collections(vec![20_000_000, 10_000_000, 11_000_000]);
        let window = |start, end| Window { start, end };
        assert_eq!(
            windows,
            [
                window(9_500_000, 11_100_000),
                window(19_500_000, 20_100_000)
            ]
        );
        let pushes = parse("1000000 5\n9000000 600000\n10000000 7000\n12000000 9\nbroken\n");
        let (inside, outside) = split(&pushes, &windows);
        assert_eq!((inside.pushes, inside.max), (2, 0.6));
        assert_eq!((outside.pushes, outside.p99), (2, 0.000_009));
    }

    #[test]
    fn p99_of_a_hundred_is_the_ninety_ninth() {
        let pushes: Vec<_> = (1..=100)
            .map(|latency| Push { start: 0, latency })
            .collect();
        assert_eq!(summary(pushes).p99, 99.0 / 1e6);
        assert_eq!(summary(Vec::new()), Summary::default());
    }
}
