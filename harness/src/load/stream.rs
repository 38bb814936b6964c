//! Checks a log as a consumer receives it: whole batches, checksums, dense offsets, every message once and in order.

use super::stamp::Stamp;
use std::{collections::VecDeque, fmt};

/// Gaps in the sequence that are remembered, to tell messages that come late from messages that come twice.
const GAPS_MAX: usize = 64;

/// What was found in one log by one consumer, or by several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages received and verified: of this run, whole, in their place.
    pub verified: u64,
    /// Messages of earlier runs: checksum and offset verified.
    pub older: u64,
    /// Messages that should have come and did not: a gap in the sequence that no gap in the offsets explains.
    pub lost: u64,
    /// Messages that came again.
    pub doubled: u64,
    /// Messages that came after later ones.
    pub reordered: u64,
    /// Batches with a wrong checksum, a wrong format, or an offset that goes back.
    pub damaged: u64,
    /// Messages passed over together with their offsets: the log's start had been trimmed beyond the consumer's place.
    pub skipped: u64,
}

impl Findings {
    /// Adds another consumer's.
    pub fn add(&mut self, other: &Self) {
        self.verified += other.verified;
        self.older += other.older;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.skipped += other.skipped;
    }

    /// Nothing is wrong. What was skipped is not: it was trimmed by retention.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0
    }
}

/// Where one consumer stands in one partition's log.
#[derive(Clone, Debug)]
pub struct Stream {
    run: u32,
    /// Offset of the next batch.
    next_offset: u64,
    /// Sequence of the next message of this run.
    next_sequence: u64,
    /// The consumer began inside this run's messages: the first one sets the sequence.
    sequence_known: bool,
    gaps: VecDeque<(u64, u64)>,
    findings: Findings,
    first_problem: Option<String>,
}

/// One verified batch of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its stamp.
    pub stamp: Stamp,
    /// Its messages.
    pub messages: u32,
}

/// The stream cannot be followed any further: the next batch cannot be found.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream does not go on with a batch")
    }
}

impl Stream {
    /// A consumer that asked for `from`, of the messages that run `run` writes. The first of them that it receives must have sequence
    /// `sequence`; `None`: whatever it has.
    #[must_use]
    pub fn new(run: u32, from: u64, sequence: Option<u64>) -> Self {
        Self {
            run,
            next_offset: from,
            next_sequence: sequence.unwrap_or(0),
            sequence_known: sequence.is_some(),
            gaps: VecDeque::new(),
            findings: Findings::default(),
            first_problem: None,
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The first thing that was wrong, in words.
    #[must_use]
    pub fn first_problem(&self) -> Option<&str> {
        self.first_problem.as_deref()
    }

    /// Offset of the next batch.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Messages of this run that were passed: received, or known to be missing.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.next_sequence
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.first_problem.is_none() {
            self.first_problem = Some(text());
        }
    }

    /// Takes the whole batches at the start of `bytes` and returns how many bytes they are. `each` gets every batch of this run that is
    /// in its place.
    ///
    /// # Errors
    /// [`Unreadable`] when what follows is no batch; everything before it was taken.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Received)) -> Result<usize, Unreadable> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let header = match log_format::peek(rest) {
                Ok(Some(header)) => header,
                Ok(None) if rest.len() < log_format::HEADER_BYTES => return Ok(taken),
                Ok(None) => return Err(self.damaged("a batch length of 0".to_owned())),
                Err(error) => return Err(self.damaged(error.to_string())),
            };
            let batch_bytes = header.total_bytes();
            if batch_bytes > rest.len() as u64 {
                return Ok(taken);
            }
            let batch_bytes = batch_bytes as usize;
            match log_format::verify(&rest[..batch_bytes]) {
                Ok(batch) => {
                    if let Some(received) = self.batch(&batch) {
                        each(received);
                    }
                }
                // Its length was plausible, so the batch after it can still be found.
                Err(error) => {
                    self.damaged(error.to_string());
                    let past = header.offset().map(|base| base.0 + u64::from(header.records.unsigned_abs()));
                    self.next_offset = past.unwrap_or(self.next_offset);
                }
            }
            taken += batch_bytes;
        }
    }

    fn damaged(&mut self, what: String) -> Unreadable {
        self.findings.damaged += 1;
        let at = self.next_offset();
        self.problem(|| format!("damaged batch at offset {at}: {what}"));
        Unreadable
    }

    fn batch(&mut self, batch: &log_format::Batch<'_>) -> Option<Received> {
        let messages = batch.records();
        let Some(base) = batch.base().map(|base| base.0) else {
            self.damaged("a negative base offset".to_owned());
            return None;
        };
        let expected = self.next_offset;
        // A read begins with the batch that holds the offset, which may be in its middle.
        let contains_start =
            base < expected && base + u64::from(messages) > expected && self.findings == Findings::default();
        if base < expected && !contains_start {
            self.damaged(format!("base offset {base} where {expected} was expected"));
            return None;
        }
        let skipped = base.saturating_sub(expected);
        self.next_offset = base + u64::from(messages);
        self.findings.skipped += skipped;
        let record = log_format::records(batch).ok().and_then(|mut records| records.next()?.ok());
        let stamp = record.and_then(|record| Stamp::read(record.value?)).filter(|stamp| stamp.run == self.run);
        let Some(stamp) = stamp else {
            self.findings.older += u64::from(messages);
            return None;
        };
        self.sequence(stamp.sequence, u64::from(messages), skipped).then_some(Received { stamp, messages })
    }

    /// Judges the sequence of a batch; whether it is in its place.
    fn sequence(&mut self, first: u64, messages: u64, skipped: u64) -> bool {
        if !self.sequence_known {
            self.sequence_known = true;
            self.next_sequence = first;
        }
        let expected = self.next_sequence;
        if first < expected {
            let late = self.gaps.iter().position(|(start, end)| *start <= first && first + messages <= *end);
            if let Some(gap) = late {
                let (start, end) = self.gaps.remove(gap).expect("just found");
                self.gaps
                    .extend([(start, first), (first + messages, end)].into_iter().filter(|(start, end)| start < end));
                self.findings.lost -= messages.min(self.findings.lost);
                self.findings.reordered += messages;
                self.problem(|| format!("message {first} came after message {}", expected - 1));
            } else {
                self.findings.doubled += messages;
                self.problem(|| format!("message {first} came again after message {}", expected - 1));
            }
            return false;
        }
        let missing = (first - expected).saturating_sub(skipped);
        if missing > 0 {
            self.findings.lost += missing;
            self.problem(|| format!("{missing} messages are missing before message {first}"));
            if self.gaps.len() == GAPS_MAX {
                self.gaps.pop_front();
            }
            self.gaps.push_back((expected, first));
        }
        self.next_sequence = first + messages;
        self.findings.verified += messages;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_api::{Epoch, Offset};
    use log_format::Template;

    const RUN: u32 = 77;

    fn batch(run: u32, sequence: u64, offset: u64, messages: u32) -> Vec<u8> {
        let template = Template::new(messages, 40);
        let mut bytes = vec![0; template.bytes()];
        template.write(&mut bytes);
        let stamp = Stamp { sequence, intended_ns: sequence * 10, run, phase: 0 };
        stamp.write(&mut bytes[template.value(0)]);
        template.seal(&mut bytes);
        log_format::assign(&mut bytes, Offset(offset), Epoch(1));
        bytes
    }

    fn take(stream: &mut Stream, bytes: &[u8]) -> Vec<u64> {
        let mut sequences = Vec::new();
        let taken = stream.take(bytes, |received| sequences.push(received.stamp.sequence)).unwrap();
        assert_eq!(taken, bytes.len());
        sequences
    }

    #[test]
    fn whole_batches_are_taken_and_a_part_waits() {
        let bytes = [batch(RUN, 0, 0, 1), batch(RUN, 1, 1, 5), batch(RUN, 6, 6, 2)].concat();
        let mut stream = Stream::new(RUN, 0, Some(0));
        let mut received = Vec::new();
        let mut carried: Vec<u8> = Vec::new();
        for piece in bytes.chunks(7) {
            carried.extend_from_slice(piece);
            let taken = stream.take(&carried, |batch| received.push((batch.stamp.sequence, batch.messages))).unwrap();
            carried.drain(..taken);
        }
        assert_eq!(received, [(0, 1), (1, 5), (6, 2)]);
        assert_eq!(*stream.findings(), Findings { verified: 8, ..Findings::default() });
        assert!(carried.is_empty() && stream.findings().is_clean());
    }

    #[test]
    fn a_lost_message_is_told() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        assert_eq!(take(&mut stream, &[batch(RUN, 0, 0, 1), batch(RUN, 3, 1, 1)].concat()), [0, 3]);
        assert_eq!((stream.findings().lost, stream.findings().verified), (2, 2));
        assert!(stream.first_problem().unwrap().contains("2 messages are missing before message 3"));
    }

    #[test]
    fn a_first_message_that_is_not_the_first_is_a_loss_unless_the_reader_began_later() {
        let mut whole = Stream::new(RUN, 10, Some(0));
        take(&mut whole, &batch(RUN, 4, 10, 1));
        assert_eq!(whole.findings().lost, 4);
        let mut late = Stream::new(RUN, 10, None);
        take(&mut late, &batch(RUN, 4, 10, 1));
        assert!(late.findings().is_clean());
    }

    #[test]
    fn doubled_and_reordered_are_told_apart() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        let bytes =
            [batch(RUN, 0, 0, 1), batch(RUN, 2, 1, 1), batch(RUN, 1, 2, 1), batch(RUN, 2, 3, 1), batch(RUN, 3, 4, 1)];
        assert_eq!(take(&mut stream, &bytes.concat()), [0, 2, 3]);
        let found = stream.findings();
        assert_eq!((found.lost, found.reordered, found.doubled, found.verified), (0, 1, 1, 3));
    }

    #[test]
    fn a_flipped_bit_is_damage_and_the_next_batch_is_still_found() {
        let mut bad = batch(RUN, 1, 1, 1);
        let last = bad.len() - 5;
        bad[last] ^= 1;
        let mut stream = Stream::new(RUN, 0, Some(0));
        take(&mut stream, &[batch(RUN, 0, 0, 1), bad, batch(RUN, 2, 2, 1)].concat());
        assert_eq!((stream.findings().damaged, stream.findings().verified), (1, 2));
        assert!(stream.first_problem().unwrap().contains("offset 1"));
    }

    #[test]
    fn what_is_no_batch_ends_the_stream() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        assert_eq!(stream.take(&[0; 200], |_| {}), Err(Unreadable));
        assert_eq!(stream.findings().damaged, 1);
    }

    #[test]
    fn an_offset_that_goes_back_is_damage() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        take(&mut stream, &[batch(RUN, 0, 0, 4), batch(RUN, 4, 2, 1)].concat());
        assert_eq!(stream.findings().damaged, 1);
    }

    #[test]
    fn trimmed_messages_are_skipped_not_lost() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        take(&mut stream, &[batch(RUN, 0, 0, 1), batch(RUN, 50, 50, 1)].concat());
        assert_eq!((stream.findings().skipped, stream.findings().lost), (49, 0));
        assert!(stream.findings().is_clean());
    }

    #[test]
    fn older_runs_of_a_continued_log_are_verified_and_counted_apart() {
        let mut stream = Stream::new(RUN, 0, Some(0));
        assert_eq!(take(&mut stream, &[batch(5, 0, 0, 3), batch(RUN, 0, 3, 1)].concat()), [0]);
        assert_eq!(*stream.findings(), Findings { verified: 1, older: 3, ..Findings::default() });
    }

    #[test]
    fn a_read_may_begin_inside_a_batch() {
        let mut stream = Stream::new(RUN, 2, None);
        assert_eq!(take(&mut stream, &[batch(RUN, 0, 0, 5), batch(RUN, 5, 5, 1)].concat()), [0, 5]);
        assert!(stream.findings().is_clean());
    }
}
