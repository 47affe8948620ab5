//! What a receiver of remote write 2.0 says it has written.

use http::HeaderMap;

/// Counts of a receiver's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples, those of native histograms included.
    pub samples: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Written {
    /// Reads the headers of an answer; `None` if it has none of them, as from
    /// receivers that do not know 2.0.
    ///
    /// Source: remote-write specification 2.0, "Required Written Response
    /// Headers".
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let count = |name: &str| -> Option<u64> {
            let value = headers.get(name)?;
            // One that is no number tells of a receiver of 2.0, and of nothing
            // written.
            Some(value.to_str().ok()?.trim().parse().unwrap_or(0))
        };
        let samples = count("x-prometheus-remote-write-samples-written");
        let histograms = count("x-prometheus-remote-write-histograms-written");
        let exemplars = count("x-prometheus-remote-write-exemplars-written");
        samples.or(histograms).or(exemplars)?;
        Some(Self {
            samples: samples.unwrap_or(0).saturating_add(histograms.unwrap_or(0)),
            exemplars: exemplars.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_without_any_count_is_not_of_this_version() {
        let counts = |samples, exemplars| Some(Written { samples, exemplars });
        for (headers, want) in [
            (vec![], None),
            (vec![("content-type", "text/plain")], None),
            (vec![("Samples", "3")], counts(3, 0)),
            (vec![("Exemplars", "0")], counts(0, 0)),
            (
                vec![("Samples", "3"), ("Histograms", " 4 "), ("Exemplars", "5")],
                counts(7, 5),
            ),
            (vec![("Samples", "-1")], counts(0, 0)),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    let name = match *name {
                        "content-type" => name.to_string(),
                        kind => format!("x-prometheus-remote-write-{kind}-written").to_lowercase(),
                    };
                    (name.parse().unwrap(), value.parse().unwrap())
                })
                .collect::<Vec<(http::HeaderName, http::HeaderValue)>>()
                .into_iter()
                .collect();
            assert_eq!(Written::of(&map), want, "{headers:?}");
        }
    }
}
