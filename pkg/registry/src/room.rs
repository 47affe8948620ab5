//! How much room long tables take that stay for long.

/// The longest block for which a table needs no page to itself.
const SHORT_BYTES: usize = 64 << 10;

/// The longest block that has neighbours. Source: mimalloc 3.3, `MI_LARGE_MAX_OBJ_SIZE`.
const WITH_NEIGHBOURS_BYTES: usize = 512 << 10;

/// Elements for which a vector that stays takes room, to have it for `wanted`.
///
/// Blocks up to 512 KiB lie side by side in pages of 4 MiB, with those of requests, which come
/// and go. Of such a page nothing is given back to the system while one block of it is in use:
/// a table of 192 KiB has kept 3.3 MB resident. So a table that would be among them takes
/// room for more than that. What it does not write to is not resident.
pub(crate) fn apart<T>(wanted: usize) -> usize {
    let size = size_of::<T>().max(1);
    let has_neighbours = SHORT_BYTES..=WITH_NEIGHBOURS_BYTES;
    if has_neighbours.contains(&wanted.saturating_mul(size)) {
        WITH_NEIGHBOURS_BYTES / size + 1
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_a_neighbour_of_requests() {
        for (name, wanted, want) in [
            ("none", 0, 0),
            ("short", 2_730, 2_730),
            ("longer", 2_731, 21_846),
            ("longest with neighbours", 21_845, 21_846),
            ("alone", 21_846, 21_846),
            ("long", 1 << 20, 1 << 20),
        ] {
            assert_eq!(apart::<[u64; 3]>(wanted), want, "{name}");
        }
        assert_eq!(apart::<()>(usize::MAX), usize::MAX);
    }
}
