//! `spanmillctl prepare-downscale`: the next stop of a generator is for good.

use anyhow::bail;

use crate::fetch::Api;

const PATH: &str = "/generator/prepare-downscale";

/// Makes the next stop of a generator one for good, or says whether it is
///
/// At such a stop every series ends with a staleness marker, and what receivers have not
/// got is handed over to other generators. It stays so over a restart, until the stop has
/// done its work or it is cancelled.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Make the next stop one like others again
    #[arg(long, conflicts_with = "show")]
    cancel: bool,

    /// Change nothing, say how it is
    #[arg(long)]
    show: bool,

    /// The generator's admin address
    #[arg(long, default_value = "http://127.0.0.1:3201")]
    url: String,
}

/// Runs it; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let api = Api::new(&args.url, None)?;
    let answer = match (args.cancel, args.show) {
        (true, _) => api.delete(PATH).await?,
        (_, true) => api.text(PATH).await?,
        _ => api.post(PATH, String::new()).await?,
    };
    text(&args.url, answer.trim())
}

fn text(url: &str, answer: &str) -> anyhow::Result<String> {
    match answer {
        "set" => Ok(format!("the next stop of {url} is for good\n")),
        "unset" => Ok(format!("the next stop of {url} is one like others\n")),
        other => bail!("{url}{PATH} did not answer as expected: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_said_in_words() {
        for (answer, want) in [
            ("set", Some("the next stop of g-1:3201 is for good\n")),
            (
                "unset",
                Some("the next stop of g-1:3201 is one like others\n"),
            ),
            ("<html>", None),
        ] {
            assert_eq!(text("g-1:3201", answer).ok().as_deref(), want, "{answer}");
        }
    }
}
