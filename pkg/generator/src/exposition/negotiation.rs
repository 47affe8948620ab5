//! Which form of a scrape an `Accept` header asks for.
//!
//! Source: Prometheus, "Scrape protocol content negotiation".

use super::Format;
use super::escaping::Escaping;

/// What a scraper gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) format: Format,
    /// What becomes of names that the format would not take.
    pub(crate) escaping: Escaping,
    version: Version,
}

/// The version of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// 0.0.4 of Prometheus' text, 0.0.1 of OpenMetrics, the only one of
    /// protobuf.
    Early,
    /// 1.0.0, which names the escaping.
    First,
}

impl Negotiated {
    /// Prometheus' text 0.0.4, which everyone reads.
    const LAST_RESORT: Self = Self {
        format: Format::Prometheus,
        escaping: Escaping::Underscores,
        version: Version::Early,
    };

    /// What an `Accept` header prefers; Prometheus' text 0.0.4 if in doubt.
    /// Protobuf is for those who have native histograms: it has nothing else
    /// that text does not have.
    pub(crate) fn of(accept: &str, has_native: bool) -> Self {
        let mut best = (Self::LAST_RESORT, 0.0);
        for range in accept.split(',') {
            let Some(offered) = Self::of_range(range, has_native) else {
                continue;
            };
            let quality =
                parameter(range, "q").map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (offered, quality);
            }
        }
        best.0
    }

    /// What one media range asks for, if there is such a thing.
    fn of_range(range: &str, has_native: bool) -> Option<Self> {
        let media_type = range.split(';').next().map(str::trim)?;
        let asked = parameter(range, "version");
        let (format, version) = match (media_type, asked) {
            ("application/openmetrics-text", None | Some("1.0.0")) => {
                (Format::OpenMetrics, Version::First)
            }
            ("application/openmetrics-text", Some("0.0.1")) => {
                (Format::OpenMetrics, Version::Early)
            }
            ("text/plain", None | Some("0.0.4")) => (Format::Prometheus, Version::Early),
            ("text/plain", Some("1.0.0")) => (Format::Prometheus, Version::First),
            ("text/*" | "*/*", _) => (Format::Prometheus, Version::Early),
            ("application/vnd.google.protobuf", _) if has_native && is_delimited(range) => {
                (Format::Protobuf, Version::Early)
            }
            _ => return None,
        };
        // Early text has no way to write other names.
        let can_choose = version == Version::First || format == Format::Protobuf;
        let escaping = parameter(range, "escaping")
            .filter(|_| can_choose)
            .and_then(Escaping::read);
        Some(Self {
            format,
            escaping: escaping.unwrap_or_default(),
            version,
        })
    }

    /// The answer's `Content-Type`.
    pub(crate) fn content_type(self) -> String {
        let content_type = match (self.format, self.version) {
            (Format::Prometheus, Version::Early) => "text/plain; version=0.0.4; charset=utf-8",
            (Format::Prometheus, Version::First) => "text/plain; version=1.0.0; charset=utf-8",
            (Format::OpenMetrics, Version::Early) => {
                "application/openmetrics-text; version=0.0.1; charset=utf-8"
            }
            (Format::OpenMetrics, Version::First) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
            (Format::Protobuf, _) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        };
        match self.version {
            Version::Early => content_type.to_owned(),
            Version::First => format!("{content_type}; escaping={}", self.escaping.name()),
        }
    }
}

/// The value of a parameter of a media range, without quotes.
fn parameter<'a>(range: &'a str, name: &str) -> Option<&'a str> {
    range.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        let is_it = found.trim().eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().trim_matches('"'))
    })
}

/// Whether a range of protobuf is the one that there is.
fn is_delimited(range: &str) -> bool {
    parameter(range, "proto") == Some("io.prometheus.client.MetricFamily")
        && parameter(range, "encoding") == Some("delimited")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=";

    fn content_type(accept: &str) -> String {
        Negotiated::of(accept, false).content_type()
    }

    #[test]
    fn accept_header_chooses_the_format() {
        for (accept, want) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.5",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text; q=nonsense",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
                Format::Prometheus,
            ),
        ] {
            assert_eq!(Negotiated::of(accept, false).format, want, "{accept}");
            assert_eq!(Negotiated::of(accept, true).format, want, "{accept}");
        }
        let protobuf = "application/vnd.google.protobuf;\
             proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let all = format!("{protobuf},application/openmetrics-text;version=1.0.0;q=0.8");
        assert_eq!(Negotiated::of(&all, true).format, Format::Protobuf);
        assert_eq!(Negotiated::of(&all, false).format, Format::OpenMetrics);
        let text = all.replace("delimited", "text");
        assert_eq!(Negotiated::of(&text, true).format, Format::OpenMetrics);
    }

    #[test]
    fn first_versions_name_the_escaping() {
        let utf8 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2";
        for (accept, want) in [
            (utf8, format!("{OPEN}allow-utf-8")),
            (
                "application/openmetrics-text;version=1.0.0",
                format!("{OPEN}underscores"),
            ),
            (
                "application/openmetrics-text; version=\"1.0.0\"; Escaping=dots",
                format!("{OPEN}dots"),
            ),
            (
                "application/openmetrics-text;escaping=nonsense",
                format!("{OPEN}underscores"),
            ),
            (
                "application/openmetrics-text;version=0.0.1;escaping=values",
                "application/openmetrics-text; version=0.0.1; charset=utf-8".to_owned(),
            ),
            (
                "text/plain;version=1.0.0;escaping=values",
                "text/plain; version=1.0.0; charset=utf-8; escaping=values".to_owned(),
            ),
            ("text/plain;version=0.0.4;escaping=values", TEXT.to_owned()),
            ("text/plain;version=3", TEXT.to_owned()),
        ] {
            assert_eq!(content_type(accept), want, "{accept}");
        }
    }

    #[test]
    fn early_text_has_no_other_names_whatever_is_asked_for() {
        let text = Negotiated::of("text/plain;version=0.0.4;escaping=allow-utf-8", false);
        assert_eq!(text.escaping, Escaping::Underscores);
        let protobuf = "application/vnd.google.protobuf;encoding=delimited;\
             proto=io.prometheus.client.MetricFamily;escaping=allow-utf-8";
        let protobuf = Negotiated::of(protobuf, true);
        assert_eq!(protobuf.escaping, Escaping::AllowUtf8);
        assert!(protobuf.content_type().ends_with("encoding=delimited"));
    }
}
