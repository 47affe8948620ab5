//! Templates of the names under `testdata/span_names`.

use proptest::prelude::*;

use super::*;

const RECORDED: &str = include_str!("../../testdata/span_names/recorded.txt");
const CONVENTIONS: &str = include_str!("../../testdata/span_names/conventions.txt");
const KEPT: &str = include_str!("../../testdata/span_names/kept.txt");
const FOLDED: &str = include_str!("../../testdata/span_names/folded.txt");

fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.starts_with("# "))
}

/// Lines with a name, a tab, and its template.
fn pairs(file: &'static str) -> Vec<(&'static str, &'static str)> {
    lines(file)
        .map(|line| line.split_once('\t').unwrap())
        .collect()
}

/// Those whose template is another, as a text to read.
fn wrong<'n>(pairs: impl IntoIterator<Item = (&'n str, &'n str)>) -> Vec<String> {
    pairs
        .into_iter()
        .filter(|(name, want)| template(name) != *want)
        .map(|(name, want)| format!("{name}\n  is   {}\n  want {want}", template(name)))
        .collect()
}

#[test]
fn names_that_sdks_wrote_have_the_templates_beside_them() {
    assert_eq!(wrong(pairs(RECORDED)), [""; 0]);
}

#[test]
fn names_of_the_semantic_conventions_stay() {
    let names = lines(CONVENTIONS).map(|name| (name, name));
    assert_eq!(wrong(names), [""; 0]);
}

#[test]
fn names_that_only_look_as_if_they_varied_stay_without_a_copy() {
    assert!(lines(KEPT).count() >= 60);
    assert_eq!(wrong(lines(KEPT).map(|name| (name, name))), [""; 0]);
    for name in lines(KEPT) {
        assert!(matches!(template(name), Cow::Borrowed(_)), "{name}");
    }
}

#[test]
fn names_with_identifiers_fold_to_their_templates() {
    let pairs = pairs(FOLDED);
    let wrong = wrong(pairs.iter().copied());
    let right = pairs.len() - wrong.len();
    println!("{right} of {} fold as wanted", pairs.len());
    assert_eq!(wrong, [""; 0]);
    assert!(pairs.len() >= 200, "{}", pairs.len());
}

/// What names are made of: words, identifiers, and every mark that has a meaning.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-zA-Z]{1,9}",
        3 => "[0-9]{1,6}",
        3 => "[a-zA-Z0-9]{1,14}",
        2 => "[a-f0-9]{1,12}",
        2 => "[bcdfghjklmnpqrstvwxz2456789]{5}",
        6 => "[-_.:,+ /?&=@%'\"{}()<>\\[\\]#TZ|\\\\]",
        1 => Just("<_>".to_owned()),
        1 => prop::sample::select(vec![
            "HTTP", "sha", "v1", "v2beta", "us-east", "SELECT ", "k8s", "log4j", "shard", ", ",
            "), (", "?q=", "&r=", "?a=", "={", "=\"", "::", "%2F", "{id:", ":id(", "a@b.co", "fe80::1", "é", "注文",
        ])
        .prop_map(str::to_owned),
        1 => ".",
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// forall names: the template of a template is itself.
    #[test]
    fn template_of_a_template_is_itself(name in pieces()) {
        let once = template(&name).into_owned();
        prop_assert_eq!(template(&once), once.as_str(), "{}", name);
    }

    /// forall names: the template is at most twice as long and two bytes.
    #[test]
    fn template_is_not_much_longer(name in pieces()) {
        prop_assert!(template(&name).len() <= name.len() * 2 + 2);
    }

    /// forall texts: there is a template.
    #[test]
    fn any_text_has_a_template(name in "\\PC{0,60}|.{0,60}") {
        let once = template(&name).into_owned();
        prop_assert_eq!(template(&once), once.as_str());
    }
}

#[test]
fn long_names_are_cut_between_characters() {
    let name = "é".repeat(LONGEST) + "!";
    assert_eq!(template(&name), "é".repeat(LONGEST / 2));
}

#[test]
fn time_is_linear_in_the_length() {
    // Each of these would take a minute if it were quadratic.
    for piece in [
        "1", "a1", "'a", "\"", "/%", "/a-", "{a:", ":a(", "<a:", "?a", "&a=1", "a.", "@", "a@",
        "::", "a:", "aA", "é1", "1, ", "(1), ", "注", "<_>", "<_> ", "x2k9p-", "\\'",
    ] {
        let name = piece.repeat(200_000 / piece.len());
        let name = template_of_all(&name);
        assert!(name.len() <= 400_002, "{piece}");
    }
}
