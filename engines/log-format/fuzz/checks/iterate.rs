//! Run by the fuzz target on what the fuzzer makes, and by `tests/corpus.rs` on the corpus.

use log_format::{HEADER_BYTES, iterate};

/// A walk ends, goes forward by whole batches, and stays inside.
pub(crate) fn check(bytes: &[u8]) {
    let mut batches = iterate(bytes);
    let mut position = 0;
    let mut failed = false;
    while let Some(batch) = batches.next() {
        assert!(!failed, "nothing follows an error");
        match batch {
            Ok((header, batch)) => {
                assert!(batch.len() >= HEADER_BYTES);
                assert_eq!(header.total_bytes(), batch.len() as u64);
                position += batch.len();
                assert_eq!(batches.position(), position);
                assert!(bytes[..position].ends_with(batch));
            }
            Err(_) => failed = true,
        }
    }
    assert!(position <= bytes.len());
}
