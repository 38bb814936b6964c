//! The fast path for load generators: encode once, then copy, stamp and seal.

use crate::{BatchBuilder, HEADER_BYTES, build::seal, records, verify};
use std::ops::Range;

/// An encoded batch of `records` values of one size each, without keys, to be stamped again and again. The size of the batch and
/// the places of the values never change, so a stamped copy needs a new checksum and nothing else.
///
/// ```
/// # use log_format::{Template, verify};
/// let template = Template::new(2, 100);
/// let mut batch = vec![0; template.bytes()];
/// template.write(&mut batch);                                  // one copy
/// let value = template.value(1);
/// batch[value][..8].copy_from_slice(&7u64.to_le_bytes());      // stamp what is to differ
/// template.set_timestamp(&mut batch, 1_700_000_000_000);
/// template.seal(&mut batch);                                   // one checksum
/// assert_eq!(verify(&batch)?.records(), 2);
/// # Ok::<(), log_format::FormatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    values: Vec<u32>,
    value_bytes: usize,
}

impl Template {
    /// A batch of `records` values of `value_bytes` zeros each.
    ///
    /// # Panics
    /// If `records` is 0 or the batch would not fit 2^31 bytes.
    #[must_use]
    pub fn new(records: u32, value_bytes: usize) -> Self {
        let value = vec![0; value_bytes];
        Self::from_values(records, |_, _| {}, value)
    }

    /// A batch whose values `fill` writes: it gets a record's place in the batch and its zeroed bytes.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn filled(records: u32, value_bytes: usize, fill: impl FnMut(u32, &mut [u8])) -> Self {
        Self::from_values(records, fill, vec![0; value_bytes])
    }

    fn from_values(count: u32, mut fill: impl FnMut(u32, &mut [u8]), mut value: Vec<u8>) -> Self {
        let mut builder = BatchBuilder::new(0);
        for record in 0..count {
            value.fill(0);
            fill(record, &mut value);
            builder.push(0, None, Some(&value));
        }
        let bytes = builder.finish();
        let batch = verify(&bytes).expect("the builder makes valid batches");
        let start = bytes.as_ptr() as usize;
        let values = records(&batch)
            .expect("the builder does not compress")
            .map(|record| {
                let record = record.expect("the builder makes valid records");
                let value = record.value.expect("each record was given a value");
                u32::try_from(value.as_ptr() as usize - start).expect("a batch is smaller than 2 GiB")
            })
            .collect();
        let value_bytes = value.len();
        Self { values, value_bytes, bytes }
    }

    /// Bytes of the batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records of the batch.
    #[must_use]
    pub fn records(&self) -> u32 {
        u32::try_from(self.values.len()).expect("made from a u32")
    }

    /// Where the value of a record lies.
    ///
    /// # Panics
    /// If there is no such record.
    #[must_use]
    pub fn value(&self, record: u32) -> Range<usize> {
        let start = self.values[record as usize] as usize;
        start..start + self.value_bytes
    }

    /// Copies the batch to `into`, which has exactly [`Self::bytes`] bytes.
    ///
    /// # Panics
    /// If it has not.
    pub fn write(&self, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes);
    }

    /// Sets base and largest timestamp (milliseconds since 1970) of a copy.
    ///
    /// # Panics
    /// If `batch` is shorter than a header.
    pub fn set_timestamp(&self, batch: &mut [u8], timestamp: i64) {
        batch[27..35].copy_from_slice(&timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    }

    /// Computes the checksum of a stamped copy.
    ///
    /// # Panics
    /// If `batch` is shorter than a header.
    pub fn seal(&self, batch: &mut [u8]) {
        assert!(batch.len() >= HEADER_BYTES, "a batch has a header");
        seal(batch);
    }
}
