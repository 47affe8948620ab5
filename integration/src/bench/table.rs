//! The table at the end.

use std::fmt;

/// Rows of what was measured, what is to be reached, and Tempo's figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    /// Adds a row; empty cells are shown as such.
    pub(crate) fn row(&mut self, what: &str, measured: String, to_reach: &str, tempo: &str) {
        self.0.push([
            what.to_owned(),
            measured,
            to_reach.to_owned(),
            tempo.to_owned(),
        ]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["", "measured", "to reach", "Tempo 2.10.8"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(&heads).chain(&self.0).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        for [what, measured, to_reach, tempo] in rows {
            let [a, b, c] = widths;
            let line = format!("{what:<a$}  {measured:<b$}  {to_reach:<c$}  {tempo}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::default();
        table.row("spans/s", "1,000".to_owned(), "", "119 k");
        table.row("p99 of a push", "3 ms".to_owned(), "<= 50 ms", "");
        let want = "               measured  to reach  Tempo 2.10.8\n\
                    spans/s        1,000               119 k\n\
                    p99 of a push  3 ms      <= 50 ms\n";
        assert_eq!(table.to_string(), want);
    }
}
