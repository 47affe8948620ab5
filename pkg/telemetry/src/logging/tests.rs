use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// The lines that `log` writes, each without its time.
fn lines_of(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::registry().with(
        tracing_subscriber::fmt::layer()
            .event_format(LineFormat(format))
            .fmt_fields(LineFormat(format))
            .with_ansi(false)
            .with_writer(captured.clone()),
    );
    tracing::subscriber::with_default(subscriber, log);
    let text = String::from_utf8(captured.0.lock().clone()).unwrap();
    text.lines()
        .map(|line| {
            let (_, rest) = line.split_once("level").unwrap();
            format!("level{rest}")
        })
        .collect()
}

#[test]
fn logfmt_quotes_only_what_needs_it() {
    let lines = lines_of(LogFormat::Logfmt, || {
        tracing::info!(target: "spool", tenant = "acme", bytes = 5, ok = true, "segment is full");
    });
    assert_eq!(
        lines,
        [r#"level=info target=spool msg="segment is full" tenant=acme bytes=5 ok=true"#]
    );
}

#[test]
fn json_is_one_object_with_bare_numbers() {
    let lines = lines_of(LogFormat::Json, || {
        tracing::warn!(target: "spool", bytes = 5, share = 0.5, odd = f64::NAN, "segment \"a\"");
    });
    assert_eq!(
        lines,
        [
            r#"level":"warn","target":"spool","msg":"segment \"a\"","bytes":5,"share":0.5,"odd":"NaN"}"#
        ]
    );
}

/// Regression bar of threat S14: no string makes a second line, a terminal
/// sequence, or a line that reads as another field.
#[test]
fn hostile_strings_stay_within_their_value() {
    let hostile = "a\nlevel=error msg=forged\r\x1b[31m\u{202e}\u{2028}\0\"\\";
    for format in [LogFormat::Logfmt, LogFormat::Json] {
        let lines = lines_of(format, || {
            tracing::info!(target: "t", tenant = hostile, display = %hostile, "{hostile}");
        });
        assert_eq!(lines.len(), 1, "{format}");
        let escaped = r#""a\nlevel=error msg=forged\r\u001b[31m\u202e\u2028\u0000\"\\""#;
        assert_eq!(lines[0].matches(escaped).count(), 3, "{}", lines[0]);
    }
}

#[test]
fn long_values_are_cut_at_a_character() {
    let lines = lines_of(LogFormat::Logfmt, || {
        tracing::info!(target: "t", name = "ä".repeat(1 << 20), "m");
    });
    let want = format!("level=info target=t msg=m name={}…", "ä".repeat(512));
    assert_eq!(lines, [want]);
}

#[test]
fn errors_come_with_their_causes_and_spans_with_their_fields() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot send")]
    struct Outer(#[source] std::io::Error);

    let lines = lines_of(LogFormat::Logfmt, || {
        let span = tracing::info_span!("push", tenant = "a b");
        let error = Outer(std::io::Error::other("refused"));
        span.in_scope(|| {
            tracing::warn!(
                target: "t",
                error = &error as &(dyn std::error::Error + 'static),
                "push failed"
            );
        });
    });
    assert_eq!(
        lines,
        [r#"level=warn target=t msg="push failed" error="cannot send: refused" tenant="a b""#]
    );
}

#[test]
fn levels_and_lists_are_read_and_nonsense_is_named() {
    for level in ["debug", "info", "warn", "error", "info,h2=debug"] {
        assert!(parse_filter("server.log_level", &with_quiet_libraries(level)).is_ok());
    }
    let error = parse_filter("server.log_level", "t=loud").unwrap_err();
    assert_eq!(
        error.to_string(),
        "server.log_level: \"t=loud\" is not one of debug, info, warn, error, or a list of target=level"
    );
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert_eq!(
        "xml".parse::<LogFormat>().unwrap_err().to_string(),
        "\"xml\" is not one of logfmt, json"
    );
}

#[test]
fn panics_become_events() {
    let hook = std::panic::take_hook();
    log_panics();
    let lines = lines_of(LogFormat::Logfmt, || {
        let panicked = std::panic::catch_unwind(|| panic!("two\nlines"));
        assert!(panicked.is_err());
    });
    std::panic::set_hook(hook);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains(r#"level=error"#)
            && lines[0].contains(r#"msg="panic: two\nlines" location=pkg/"#),
        "{}",
        lines[0]
    );
}
