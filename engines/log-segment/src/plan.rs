//! A read, planned.

use crate::Boundary;
use log_api::{Offset, Read};

/// Which bytes of which segment answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// First offset of the segment: its name for [`crate::Segments::get`].
    pub segment: Offset,
    /// A boundary at or before the offset asked for.
    pub start: Boundary,
    /// A boundary after it.
    pub end: Boundary,
    /// `start..end` is the answer: it starts with the batch asked for and keeps both limits. If not, read these bytes (at most about an
    /// index interval more than asked for, one batch at least) and [`Plan::narrow`].
    pub exact: bool,
}
#[allow(unused_variables)]
impl Plan {
    /// Bytes from start to end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.position - self.start.position
    }
    /// The exact answer, found by walking the headers in `bytes`, which are those of `start..end` (fewer are walked as far as they
    /// go). `None` if the first batch is not whole or not what it should be: damage, or a read before its write.
    #[must_use]
    pub fn narrow(&self, bytes: &[u8], read: &Read) -> Option<Plan> {
        todo!()
    }
}

/// Walks the batches of `bytes`, which start at `from`: returns each boundary after a whole batch, in order.
pub fn walk(from: Boundary, bytes: &[u8]) -> impl Iterator<Item = Boundary> + '_ {
    let _ = (from, bytes);
    std::iter::empty()
}
