//! `check-config`: whether files can be used, before a process is started with them.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::anyhow;
use app::Options;

/// Checks a configuration file and every file that it names.
///
/// Prints what is without effect. Ends with 1 where something is wrong, also for a single
/// tenant's entry, which spanmill itself would start with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file.
    file: PathBuf,

    /// Replace ${NAME} and ${NAME:default} in both files by environment variables.
    #[arg(long = "config.expand-env")]
    expand_env: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    let options = Options {
        config_file: Some(args.file.clone()),
        expand_env: args.expand_env,
        target: None,
    };
    let warnings = app::check(&options).map_err(|error| anyhow!("{}", error.report()))?;
    let mut text = String::new();
    for warning in &warnings {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{warning}");
    }
    let _ = writeln!(
        text,
        "{}: can be used, {} warnings",
        args.file.display(),
        warnings.len()
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, runtime: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("runtime.yaml"), runtime).unwrap();
        let config = config.replace("RUNTIME", &path("runtime.yaml").display().to_string());
        std::fs::write(path("config.yaml"), config).unwrap();
        let args = Args {
            file: path("config.yaml"),
            expand_env: true,
        };
        let plain = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
        run(&args)
            .map(plain)
            .map_err(|error| plain(format!("{error:#}")))
    }

    const CONFIG: &str = "overrides: {per_tenant_override_config: RUNTIME}\ningester: {}\n";

    #[test]
    fn usable_files_are_told_with_what_is_without_effect() {
        let entry = "overrides: {a: {metrics_generator: {ring_size: ${SPANMILL_NOT_SET:3}}}}";
        assert_eq!(
            check(CONFIG, entry).unwrap(),
            "config.yaml:2:1: ingester has no effect here and is ignored
runtime.yaml:1:37: overrides.a.metrics_generator.ring_size has no effect here and is ignored
config.yaml: can be used, 2 warnings
"
        );
    }

    #[test]
    fn a_wrong_entry_of_a_tenant_is_a_failure() {
        let refused = check(CONFIG, "overrides: {a: {metrics_generatr: {}}}").unwrap_err();
        assert!(
            refused.contains("runtime.yaml:1:17: overrides.a.metrics_generatr: unknown key"),
            "{refused}"
        );
    }
}
