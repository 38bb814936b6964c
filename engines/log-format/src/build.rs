//! Encodes batches. Not the fast path: load generators stamp a [`crate::Template`].

use crate::{
    HEADER_BYTES, Header,
    checksum::crc32c,
    header::{CHECKSUMMED_FROM, LENGTH_END},
    varint::{put_varint, varint_bytes},
};

/// Builds one uncompressed batch. Base offset 0, leader epoch -1 and no producer, until a log assigns them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch whose first record is at `base_timestamp` (milliseconds since 1970).
    #[must_use]
    pub fn new(base_timestamp: i64) -> Self {
        Self { bytes: vec![0; HEADER_BYTES], records: 0, base_timestamp, max_timestamp: base_timestamp }
    }

    /// Appends a record `timestamp_delta` milliseconds after the batch's base timestamp.
    ///
    /// # Panics
    /// If the batch grows beyond 2^31 bytes or records: a caller bounds its batches long before.
    pub fn push(&mut self, timestamp_delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> &mut Self {
        self.push_with_headers(timestamp_delta, key, value, &[])
    }

    /// Appends a record with header fields.
    ///
    /// # Panics
    /// As [`Self::push`].
    pub fn push_with_headers(
        &mut self,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut Self {
        let offset_delta = i64::from(self.records);
        let header_bytes: usize = headers.iter().map(|(name, value)| bytes_of(Some(name)) + bytes_of(*value)).sum();
        let length = 1
            + varint_bytes(timestamp_delta)
            + varint_bytes(offset_delta)
            + bytes_of(key)
            + bytes_of(value)
            + varint_bytes(headers.len() as i64)
            + header_bytes;
        assert!(self.bytes.len() + length + 10 <= i32::MAX as usize, "a batch is smaller than 2 GiB");
        let out = &mut self.bytes;
        put_varint(out, length as i64);
        out.push(0);
        put_varint(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_bytes(out, key);
        put_bytes(out, value);
        put_varint(out, headers.len() as i64);
        for (name, value) in headers {
            put_bytes(out, Some(name));
            put_bytes(out, *value);
        }
        self.records = self.records.checked_add(1).expect("fewer records than bytes");
        self.max_timestamp = self.max_timestamp.max(self.base_timestamp.saturating_add(timestamp_delta));
        self
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records.unsigned_abs()
    }

    /// Bytes that [`Self::finish`] would return.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes header and checksum.
    ///
    /// # Panics
    /// Without a record: an empty batch does not exist in this format.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        assert!(self.records > 0, "a batch has at least one record");
        let header = Header {
            base_offset: 0,
            batch_length: i32::try_from(self.bytes.len() - LENGTH_END).expect("asserted at each push"),
            leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: self.records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records: self.records,
        };
        header.write(self.bytes.first_chunk_mut().expect("made with a header"));
        seal(&mut self.bytes);
        self.bytes
    }
}

/// Computes and writes the checksum.
pub(crate) fn seal(bytes: &mut [u8]) {
    let crc = crc32c(&bytes[CHECKSUMMED_FROM..]);
    bytes[CHECKSUMMED_FROM - 4..CHECKSUMMED_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn bytes_of(value: Option<&[u8]>) -> usize {
    value.map_or(1, |value| varint_bytes(value.len() as i64) + value.len())
}

fn put_bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_varint(out, -1),
        Some(value) => {
            put_varint(out, value.len() as i64);
            out.extend_from_slice(value);
        }
    }
}
