//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use app::{Options, Shown, Target};
use clap::{ArgAction, Parser};

/// Turns OpenTelemetry traces into Prometheus metrics, for many tenants.
///
/// Without a configuration file it runs on its own with span metrics on for
/// everyone. Flags may be written with one dash or two.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "spanmill",
    disable_version_flag = true,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub(crate) struct Args {
    /// YAML file with the settings, by Tempo's names.
    ///
    /// Default: the built-in single-process configuration.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        help_heading = "Configuration"
    )]
    config_file: Option<PathBuf>,

    /// Replace ${NAME} and ${NAME:default} in the file by environment variables.
    #[arg(
        long = "config.expand-env",
        help_heading = "Configuration",
        action = ArgAction::Set,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    expand_env: bool,

    /// Read and check the configuration, say what is wrong with it, and exit.
    #[arg(
        long = "config.verify",
        help_heading = "Configuration",
        action = ArgAction::Set,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub(crate) verify: bool,

    /// Write settings as YAML without secrets, and exit: those in force, the defaults, or
    /// those in force that differ from the defaults.
    #[arg(
        long = "print-config",
        help_heading = "Configuration",
        value_name = "effective|defaults|diff",
        value_parser = shown,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "effective"
    )]
    pub(crate) print_config: Option<Shown>,

    /// Which parts run in this process.
    ///
    /// `all`, `distributor` or `generator`. Default: the setting `target`, or all.
    #[arg(long, value_name = "TARGET", help_heading = "Process")]
    target: Option<Target>,

    /// Print version and commit, and exit.
    #[arg(long, help_heading = "Process")]
    pub(crate) version: bool,
}

const AFTER_HELP: &str = "\
Ports, all on 127.0.0.1 unless set otherwise:
  4317  OTLP/gRPC      distributor.receivers.otlp.protocols.grpc.endpoint
  4318  OTLP/HTTP      distributor.receivers.otlp.protocols.http.endpoint
  3200  HTTP API       server.http_listen_port; generated series at /metrics/generated
  9095  internal gRPC  server.grpc_listen_port
  3201  admin          server.admin_listen_port

Signals: SIGTERM and SIGINT stop taking spans, collect and send what is there, then exit
with 0; a second one exits at once.

Exit codes: 0 stopped, 1 cannot start, 2 wrong flags or configuration.

Environment: RUST_LOG sets log levels by target and wins over server.log_level.";

impl Args {
    /// Reads the command line; ends the process if it is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        Self::parse_from(two_dashes(std::env::args_os()))
    }

    /// What the process is to do.
    pub(crate) fn options(&self) -> Options {
        Options {
            config_file: self.config_file.clone(),
            expand_env: self.expand_env,
            target: self.target,
        }
    }
}

fn shown(text: &str) -> Result<Shown, String> {
    match text {
        "effective" => Ok(Shown::Effective),
        "defaults" => Ok(Shown::Defaults),
        "diff" => Ok(Shown::Difference),
        _ => Err("expected effective, defaults or diff".to_owned()),
    }
}

/// Writes `-flag` as `--flag`, where two or more letters follow the dash: Tempo's
/// command lines have one dash, and none of our flags is a bundle of letters.
fn two_dashes(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.into_iter().map(|arg| match arg.to_str() {
        Some(text) if has_one_dash(text) => format!("-{text}").into(),
        _ => arg,
    })
}

fn has_one_dash(arg: &str) -> bool {
    arg.strip_prefix('-').is_some_and(|flag| {
        let mut letters = flag.chars();
        letters
            .by_ref()
            .take(2)
            .filter(char::is_ascii_alphabetic)
            .count()
            == 2
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let args = format!("spanmill {line}");
        Args::try_parse_from(two_dashes(args.split_whitespace().map(OsString::from)))
    }

    #[test]
    fn one_dash_is_two() {
        for line in [
            "--config.file=a.yaml --target=all --config.expand-env",
            "-config.file=a.yaml -target=all -config.expand-env",
            "-config.file a.yaml -target all -config.expand-env=true",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.config_file, Some("a.yaml".into()), "{line}");
            assert_eq!(args.target, Some(Target::All), "{line}");
            assert!(args.expand_env && !args.verify, "{line}");
        }
        assert!(!parse("-config.expand-env=false").unwrap().expand_env);
        assert_eq!(parse("-h").unwrap_err().kind(), ErrorKind::DisplayHelp);
        assert!(parse("-version").unwrap().version);
        assert!(parse("-config.verify").unwrap().verify);
        let print = |line| parse(line).unwrap().print_config;
        assert_eq!(print(""), None);
        assert_eq!(print("--print-config"), Some(Shown::Effective));
        assert_eq!(print("-print-config=diff"), Some(Shown::Difference));
    }

    #[test]
    fn wrong_flags_end_with_code_2_and_a_hint() {
        let error = parse("-config.fil=x").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--config.file"), "{error}");
        let error = parse("-target=ingester").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error
                .to_string()
                .contains("expected all, distributor or generator"),
            "{error}"
        );
    }

    #[test]
    fn definition_is_sound_and_help_lists_the_ports() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        for port in ["4317", "4318", "3200", "9095", "3201"] {
            assert!(help.contains(port), "{port}\n{help}");
        }
    }
}
