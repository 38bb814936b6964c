//! The records inside an uncompressed batch.

use crate::{
    Batch, Compression, FormatError,
    varint::{take_varint, take_varint32},
};

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Added to the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds, added to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// `None`: no key, which is not an empty key.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Header fields of the record.
    pub headers: RecordHeaders<'a>,
}

/// The header fields of a record: pairs of a name and a value. Checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    left: u32,
}

impl RecordHeaders<'_> {
    /// Pairs that are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = take_bytes(&mut self.rest)??;
        let value = take_bytes(&mut self.rest)?;
        Some((name, value))
    }
}

/// Iterator over the records of a batch. It yields exactly as many as the header says, or an error and then nothing.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    next: u32,
    count: u32,
}

/// The records of a verified batch.
///
/// # Errors
/// [`FormatError::Compressed`]: they are opaque to the log.
pub fn records<'a>(batch: &Batch<'a>) -> Result<Records<'a>, FormatError> {
    match batch.header().compression() {
        Compression::None => Ok(Records { rest: batch.payload(), next: 0, count: batch.records() }),
        compressed => Err(FormatError::Compressed(compressed)),
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let place = self.next;
        let read = take_record(&mut self.rest).and_then(|record| {
            self.next += 1;
            if self.next == self.count && !self.rest.is_empty() {
                Err("bytes after the last record")
            } else {
                Ok(record)
            }
        });
        if read.is_err() {
            self.next = self.count;
        }
        Some(read.map_err(|what| FormatError::Record { record: place, what }))
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let length = take_varint32(rest).ok_or("no length")?;
    let length = usize::try_from(length).map_err(|_| "a negative length")?;
    let (mut body, after) = rest.split_at_checked(length).ok_or("longer than the batch")?;
    *rest = after;
    // The record's own attributes: no bit of them has a meaning in format v2.
    let (_, fields) = body.split_first().ok_or("empty")?;
    body = fields;
    let timestamp_delta = take_varint(&mut body).ok_or("no timestamp delta")?;
    let offset_delta = take_varint32(&mut body).ok_or("no offset delta")?;
    let key = take_bytes(&mut body).ok_or("a key that does not fit")?;
    let value = take_bytes(&mut body).ok_or("a value that does not fit")?;
    let count = take_varint32(&mut body).and_then(|count| u32::try_from(count).ok()).ok_or("no header count")?;
    let headers = RecordHeaders { rest: body, left: count };
    // A pair takes at least two bytes, so a count that lies ends the walk at the record's own end.
    for _ in 0..count {
        take_bytes(&mut body).flatten().ok_or("a header name that does not fit")?;
        take_bytes(&mut body).ok_or("a header value that does not fit")?;
    }
    if !body.is_empty() {
        return Err("bytes after its headers");
    }
    Ok(Record { offset_delta, timestamp_delta, key, value, headers })
}

/// A length and that many bytes; a length of -1 is `Some(None)`, anything that does not fit `None`.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_varint32(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(bytes))
}
