//! Run by the fuzz target on what the fuzzer makes, and by `tests/corpus.rs` on the corpus.

use log_api::{Batch, Framing};
use log_format::{FRAME_BYTES, FRAME_HEAD_BYTES, frame, peek_frame, place_entry, verify, verify_entry};

/// What is accepted is a frame and a whole batch, and framing that batch anew gives the same bytes; one bit of it changed is refused, or
/// shows in sequence or epoch.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(entry) = verify_entry(Framing::Framed, bytes) else { return };
    let bytes = &bytes[..entry.bytes as usize];
    let framed = peek_frame(bytes).expect("accepted above").expect("accepted above");
    let batch = verify(&bytes[FRAME_BYTES..]).expect("the batch of an accepted entry is whole");
    assert_eq!((entry.takes, framed.total_bytes()), (bytes.len() as u64, bytes.len() as u64));
    if let (Some(sequence), Some(epoch)) = (framed.sequence, framed.epoch) {
        let base = batch.base().expect("a framed batch has a place");
        let head = frame(batch.bytes(), framed.partition, base, batch.header().epoch().expect("and an epoch"));
        let again = Batch::framed(&head, &batch.bytes()[FRAME_HEAD_BYTES - FRAME_BYTES..]);
        let placed = place_entry(&again, sequence, epoch);
        assert_eq!([placed.head(), placed.rest()].concat(), bytes);
    }
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() % 97 % bytes.len()] ^= 1 << (bytes.len() % 8);
    if let Ok(other) = verify_entry(Framing::Framed, &flipped) {
        assert!((other.offset, other.epoch) != (entry.offset, entry.epoch) || framed.sequence.is_none());
    }
}
