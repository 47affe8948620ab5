//! The event formatter behind both formats.

use std::error::Error;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::line::{Clipped, write_pair};
use crate::error_chain::error_chain;

/// Writes time, level, target, message, fields of the event, fields of the
/// spans around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineFormat(pub(super) LogFormat);

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.0 {
            LogFormat::Logfmt => out.write_str("ts=")?,
            LogFormat::Json => out.write_str("{\"ts\":\"")?,
        }
        SystemTime.format_time(&mut out)?;
        if self.0 == LogFormat::Json {
            out.write_char('"')?;
        }
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write_pair(&mut out, self.0, "level", &level, false)?;
        write_pair(&mut out, self.0, "target", event.metadata().target(), false)?;
        self.format_fields(out.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                out.write_str(&fields.fields)?;
            }
        }
        if self.0 == LogFormat::Json {
            out.write_char('}')?;
        }
        out.write_char('\n')
    }
}

impl<'writer> FormatFields<'writer> for LineFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields {
            format: self.0,
            out: writer,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Fields<'writer> {
    format: LogFormat,
    out: Writer<'writer>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn pair(&mut self, field: &Field, value: fmt::Arguments<'_>, bare: bool) {
        let key = match field.name() {
            "message" => "msg",
            name => name,
        };
        if self.result.is_ok() {
            self.result = write_pair(&mut self.out, self.format, key, &Clipped::of(value), bare);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.pair(field, format_args!("{value}"), value.is_finite());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.pair(field, format_args!("{value}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.pair(field, format_args!("{value}"), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pair(field, format_args!("{value}"), true);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field, format_args!("{value}"), false);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.pair(field, format_args!("{}", error_chain(value)), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field, format_args!("{value:?}"), false);
    }
}
