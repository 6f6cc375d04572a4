//! Joins of tables by a foreign key: the left side registers its rows with the task that has the
//! foreign key, which answers; the left side joins an answer if it is still about the current row.
pub(crate) mod messages;
pub(crate) mod register;
pub(crate) mod subscribe;
pub(crate) mod foreign_change;
pub(crate) mod resolve;
