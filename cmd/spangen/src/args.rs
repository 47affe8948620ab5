//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::arrival::{Late, Scatter};

/// Sends OpenTelemetry traces: to try spanmill, and to load it.
///
/// Without options it plays a small web shop at 500 spans a second against
/// http://127.0.0.1:4317 until Ctrl-C, then says exactly what was accepted.
#[derive(Clone, Debug, Parser)]
#[command(version, next_line_help = false)]
pub(crate) struct Args {
    /// Where to send [default: http://127.0.0.1 with port 4317, 4318 or 9095]
    #[arg(long, value_name = "URL", help_heading = "Where to")]
    pub(crate) endpoint: Option<String>,

    /// How to send: OTLP over gRPC or HTTP, or Tempo's push to a generator
    #[arg(long, value_enum, default_value = "grpc", help_heading = "Where to")]
    pub(crate) protocol: Protocol,

    /// Compress requests
    #[arg(long, help_heading = "Where to")]
    pub(crate) gzip: bool,

    /// Send as N tenants in turn: tenant-0001, tenant-0002 and so on
    #[arg(
        long,
        value_name = "N",
        help_heading = "Where to",
        conflicts_with = "tenant"
    )]
    pub(crate) tenants: Option<u32>,

    /// Send as one tenant of this name
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    pub(crate) tenant: Option<String>,

    /// Services and their calls, in YAML [default: a web shop]
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "What",
        conflicts_with = "profile"
    )]
    pub(crate) topology: Option<PathBuf>,

    /// Print the built-in topology, to start your own from, and end
    #[arg(long, help_heading = "What")]
    pub(crate) print_topology: bool,

    /// Spans of a fixed shape instead: 630 bytes, 13 attributes, for benchmarks
    #[arg(long, value_enum, value_name = "NAME", help_heading = "What")]
    pub(crate) profile: Option<Profile>,

    /// Series that the reference profile makes (classic span metrics)
    #[arg(long, value_name = "N", default_value_t = crate::profile::SERIES, help_heading = "What")]
    pub(crate) series: u64,

    /// Percent of the reference profile's series replaced in a minute
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 1.0,
        help_heading = "What"
    )]
    pub(crate) churn: f64,

    /// The same seed gives the same traces, but for their times
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "What")]
    pub(crate) seed: u64,

    /// Write the service graph that was generated, exactly, in JSON
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Truth",
        conflicts_with = "tenants"
    )]
    pub(crate) truth: Option<PathBuf>,

    /// The receiver's service_graphs.wait: two sides that come further apart do not pair
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration, help_heading = "Truth")]
    pub(crate) wait: Duration,

    /// Spread the spans of each trace over N requests
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count, help_heading = "The hard way")]
    pub(crate) split: usize,

    /// Send requests in random order, N of them at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count, help_heading = "The hard way")]
    pub(crate) shuffle: usize,

    /// Send this percentage of requests a second time, byte for byte
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = parse_percent, help_heading = "The hard way")]
    pub(crate) repeat: f64,

    /// Send this percentage of spans so long after the rest of their trace; may be
    /// given several times
    #[arg(long, value_name = "PERCENT:TIME", value_parser = parse_late, help_heading = "The hard way")]
    pub(crate) late: Vec<Late>,

    /// Spans a second, or max [default: 500; max for a profile]
    #[arg(long, value_name = "N|max", value_parser = parse_rate, help_heading = "How much")]
    pub(crate) rate: Option<Rate>,

    /// Stop after this time, as in 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "How much")]
    pub(crate) duration: Option<Duration>,

    /// Stop after exactly so many spans
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub(crate) spans: Option<u64>,

    /// Spans of a request, at least [default: by the rate, 512 at most]
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub(crate) batch: Option<u64>,

    /// gRPC connections
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "How much")]
    pub(crate) connections: usize,

    /// Requests without an answer for each connection, at most
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "How much")]
    pub(crate) in_flight: usize,

    /// Threads that send
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "How much")]
    pub(crate) threads: usize,

    /// How long to wait for an answer; then the request counts as unknown
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration, help_heading = "How much")]
    pub(crate) timeout: Duration,

    /// How long to try again when the server says "later"; then it counts as refused
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration, help_heading = "How much")]
    pub(crate) retry_for: Duration,

    /// Print the final report as one line of JSON
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,

    /// No progress line
    #[arg(long, short, help_heading = "Report")]
    pub(crate) quiet: bool,

    /// Write a line for each answered request: its start in Unix microseconds,
    /// its latency in microseconds
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) latency_log: Option<PathBuf>,
}

/// Ways to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
    /// gRPC `tempopb.MetricsGenerator/PushSpans`.
    PushSpans,
}

/// Kinds of spans of a fixed shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// What spanmill's figures are measured with.
    Reference,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Spans a second.
    Spans(f64),
    /// As fast as the server answers.
    Max,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if rate >= 0.1 && rate.is_finite() => Ok(Rate::Spans(rate)),
        _ => Err("a number of spans a second, at least 0.1, or max".to_owned()),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("a number from 1 to 100000".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100".to_owned()),
    }
}

fn parse_late(text: &str) -> Result<Late, String> {
    let (percent, by) = text
        .split_once(':')
        .ok_or("a percentage and a time, as in 1:20s")?;
    Ok(Late {
        percent: parse_percent(percent)?,
        by: humantime::parse_duration(by).map_err(|problem| problem.to_string())?,
    })
}

impl Protocol {
    fn default_port(self) -> u16 {
        match self {
            Self::Grpc => 4317,
            Self::Http => 4318,
            Self::PushSpans => 9095,
        }
    }
}

impl Args {
    /// Spans a second; `None` is as fast as possible.
    pub(crate) fn spans_per_second(&self) -> Option<f64> {
        match (self.rate, self.profile) {
            (Some(Rate::Spans(rate)), _) => Some(rate),
            (Some(Rate::Max), _) | (None, Some(Profile::Reference)) => None,
            (None, None) => Some(500.0),
        }
    }

    /// How spans are spread over requests.
    pub(crate) fn scatter(&self) -> Scatter {
        Scatter {
            split: self.split,
            late: self.late.clone(),
        }
    }

    /// The endpoint with its scheme.
    pub(crate) fn url(&self) -> String {
        match &self.endpoint {
            Some(url) if url.contains("://") => url.clone(),
            Some(address) => format!("http://{address}"),
            None => format!("http://127.0.0.1:{}", self.protocol.default_port()),
        }
    }

    /// The tenants to send as, in turn; none for no header.
    pub(crate) fn tenant_names(&self) -> Vec<String> {
        match (&self.tenant, self.tenants) {
            (Some(name), _) => vec![name.clone()],
            (None, Some(count)) => (1..=count).map(|n| format!("tenant-{n:04}")).collect(),
            (None, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_follow_the_protocol_and_the_profile() {
        let args = Args::parse_from(["spangen", "--protocol", "http", "--tenants", "2"]);
        assert_eq!(args.url(), "http://127.0.0.1:4318");
        assert_eq!(args.spans_per_second(), Some(500.0));
        assert_eq!(args.tenant_names(), ["tenant-0001", "tenant-0002"]);

        let args = Args::parse_from(["spangen", "--profile", "reference", "--endpoint", "a:1"]);
        assert_eq!(args.url(), "http://a:1");
        assert_eq!(args.spans_per_second(), None);
        assert!(args.tenant_names().is_empty());

        let args = Args::parse_from(["spangen", "--profile", "reference", "--rate", "10_000"]);
        assert_eq!(args.spans_per_second(), Some(10_000.0));
        assert!(Args::try_parse_from(["spangen", "--rate", "0"]).is_err());
    }

    #[test]
    fn late_spans_are_a_percentage_and_a_time() {
        let args = Args::parse_from(["spangen", "--late", "2.5:1s", "--late", "1:1m", "--split=3"]);
        let late = |percent, seconds| Late {
            percent,
            by: Duration::from_secs(seconds),
        };
        let want = Scatter {
            split: 3,
            late: vec![late(2.5, 1), late(1.0, 60)],
        };
        assert_eq!(args.scatter(), want);
        for wrong in ["1", "1:", "101:1s", "-1:1s", "x:1s"] {
            let arguments = ["spangen".to_owned(), format!("--late={wrong}")];
            assert!(Args::try_parse_from(arguments).is_err(), "{wrong}");
        }
        for wrong in ["--split=0", "--shuffle=0", "--repeat=101"] {
            assert!(Args::try_parse_from(["spangen", wrong]).is_err(), "{wrong}");
        }
    }
}
