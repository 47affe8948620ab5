//! Tables that people read.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// Columns as wide as they need, numbers to the right; those named in `left` to the
/// left. What would move a terminal's cursor is written out.
pub(crate) fn table<const N: usize>(
    heads: [&str; N],
    left: &[&str],
    rows: Vec<[String; N]>,
) -> String {
    let is_number = heads.map(|head| !left.contains(&head));
    let heads = heads.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heads).chain(rows).collect();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| row.map(|cell| printable(&cell)))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), is_number) in row.iter().zip(widths).zip(is_number) {
            let _ = match is_number {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text without control characters: label values come from whoever sends spans.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}

/// Bytes in a unit that suits them.
pub(crate) fn size(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if scaled < 1024.0 {
            let decimals = usize::from(unit != "B");
            return format!("{scaled:.decimals$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} GiB")
}

/// A time in milliseconds since the Unix epoch, or a dash for none.
pub(crate) fn time(time_ms: Option<i64>) -> String {
    let since = time_ms.and_then(|ms| u64::try_from(ms).ok());
    // Beyond the year 9999 it could not be written.
    let time = since
        .filter(|ms| *ms < 253_402_300_800_000)
        .and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or_else(
        || "-".to_owned(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_values_cannot_move_the_cursor() {
        let rows = vec![
            ["a\u{1b}[2Jb".to_owned(), "7".to_owned()],
            ["ü".to_owned(), "1000".to_owned()],
        ];
        let want = "\
            VALUE        SERIES\n\
            a\\u{1b}[2Jb       7\n\
            ü              1000\n";
        let text = table(["VALUE", "SERIES"], &["VALUE"], rows);
        assert_eq!(text, want);
    }
}
