//! A read, planned.

use crate::Boundary;
use log_api::{Framing, Offset, Read};
use log_format::peek_entry;

/// Which bytes of which segment answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// First offset of the segment: its name for [`crate::Segments::get`].
    pub segment: Offset,
    /// A boundary at or before the offset asked for.
    pub start: Boundary,
    /// A boundary after it.
    pub end: Boundary,
    /// `start..end` is the answer: it starts with the batch asked for and keeps both limits. If not, read these bytes (an index
    /// interval more than asked for at most, but always the whole batch that was asked for) and [`Plan::narrow`] them.
    pub exact: bool,
    /// What the bytes are.
    pub framing: Framing,
}

impl Plan {
    /// Bytes from start to end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.position - self.start.position
    }

    /// The exact answer, found by walking the headers in `bytes`, which are those of `start..end`. It is empty if the batch asked for
    /// reaches beyond `until`. `None` if the walk breaks before the batch asked for ends: damage.
    #[must_use]
    pub fn narrow(&self, bytes: &[u8], read: &Read) -> Option<Plan> {
        let mut start = self.start;
        let mut batches = walk(self.framing, self.start, bytes);
        let mut end = loop {
            let next = batches.next()?;
            if next.offset > read.from {
                break next;
            }
            start = next;
        };
        if end.offset > read.until {
            return Some(Plan { start, end: start, exact: true, ..*self });
        }
        let position_max = start.position.saturating_add(read.bytes_max);
        for next in batches {
            if next.offset > read.until || next.position > position_max {
                break;
            }
            end = next;
        }
        Some(Plan { start, end, exact: true, ..*self })
    }
}

/// Walks the entries of `bytes`, which start at `from`: each boundary after a whole one, in order. Ends where the bytes are no longer
/// the next entry; checksums of batches are not looked at.
pub fn walk(framing: Framing, from: Boundary, bytes: &[u8]) -> impl Iterator<Item = Boundary> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = usize::try_from(at.position - from.position).ok()?;
        let rest = bytes.get(start..)?;
        let entry = peek_entry(framing, rest).ok()??;
        if entry.offset != Some(at.offset) || entry.bytes > rest.len() as u64 {
            return None;
        }
        at.offset = at.offset.plus(entry.takes);
        at.position += entry.bytes;
        Some(at)
    })
}
