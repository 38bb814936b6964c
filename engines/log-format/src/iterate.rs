//! Batch after batch through a run of bytes.

use crate::{FormatError, Header, header::peek};

/// Iterator over the batches of a run of bytes, by their headers alone. After an error it ends.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    position: usize,
}

impl Batches<'_> {
    /// Byte at which the next batch starts; after the end or an error, where the iteration stopped.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

/// Walks `bytes` batch by batch without checking checksums (for that, give each batch to [`crate::verify`]). It ends before a
/// length of zero and where fewer than 61 bytes are left; a batch that is cut off is an error.
#[must_use]
pub fn iterate(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes, position: 0 }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(Header, &'a [u8]), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match peek(self.rest) {
            Ok(header) => header?,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        let needed = header.total_bytes();
        let available = self.rest.len() as u64;
        if needed > available {
            self.rest = &[];
            return Some(Err(FormatError::Truncated { needed, available }));
        }
        let bytes = usize::try_from(needed).expect("not more than the slice has");
        let (batch, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.position += bytes;
        Some(Ok((header, batch)))
    }
}
