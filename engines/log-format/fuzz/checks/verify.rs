//! Run by the fuzz target on what the fuzzer makes, and by `tests/corpus.rs` on the corpus.

use log_api::{Epoch, Offset};
use log_format::{assign, crc32c, peek, verify};

/// Where the checksummed part begins.
const CHECKSUMMED_FROM: usize = 21;

/// What is accepted is whole, is what its header says, and stays valid under another offset and epoch; one bit of it changed is refused.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(batch) = verify(bytes) else { return };
    assert_eq!(batch.bytes(), bytes);
    assert_eq!(batch.header().total_bytes(), bytes.len() as u64);
    assert_eq!(batch.header().crc, crc32c(&bytes[CHECKSUMMED_FROM..]));
    assert!(batch.records() >= 1);
    assert_eq!(peek(bytes), Ok(Some(*batch.header())));
    let mut moved = bytes.to_vec();
    assign(&mut moved, Offset(7), Epoch(3));
    let again = verify(&moved).expect("offset and epoch lie outside the checksum");
    assert_eq!((again.base(), again.header().epoch()), (Some(Offset(7)), Some(Epoch(3))));
    let flipped = CHECKSUMMED_FROM + bytes.len() % (bytes.len() - CHECKSUMMED_FROM);
    moved[flipped] ^= 1 << (bytes.len() % 8);
    assert!(verify(&moved).is_err());
}
