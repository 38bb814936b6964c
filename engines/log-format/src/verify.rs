//! Is this one whole, undamaged batch?

use crate::{
    FormatError, HEADER_BYTES, Header,
    checksum::crc32c,
    header::{CHECKSUMMED_FROM, peek},
};
use log_api::Offset;

/// A batch whose length, header and checksum are right.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All bytes, header first.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offsets that the batch takes; never 0.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.header.records.unsigned_abs()
    }

    /// The bytes after the header: the records, possibly compressed.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// What [`log_api::LogEngine::append`] takes.
    #[must_use]
    pub fn for_append(&self) -> log_api::Batch<'a> {
        log_api::Batch::verified(self.bytes, self.records())
    }

    /// Offset of the first record, `None` while no log has assigned one.
    #[must_use]
    pub fn base(&self) -> Option<Offset> {
        self.header.offset()
    }
}

/// Checks that `bytes` are exactly one batch: its length, magic, attributes, record count (the last offset delta plus one, at
/// least one) and checksum. Compressed records are accepted as they are.
///
/// # Errors
/// Any [`FormatError`] except `Compressed` and `Record`.
pub fn verify(bytes: &[u8]) -> Result<Batch<'_>, FormatError> {
    let available = bytes.len() as u64;
    let header = match peek(bytes)? {
        Some(header) => header,
        None if bytes.len() < HEADER_BYTES => {
            return Err(FormatError::Truncated { needed: HEADER_BYTES as u64, available });
        }
        None => return Err(FormatError::Length(0)),
    };
    let needed = header.total_bytes();
    if available < needed {
        return Err(FormatError::Truncated { needed, available });
    }
    if available > needed {
        return Err(FormatError::Trailing(available - needed));
    }
    let computed = crc32c(&bytes[CHECKSUMMED_FROM..]);
    if computed != header.crc {
        return Err(FormatError::Checksum { stored: header.crc, computed });
    }
    Ok(Batch { header, bytes })
}
