//! Which rows there are, in the order of the table.

use crate::Scale;
use crate::log::suite::Suite;
use crate::log::{append, open, read, wake};
use crate::row::Row;

/// Measures each row whose name has `only` in it, and hands it to `report`.
pub fn rows(scale: Scale, only: &str, mut report: impl FnMut(Row<'_>)) {
    let mut suite = Suite::new(scale, only, &mut report);
    append::rows(&mut suite);
    read::rows(&mut suite);
    wake::rows(&mut suite);
    open::rows(&mut suite);
}
