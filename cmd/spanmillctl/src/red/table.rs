//! The tables that people read.

use std::fmt::Write as _;
use std::time::Duration;

use super::services::{Red, Services};

/// Rates over some time.
pub(super) fn rates(services: &Services, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let heads = ["REQUESTS/S", "ERRORS/S", "ERRORS"];
    table(services, heads, |red| {
        [
            format!("{:.1}", red.calls / seconds),
            format!("{:.2}", red.errors / seconds),
            percent(red),
        ]
    })
}

/// Counts since the beginning, and why there are no rates.
pub(super) fn totals(services: &Services, note: &str) -> String {
    let heads = ["REQUESTS", "FAILED", "ERRORS"];
    let table = table(services, heads, |red| {
        [
            format!("{:.0}", red.calls),
            format!("{:.0}", red.errors),
            percent(red),
        ]
    });
    format!("{table}({note}: these are totals since the start)\n")
}

fn percent(red: &Red) -> String {
    if red.calls > 0.0 {
        format!("{:.2}%", red.errors / red.calls * 100.0)
    } else {
        "-".to_owned()
    }
}

fn table(services: &Services, heads: [&str; 3], cells: impl Fn(&Red) -> [String; 3]) -> String {
    let mut rows: Vec<_> = services.0.iter().collect();
    rows.sort_by(|a, b| b.1.calls.total_cmp(&a.1.calls).then(a.0.cmp(b.0)));
    let longest = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = longest.unwrap_or(0).max("SERVICE".len());
    let mut text = String::new();
    let [first, second, third] = heads;
    let _ = writeln!(
        text,
        "{:<width$}  {first:>10}  {second:>9}  {third:>8}  {:>9}  {:>9}  {:>9}",
        "SERVICE", "P50", "P95", "P99"
    );
    for (name, red) in rows {
        let [first, second, third] = cells(red);
        let quantile = |q| red.quantile(q).map_or_else(|| "-".to_owned(), duration);
        let _ = writeln!(
            text,
            "{name:<width$}  {first:>10}  {second:>9}  {third:>8}  {:>9}  {:>9}  {:>9}",
            quantile(0.5),
            quantile(0.95),
            quantile(0.99)
        );
    }
    text
}

fn duration(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 0.1 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kinds;
    use super::super::services::Scrape;
    use super::*;

    const TEXT: &str = "\
        traces_spanmetrics_calls_total{service=\"cart\",status_code=\"STATUS_CODE_UNSET\"} 40\n\
        traces_spanmetrics_calls_total{service=\"payments\",status_code=\"STATUS_CODE_UNSET\"} 95\n\
        traces_spanmetrics_calls_total{service=\"payments\",status_code=\"STATUS_CODE_ERROR\"} 5\n\
        traces_spanmetrics_latency_bucket{service=\"payments\",le=\"0.064\"} 50\n\
        traces_spanmetrics_latency_bucket{service=\"payments\",le=\"2.048\"} 100\n\
        traces_spanmetrics_latency_bucket{service=\"payments\",le=\"+Inf\"} 100\n";

    fn services() -> Services {
        let scrape = Scrape::read(TEXT, Kinds::Served).unwrap();
        Services::between(&Scrape::default(), &scrape)
    }

    #[test]
    fn busiest_service_comes_first() {
        let want = "\
            SERVICE   REQUESTS/S   ERRORS/S    ERRORS        P50        P95        P99\n\
            payments        50.0       2.50     5.00%    64.0 ms     1.85 s     2.01 s\n\
            cart            20.0       0.00     0.00%          -          -          -\n";
        assert_eq!(rates(&services(), Duration::from_secs(2)), want);
    }

    #[test]
    fn totals_say_that_they_are_totals() {
        let text = totals(&services(), "no requests in the last 5s");
        assert!(
            text.contains("payments         100          5     5.00%"),
            "{text}"
        );
        assert!(text.ends_with("(no requests in the last 5s: these are totals since the start)\n"));
    }
}
