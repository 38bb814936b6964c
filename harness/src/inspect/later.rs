//! Whether a log goes on behind a place at which it seems to end.

use log_api::Framing;
use log_format::{entry_header_bytes, entry_magic, peek_entry, verify_entry};
use std::{fs::File, io, os::unix::fs::FileExt};

/// Bytes looked at in one piece.
const PIECE_BYTES: usize = 1 << 20;
/// Where the magic stands in an entry.
const MAGIC_AT: usize = 16;

/// What the log had come to before its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) framing: Framing,
    /// The offset that is next.
    pub(super) next: u64,
    /// The epoch of the last good batch: those before it have ended.
    pub(super) epoch: Option<u32>,
}

/// Where a whole batch of this epoch or a later one and of the next offset or a later one starts, from `from` on. Nothing is known of boundaries there,
/// so each byte is a candidate. What a recycled segment holds from its life before has earlier offsets.
pub(super) fn later_batch(file: &File, from: u64, known: Known) -> io::Result<Option<u64>> {
    let bytes = file.metadata()?.len();
    let header_bytes = entry_header_bytes(known.framing);
    let mut piece = vec![0; PIECE_BYTES + header_bytes - 1];
    let mut at = from;
    while at + header_bytes as u64 <= bytes {
        let read = read_at(file, at, &mut piece)?;
        let starts = (read + 1).saturating_sub(header_bytes);
        let piece = &piece[..read];
        // A segment that was made ahead is mostly zeros.
        let candidates = if piece.iter().all(|byte| *byte == 0) { 0..0 } else { 0..starts };
        for start in candidates.filter(|start| piece[start + MAGIC_AT] == entry_magic(known.framing)) {
            let Ok(Some(entry)) = peek_entry(known.framing, &piece[start..]) else { continue };
            let position = at + start as u64;
            let is_later = entry.offset.is_some_and(|offset| offset.0 >= known.next)
                && entry.epoch.is_some_and(|epoch| known.epoch.is_none_or(|last| epoch.0 >= last))
                && entry.bytes <= bytes - position;
            if is_later {
                let mut whole = vec![0; entry.bytes as usize];
                if read_at(file, position, &mut whole)? == whole.len() && verify_entry(known.framing, &whole).is_ok() {
                    return Ok(Some(position));
                }
            }
        }
        at += starts.max(1) as u64;
    }
    Ok(None)
}

/// Fills `into`, or as much of it as the file has.
fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
