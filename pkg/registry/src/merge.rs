//! Lanes into tables: the only writer of cumulative values.

use crate::lane::{Lane, LaneTable};
use crate::state::State;
use crate::table::Table;

impl State {
    /// Adds a lane's rows to the tables, and empties it.
    pub(crate) fn merge_lane(&mut self, lane: &mut Lane, now_ms: i64) {
        for (table, rows) in self.tables.iter_mut().zip(&mut lane.tables) {
            let width = table.schema.width();
            if width == 0 {
                continue;
            }
            let cells = rows.rows.chunks_exact(width);
            for (row, (head, cells)) in rows.heads.iter().zip(cells).enumerate() {
                let number = table.merge_row(head.slot, cells, &mut self.admission.limiter, now_ms);
                merge_exemplars(table, number, rows, head.exemplars);
                table.merge_natives(number, cells, rows, row, now_ms);
            }
            rows.close_rows(width);
        }
        if lane.seen_removals != self.removals {
            for (table, rows) in self.tables.iter().zip(&mut lane.tables) {
                rows.keys.retain(|slot| !table.is_ended(slot));
            }
            lane.seen_removals = self.removals;
        }
        if lane.seen_redirections != self.redirections {
            lane.tables.iter_mut().for_each(|rows| rows.keys.clear());
            lane.seen_redirections = self.redirections;
        }
    }
}

fn merge_exemplars(table: &mut Table, number: u32, rows: &LaneTable, head: u32) {
    let Some(mut list) = table.slot(number).map(|slot| slot.exemplars) else {
        return;
    };
    for entry in rows.exemplars.list(head) {
        table
            .exemplars
            .set(&mut list, entry.cell, entry.exemplar, entry.sequence);
    }
    if let Some(slot) = table.slot_mut(number) {
        slot.exemplars = list;
    }
}
