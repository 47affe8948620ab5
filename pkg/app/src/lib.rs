//! The process: reads its configuration, wires every part, listens, and ends
//! without losing what it took.

#![allow(dead_code, reason = "wip")]
mod data_dir;
mod expand_env;
mod file_limit;
mod pages;
mod ports;
mod readiness;
mod signals;
pub mod version;
