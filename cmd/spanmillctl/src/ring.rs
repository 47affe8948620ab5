//! `spanmillctl ring`: who is in the cluster, and how one is forgotten.

use app::ring_api::{ForgetRequest, MemberAnswer, RingAnswer};

use crate::fetch::Api;
use crate::table::table;
use crate::tenants::Source;

/// Shows the members of the cluster, as one of them sees it
///
/// SHARE is the part of all traces that a generator owns, HEARTBEAT how long ago it was
/// heard. A member that is dead is forgotten after ten minutes.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    source: Source,
}

/// What can be done with the ring besides.
#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Forget(ForgetArgs),
}

/// Makes all nodes forget a member that is dead
///
/// One that is alive is not forgotten: stop it, and it leaves by itself.
#[derive(Clone, Debug, clap::Args)]
struct ForgetArgs {
    /// The member
    id: String,

    #[command(flatten)]
    source: Source,
}

/// Runs it; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    match &args.command {
        None => show(&args.source).await,
        Some(Command::Forget(args)) => forget(args).await,
    }
}

async fn show(source: &Source) -> anyhow::Result<String> {
    let path = "/ring?format=json";
    let body = Api::new(&source.url, None)?.text(path).await?;
    source.written(path, &body, |body| Ok(text(&serde_json::from_str(body)?)))
}

async fn forget(args: &ForgetArgs) -> anyhow::Result<String> {
    let path = "/ring/forget";
    let request = ForgetRequest {
        id: args.id.clone(),
    };
    let api = Api::new(&args.source.url, None)?;
    let body = api.post(path, serde_json::to_string(&request)?).await?;
    args.source.written(path, &body, |body| {
        let answer: ForgetRequest = serde_json::from_str(body)?;
        Ok(format!("{} is being forgotten by all nodes\n", answer.id))
    })
}

fn text(answer: &RingAnswer) -> String {
    let heads = [
        "ID",
        "ROLE",
        "STATE",
        "ZONE",
        "SHARE",
        "LOAD",
        "HEARTBEAT",
        "VERSION",
        "ADDRESS",
    ];
    let left = ["ID", "ROLE", "STATE", "ZONE", "VERSION", "ADDRESS"];
    let mut text = table(heads, &left, answer.members.iter().map(row).collect());
    text.push_str(&format!(
        "({} live distributors, {} desired generators)\n",
        answer.live_distributors, answer.desired_generators
    ));
    if answer.has_duplicate_id {
        text.push_str("another node has the instance_id of the one that answers\n");
    }
    let is_stranger = |member: &&MemberAnswer| !member.has_same_cluster_seed;
    for member in answer.members.iter().filter(is_stranger) {
        let id = crate::table::printable(&member.id);
        text.push_str(&format!("{id} has another cluster_seed\n"));
    }
    text
}

fn row(member: &MemberAnswer) -> [String; 9] {
    let or_dash = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    [
        member.id.clone(),
        member.role.clone(),
        member.state.clone(),
        or_dash(&member.zone),
        format!("{:.2} %", member.share * 100.0),
        format!("{:.2}", member.load),
        format!("{:.1} s", member.heartbeat_age_seconds),
        or_dash(&member.version),
        member.address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_a_table_and_what_is_wrong_is_below() {
        let member = |id: &str, state: &str, share, has_same_cluster_seed| MemberAnswer {
            id: id.to_owned(),
            role: "generator".to_owned(),
            state: state.to_owned(),
            address: "10.0.0.1:9095".to_owned(),
            share,
            load: 0.5,
            heartbeat_age_seconds: 0.12,
            version: "0.1.0".to_owned(),
            has_same_cluster_seed,
            ..MemberAnswer::default()
        };
        let answer = RingAnswer {
            live_distributors: 2,
            desired_generators: 3,
            has_duplicate_id: true,
            members: vec![
                member("g-1", "active", 1.0, true),
                member("g-2\n", "dead", 0.0, false),
            ],
            ..RingAnswer::default()
        };
        let want = "\
            ID     ROLE       STATE   ZONE     SHARE  LOAD  HEARTBEAT  VERSION  ADDRESS\n\
            g-1    generator  active  -     100.00 %  0.50      0.1 s  0.1.0    10.0.0.1:9095\n\
            g-2\\n  generator  dead    -       0.00 %  0.50      0.1 s  0.1.0    10.0.0.1:9095\n\
            (2 live distributors, 3 desired generators)\n\
            another node has the instance_id of the one that answers\n\
            g-2\\n has another cluster_seed\n";
        assert_eq!(text(&answer), want);
    }
}
