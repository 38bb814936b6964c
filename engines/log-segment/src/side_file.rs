//! The shape that the small files beside the segments share: a magic word, 64-bit little-endian numbers, a checksum.
//!
//! ```text
//! magic [u8; 8] | number u64 ... | CRC-32C of all before it, u32 | four zeros
//! ```

use log_format::crc32c;

const MAGIC_BYTES: usize = 8;
const TRAILER_BYTES: usize = 8;

/// The file that holds `numbers`.
pub(crate) fn encode(magic: [u8; MAGIC_BYTES], numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let crc = u64::from(crc32c(&bytes));
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The numbers in a file; `None` if it is not exactly what [`encode`] makes.
pub(crate) fn decode(magic: [u8; MAGIC_BYTES], bytes: &[u8]) -> Option<Vec<u64>> {
    let (body, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let numbers = body.strip_prefix(&magic)?;
    let (numbers, left) = numbers.as_chunks::<8>();
    let sound = left.is_empty() && trailer == u64::from(crc32c(body)).to_le_bytes();
    sound.then(|| numbers.iter().map(|&number| u64::from_le_bytes(number)).collect())
}
