//! When an aggregation that emits on window close looks for closed windows.

use crate::context::Context;

/// Decides at each record; looks for windows only as often as the emit interval allows.
#[derive(Debug, Default)]
pub(crate) struct EmitFinal {
    /// By the wall clock; it is no state, since waiting longer than that loses nothing.
    next_ms: i64,
}

impl EmitFinal {
    /// Whether windows that have closed up to `close_ms` are to be emitted, when those up to
    /// `emitted_ms` were.
    pub(crate) fn is_due(
        &mut self,
        context: &Context,
        emitted_ms: Option<i64>,
        close_ms: i64,
    ) -> bool {
        context.emit_timer.is_due(&mut self.next_ms)
            && emitted_ms.is_none_or(|emitted_ms| emitted_ms < close_ms)
    }
}
