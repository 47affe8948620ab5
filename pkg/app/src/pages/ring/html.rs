//! The cluster for people: a page without scripts, for wide and narrow windows, light and dark.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::ring_api::{MemberAnswer, RingAnswer};

/// What stands above the rows, and before each value where the window is narrow.
const HEADS: [&str; 11] = [
    "Id",
    "Role",
    "State",
    "Zone",
    "Share",
    "Tokens",
    "Load",
    "Heartbeat",
    "Version",
    "Address",
    "Gossip",
];

/// Columns of numbers.
const NUMBERS: [&str; 4] = ["Share", "Tokens", "Load", "Heartbeat"];

/// Colours have a contrast of 4.5 and more on their background; states are words as well.
const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1f24; --dim: #57606a; --line: #d0d7de; --back: #fff;
  --good: #116329; --wait: #7d4e00; --bad: #b3131f; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --dim: #9da7b3; --line: #30363d; --back: #0d1117;
    --good: #56d364; --wait: #e3b341; --bad: #ff7b72; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back);
  margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p { margin: .2rem 0 .8rem; }
a { color: inherit; }
a:focus-visible, .scroll:focus-visible { outline: 2px solid; outline-offset: 2px; }
.problem { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--dim); padding-bottom: .4rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; font-weight: normal; }
thead th { color: var(--dim); }
tbody th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.active { color: var(--good); }
.joining, .leaving, .read_only { color: var(--wait); }
.dead, .unknown { color: var(--bad); font-weight: 600; }
@media (max-width: 60rem) {
  body { margin: 1rem; }
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  table, caption, tbody, tr, td, tbody th { display: block; }
  tr { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .7rem;
    margin-bottom: .7rem; }
  th, td { border: 0; padding: .1rem 0; white-space: normal; overflow-wrap: anywhere; }
  td { display: flex; justify-content: space-between; gap: 1rem; text-align: right; }
  td::before { content: attr(data-head); color: var(--dim); }
}
";

/// The page.
pub(super) fn page(answer: &RingAnswer) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>spanmill ring</title>\n<style>{STYLE}</style>\n<h1>Ring</h1>\n"
    );
    // Writing to a string does not fail.
    let _ = writeln!(
        page,
        "<p>{}. {} live distributors; {} generators desired. \
         <a href=\"?format=json\">JSON</a>",
        states(&answer.members),
        answer.live_distributors,
        answer.desired_generators,
    );
    for problem in problems(answer) {
        let _ = writeln!(page, "<p class=\"problem\" role=\"alert\">{problem}");
    }
    let _ = writeln!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Members\">\n\
         <table>\n<caption>Members as {} sees them</caption>\n<thead><tr>{}</thead>\n<tbody>",
        escaped(&answer.id),
        heads(),
    );
    for member in &answer.members {
        page.push_str(&row(member, member.id == answer.id));
    }
    page.push_str("</tbody>\n</table>\n</div>\n</html>\n");
    page
}

/// How many members there are, by state.
fn states(members: &[MemberAnswer]) -> String {
    let mut by_state: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members {
        *by_state.entry(&member.state).or_default() += 1;
    }
    let by_state = by_state.into_iter();
    let by_state: Vec<_> = by_state
        .map(|(state, count)| format!("{count} {}", words(state)))
        .collect();
    format!("{} members: {}", members.len(), by_state.join(", "))
}

fn problems(answer: &RingAnswer) -> Vec<String> {
    let mut problems = Vec::new();
    if answer.has_duplicate_id {
        problems.push("Another node has the instance_id of this one.".to_owned());
    }
    let others = answer.members.iter();
    let others: Vec<_> = others
        .filter(|member| !member.has_same_cluster_seed)
        .map(|member| escaped(&member.id))
        .collect();
    if !others.is_empty() {
        problems.push(format!(
            "Another cluster_seed than here: {}. Nodes do not agree who owns a trace.",
            others.join(", ")
        ));
    }
    problems
}

fn heads() -> String {
    let heads = HEADS.iter().map(|head| match NUMBERS.contains(head) {
        true => format!("<th scope=\"col\" class=\"number\">{head}"),
        false => format!("<th scope=\"col\">{head}"),
    });
    heads.collect()
}

fn row(member: &MemberAnswer, is_own: bool) -> String {
    let heartbeat = match is_own {
        true => "this node".to_owned(),
        false => format!("{:.1} s ago", member.heartbeat_age_seconds),
    };
    // Another node's word for it may be any; only known ones are classes.
    let state = match member.state.as_str() {
        known @ ("active" | "joining" | "leaving" | "read_only" | "dead") => known,
        _ => "unknown",
    };
    let cells = [
        member.role.clone(),
        format!("<span class=\"{state}\">{}</span>", words(state)),
        escaped(&member.zone),
        format!("{:.2} %", member.share * 100.0),
        member.tokens.to_string(),
        format!("{:.2}", member.load),
        heartbeat,
        escaped(&member.version),
        member.address.clone(),
        member.gossip_address.clone(),
    ];
    let mut row = format!("<tr><th scope=\"row\">{}", escaped(&member.id));
    for (head, cell) in HEADS.iter().skip(1).zip(cells) {
        let class = match NUMBERS.contains(head) {
            true => " class=\"number\"",
            false => "",
        };
        let _ = write!(row, "<td data-head=\"{head}\"{class}>{cell}");
    }
    row.push('\n');
    row
}

fn words(state: &str) -> String {
    state.replace('_', " ")
}

/// Text that cannot be markup: other nodes say what they like.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
