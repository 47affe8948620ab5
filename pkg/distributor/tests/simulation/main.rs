//! A cluster in virtual time. A seed decides what is done to it and what goes wrong, and at
//! the end every span has to be accounted for. The same seed is the same each time.
//!
//! Production's are the distributors with their routes, clients and HTTP/2 connections, the
//! generators with their tenants, series, saved states and what they refuse, placement and
//! the steps of joining. The network and gossip are models.
//!
//! `SPANMILL_SIMULATION_SEEDS=FIRST..END` says which seeds (500 by default, from 0), and
//! `SPANMILL_SIMULATION_SEED=N` tells the tale of one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a tale is told on the terminal"
)]

mod clients;
mod cluster;
mod counted;
mod distributors;
mod generators;
mod gossip;
mod network;
mod plan;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::cluster::{Outcome, run};
use crate::world::Bug;

/// Seeds that are tried if nobody says which.
const SEEDS: Range<u64> = 0..500;
/// Tests among which they are divided, to be run side by side.
const PARTS: u64 = 5;
/// Within how many seeds a bug is to be found.
const SEEDS_FOR_A_BUG: Range<u64> = 0..100;

#[test]
fn every_span_is_accounted_for_whatever_happens_1() {
    every_span_is_accounted_for(0);
}

#[test]
fn every_span_is_accounted_for_whatever_happens_2() {
    every_span_is_accounted_for(1);
}

#[test]
fn every_span_is_accounted_for_whatever_happens_3() {
    every_span_is_accounted_for(2);
}

#[test]
fn every_span_is_accounted_for_whatever_happens_4() {
    every_span_is_accounted_for(3);
}

#[test]
fn every_span_is_accounted_for_whatever_happens_5() {
    every_span_is_accounted_for(4);
}

/// Every fifth seed, from one of the first five on.
fn every_span_is_accounted_for(part: u64) {
    if let Ok(seed) = std::env::var("SPANMILL_SIMULATION_SEED") {
        let seed = seed.parse().unwrap();
        if seed % PARTS == part {
            tell(seed);
        }
        return;
    }
    let seeds = std::env::var("SPANMILL_SIMULATION_SEEDS");
    let seeds = seeds.map_or(SEEDS, |text| range(&text));
    let mut seen = BTreeMap::<String, u64>::new();
    let mut failed = Vec::new();
    for seed in seeds.clone().filter(|seed| seed % PARTS == part) {
        let outcome = run(seed, None);
        for (what, count) in outcome.seen {
            *seen.entry(what).or_default() += count;
        }
        if !outcome.wrong.is_empty() {
            println!("seed {seed}: {:#?}", outcome.wrong);
            println!("SPANMILL_SIMULATION_SEED={seed} tells the tale of it");
            failed.push(seed);
        }
    }
    println!("{seeds:?}: {seen:#?}");
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    if seeds == SEEDS {
        assert_all_is_tried(&seen);
    }
}

/// Tells the tale of one seed.
fn tell(seed: u64) {
    let outcome = run(seed, None);
    println!("{}", outcome.tale.join("\n"));
    println!("{:#?}", outcome.seen);
    assert!(outcome.wrong.is_empty(), "{:#?}", outcome.wrong);
}

/// What never happens is not tested.
fn assert_all_is_tried(seen: &BTreeMap<String, u64>) {
    for what in [
        "requests sent again",
        "spans lost by crashes",
        "spans possibly duplicated",
        "spans recognised",
        "pushes refused: reason=\"leaving\"",
        "pushes refused: reason=\"expired\"",
        "pushes refused: reason=\"frozen\"",
    ] {
        assert!(
            seen.get(what).is_some_and(|count| *count > 0),
            "{what}: {seen:#?}"
        );
    }
}

#[test]
fn same_seed_is_the_same_simulation() {
    for seed in 0..20 {
        let (once, again) = (run(seed, None), run(seed, None));
        let mut lines = once.tale.iter().zip(&again.tale);
        if let Some((one, other)) = lines.find(|(one, other)| one != other) {
            panic!("seed {seed}: {one}\nand then: {other}");
        }
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn bug_that_denies_what_was_applied_is_found() {
    let found = first_wrong(Bug::DeniesWhatItApplied);
    assert_says(&found, "counted");
}

#[test]
fn bug_that_recognises_nothing_is_found() {
    let found = first_wrong(Bug::RecognisesNothing);
    assert_says(&found, "spans are counted twice");
}

#[test]
fn bug_that_answers_before_it_applies_is_found() {
    let found = first_wrong(Bug::AnswersFirst);
    assert_says(&found, "was acknowledged; counted 0, collected 0");
}

#[test]
fn bug_that_begins_anew_after_a_planned_restart_is_found() {
    let found = first_wrong(Bug::BeginsAnew);
    assert_says(&found, "does not go on with what it saved");
}

#[test]
fn bug_that_forgets_doubts_is_found() {
    let found = first_wrong(Bug::ForgetsDoubts);
    assert_says(&found, "sent to two generators, and it says that");
}

fn assert_says(outcome: &Outcome, part: &str) {
    let says = outcome.wrong.iter().any(|line| line.contains(part));
    assert!(says, "{:#?}", outcome.wrong);
}

/// The first seed with which a bug is found, which it prints.
fn first_wrong(bug: Bug) -> Outcome {
    for seed in SEEDS_FOR_A_BUG {
        let outcome = run(seed, Some(bug));
        if !outcome.wrong.is_empty() {
            println!("{bug:?} is found with seed {seed}: {:#?}", outcome.wrong);
            return outcome;
        }
    }
    panic!("{bug:?} is not found with {SEEDS_FOR_A_BUG:?}");
}

/// `FIRST..END`, or how many from 0 on.
fn range(text: &str) -> Range<u64> {
    match text.split_once("..") {
        Some((first, end)) => first.parse().unwrap()..end.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}
