//! Run by the fuzz target on what the fuzzer makes, and by `tests/corpus.rs` on the corpus.

use log_format::{HEADER_BYTES, Template, records, verify};

/// The records of a batch whose checksum is right whatever it holds, for a stranger can compute one: at most as many as the header says,
/// each inside the batch.
pub(crate) fn check(bytes: &[u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let mut sealed = bytes.to_vec();
    let length = i32::try_from(sealed.len() - 12).expect("fuzz inputs are small");
    sealed[8..12].copy_from_slice(&length.to_be_bytes());
    sealed[16] = 2;
    Template::new(1, 0).seal(&mut sealed);
    let Ok(batch) = verify(&sealed) else { return };
    let Ok(records) = records(&batch) else { return };
    let payload = batch.payload().len();
    let mut count = 0;
    let mut failed = false;
    for record in records {
        assert!(!failed, "nothing follows an error");
        count += 1;
        match record {
            Ok(record) => {
                let headers: usize =
                    record.headers.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
                assert!(record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers <= payload);
            }
            Err(_) => failed = true,
        }
    }
    assert!(count <= batch.records());
    assert!(failed || count == batch.records());
}
