//! What is scraped and where it is sent, from the environment.

use remote_write::ProtobufMessage;

/// How the program is told what to do; shown when it is not.
pub(crate) const USAGE: &str = "\
rw-sender-harness scrapes a target each second and sends what it finds by
spanmill's remote write, until SIGINT or SIGTERM. Environment:

  SCRAPE_URL  what is scraped: text 0.0.4 or OpenMetrics
  WRITE_URL   where it is sent
  PROTOCOL    1 (default), 2 or auto
  JOB         the label job (default: test)

Prometheus' compliance suite sets the same by names of its own:
PROMETHEUS_COMPLIANCE_RW_TARGET_SCRAPE_HOST_PORT, _REMOTE_WRITE_ENDPOINT,
_REMOTE_WRITE_MESSAGE and _SCRAPE_JOB_NAME.";

/// What the names of Prometheus' compliance suite begin with.
const SUITE: &str = "PROMETHEUS_COMPLIANCE_RW_TARGET";

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// What is scraped.
    pub(crate) scrape_url: String,
    /// Where it is sent.
    pub(crate) write_url: String,
    /// In which version of remote write.
    pub(crate) message: ProtobufMessage,
    /// The label `job` of every series.
    pub(crate) job: String,
}

/// Why the environment does not say what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A variable that is needed.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// There is no such version.
    #[error("PROTOCOL is {0:?}; 1, 2 and auto are accepted")]
    Protocol(String),
}

impl Settings {
    /// Reads the settings from variables.
    ///
    /// # Errors
    ///
    /// The first that is missing or wrong.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let ours_or_the_suites = |ours: &str, suites: &str| {
            let suites = variable(&format!("{SUITE}_{suites}"));
            variable(ours).or(suites).filter(|value| !value.is_empty())
        };
        let target = variable(&format!("{SUITE}_SCRAPE_HOST_PORT"));
        let target = target.map(|address| format!("http://{address}/metrics"));
        let protocol = ours_or_the_suites("PROTOCOL", "REMOTE_WRITE_MESSAGE");
        let message = match protocol.as_deref().unwrap_or("1") {
            "1" | "prometheus.WriteRequest" => ProtobufMessage::V1,
            "2" | "io.prometheus.write.v2.Request" => ProtobufMessage::V2,
            "auto" => ProtobufMessage::Auto,
            other => return Err(SettingsError::Protocol(other.to_owned())),
        };
        Ok(Self {
            scrape_url: variable("SCRAPE_URL")
                .or(target)
                .ok_or(SettingsError::Missing("SCRAPE_URL"))?,
            write_url: ours_or_the_suites("WRITE_URL", "REMOTE_WRITE_ENDPOINT")
                .ok_or(SettingsError::Missing("WRITE_URL"))?,
            message,
            job: ours_or_the_suites("JOB", "SCRAPE_JOB_NAME").unwrap_or_else(|| "test".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            let found = set.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(message: ProtobufMessage, job: &str) -> Settings {
        Settings {
            scrape_url: "http://127.0.0.1:1/metrics".to_owned(),
            write_url: "http://127.0.0.1:2/write".to_owned(),
            message,
            job: job.to_owned(),
        }
    }

    #[test]
    fn our_names_and_those_of_the_suite_mean_the_same() {
        let ours = [
            ("SCRAPE_URL", "http://127.0.0.1:1/metrics"),
            ("WRITE_URL", "http://127.0.0.1:2/write"),
        ];
        assert_eq!(read(&ours), Ok(settings(ProtobufMessage::V1, "test")));
        let with = |more: [(&'static str, &'static str); 2]| read(&[ours, more].concat());
        assert_eq!(
            with([("PROTOCOL", "auto"), ("JOB", "j")]),
            Ok(settings(ProtobufMessage::Auto, "j"))
        );
        assert_eq!(
            read(&[
                ("PROMETHEUS_COMPLIANCE_RW_TARGET_SCRAPE_JOB_NAME", "j"),
                (
                    "PROMETHEUS_COMPLIANCE_RW_TARGET_SCRAPE_HOST_PORT",
                    "127.0.0.1:1"
                ),
                (
                    "PROMETHEUS_COMPLIANCE_RW_TARGET_REMOTE_WRITE_ENDPOINT",
                    "http://127.0.0.1:2/write"
                ),
                (
                    "PROMETHEUS_COMPLIANCE_RW_TARGET_REMOTE_WRITE_MESSAGE",
                    "io.prometheus.write.v2.Request"
                ),
            ]),
            Ok(settings(ProtobufMessage::V2, "j"))
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let scrape = ("SCRAPE_URL", "http://127.0.0.1:1/metrics");
        assert_eq!(read(&[]), Err(SettingsError::Missing("SCRAPE_URL")));
        assert_eq!(read(&[scrape]), Err(SettingsError::Missing("WRITE_URL")));
        assert_eq!(
            read(&[scrape, ("PROTOCOL", "3")]),
            Err(SettingsError::Protocol("3".to_owned()))
        );
    }
}
