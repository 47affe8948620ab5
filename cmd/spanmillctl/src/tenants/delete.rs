//! `spanmillctl tenant delete`: a tenant leaves.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use app::tenants_api::{DeletionAnswer, DeletionRequest};
use model::TenantId;

use super::{Source, tenant_id};
use crate::fetch::Api;

/// How long spanmill may take for it: what it waits for, and some more.
const LONGER: Duration = Duration::from_secs(80);

/// Deletes a tenant: its series, its spool, its saved state, settings that it set
/// itself, its metrics, on every node of a cluster
///
/// No span of it is taken meanwhile. Every series ends with a staleness marker, and
/// receivers get 30 seconds to take the last samples; then all is removed, whether they
/// have or not. Spans that come later start the tenant anew. There is no way back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The tenant
    #[arg(value_parser = tenant_id)]
    tenant: TenantId,

    /// That it is meant
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    source: Source,
}

/// Runs it; gives the text to print.
pub(super) async fn run(args: &Args) -> anyhow::Result<String> {
    let (tenant, url) = (&args.tenant, &args.source.url);
    if !args.yes {
        bail!(
            "this deletes all that {url} and its cluster have of {tenant}, for good; add --yes if that is meant"
        );
    }
    let path = format!("/api/v1/tenants/{tenant}/delete");
    let api = Api::new(url, None)?.waiting(LONGER);
    let request = DeletionRequest {
        tenant: tenant.to_string(),
    };
    let body = api.post(&path, serde_json::to_string(&request)?).await?;
    args.source.written(&path, &body, |body| {
        let answer: DeletionAnswer = serde_json::from_str(body)?;
        Ok(text(&answer))
    })
}

fn text(answer: &DeletionAnswer) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{}: {} series ended, {} samples not delivered after {:.1} s",
        answer.tenant, answer.series_ended, answer.undelivered_samples, answer.waited_seconds
    );
    if !answer.nodes.is_empty() {
        let _ = writeln!(text, "on the nodes {}", answer.nodes.join(", "));
    }
    let _ = writeln!(text, "removed: {}", answer.removed.join(", "));
    for left in &answer.left {
        let _ = writeln!(text, "left: {} ({})", left.what, left.why);
    }
    text
}

#[cfg(test)]
mod tests {
    use app::tenants_api::LeftOver;

    use super::*;

    #[test]
    fn answer_says_what_was_removed_and_what_is_left() {
        let answer = DeletionAnswer {
            tenant: "acme".to_owned(),
            nodes: vec!["g1".to_owned(), "g2".to_owned()],
            series_ended: 17,
            waited_seconds: 0.04,
            undelivered_samples: 2,
            removed: vec!["spool".to_owned(), "saved state".to_owned()],
            left: vec![LeftOver {
                what: "its entry".to_owned(),
                why: "it is yours".to_owned(),
            }],
        };
        let want = "acme: 17 series ended, 2 samples not delivered after 0.0 s\n\
                    on the nodes g1, g2\n\
                    removed: spool, saved state\n\
                    left: its entry (it is yours)\n";
        assert_eq!(text(&answer), want);
    }
}
