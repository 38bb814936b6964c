//! Checks a log that partitions share as a consumer of all of it receives it: whole frames, each where the one before ended, and the batches
//! of each partition as a consumer of that partition alone would check them.

use super::stream::{Findings, Received, Stream, Unreadable};
use log_format::{CHECKPOINT, FRAME_BYTES, HEADER_BYTES, peek_frame, verify};

/// Where one consumer stands in a shared log, and in each of its partitions.
pub struct Whole {
    /// Byte of the log at which the next frame stands.
    next: u64,
    /// By partition; `None`: not in this log.
    partitions: Vec<Option<Stream>>,
    /// Of what belongs to no partition.
    findings: Findings,
    first_problem: Option<String>,
}

impl Whole {
    /// A consumer that asked for byte `from` of a shared log. It holds these partitions, each with the offset at which the consumer meets it; the
    /// first message of run `run` in each must have sequence 0.
    #[must_use]
    pub fn new(run: u32, from: u64, partitions: &[(u32, u64)]) -> Self {
        let count = partitions.iter().map(|(partition, _)| *partition as usize + 1).max().unwrap_or(0);
        let mut streams = vec![None; count];
        for (partition, from) in partitions {
            streams[*partition as usize] = Some(Stream::new(run, *from, Some(0)));
        }
        Self { next: from, partitions: streams, findings: Findings::default(), first_problem: None }
    }

    /// Takes the whole frames at the start of `bytes` and returns how many bytes they are. `each` gets every batch of this run that is in its
    /// place in its partition.
    ///
    /// # Errors
    /// [`Unreadable`] when what follows is no frame, or one from another place of the log; everything before it was taken.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Received)) -> Result<usize, Unreadable> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let frame = match peek_frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) if rest.len() < FRAME_BYTES + HEADER_BYTES => return Ok(taken),
                Ok(None) => return Err(self.damaged("a frame length of 0")),
                Err(error) => return Err(self.damaged(&error.to_string())),
            };
            let whole_bytes = frame.total_bytes();
            if whole_bytes > rest.len() as u64 {
                return Ok(taken);
            }
            // Further on than expected: retention has taken what lies between, and each partition will say what it misses of it.
            let Some(place) = frame.sequence.map(|place| place.0).filter(|place| *place >= self.next) else {
                return Err(self.damaged("a frame that has its place elsewhere"));
            };
            self.next = place + whole_bytes;
            taken += whole_bytes as usize;
            let batch = &rest[FRAME_BYTES..whole_bytes as usize];
            if frame.partition == CHECKPOINT {
                if let Err(error) = verify(batch) {
                    self.damaged(&error.to_string());
                }
            } else if let Some(Some(stream)) = self.partitions.get_mut(frame.partition as usize) {
                stream.take(batch, &mut each)?;
            } else {
                self.damaged(&format!("a batch of partition {}, which is not in it", frame.partition));
            }
        }
    }

    fn damaged(&mut self, what: &str) -> Unreadable {
        self.findings.damaged += 1;
        if self.first_problem.is_none() {
            self.first_problem = Some(format!("shared log at byte {}: {what}", self.next));
        }
        Unreadable
    }

    fn streams(&self) -> impl Iterator<Item = (usize, &Stream)> {
        self.partitions.iter().enumerate().filter_map(|(partition, stream)| Some((partition, stream.as_ref()?)))
    }

    /// Messages of this run that were passed in a partition; `None` if it is not in this log.
    #[must_use]
    pub fn passed(&self, partition: u32) -> Option<u64> {
        self.partitions.get(partition as usize)?.as_ref().map(Stream::passed)
    }

    /// Byte of the log at which the next frame stands.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What was found, of all partitions together.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut all = self.findings;
        self.streams().for_each(|(_, stream)| all.add(stream.findings()));
        all
    }

    /// The first thing that was wrong with the log, else with one of its partitions, in words.
    #[must_use]
    pub fn first_problem(&self) -> Option<String> {
        let of_partition =
            |(partition, stream): (usize, &Stream)| Some(format!("partition {partition}: {}", stream.first_problem()?));
        self.first_problem.clone().or_else(|| self.streams().find_map(of_partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::stamp::Stamp;
    use log_api::{Epoch, Offset};
    use log_format::{BatchBuilder, FRAME_HEAD_BYTES, Template, assign, frame};

    const RUN: u32 = 77;

    /// What a shared log holds, byte by byte.
    #[derive(Default)]
    struct Log(Vec<u8>);

    impl Log {
        fn entry(&mut self, partition: u32, offset: u64, batch: &[u8]) {
            let mut head = frame(batch, partition, Offset(offset), Epoch(1));
            assign(&mut head, Offset(self.0.len() as u64), Epoch(1));
            self.0.extend_from_slice(&head);
            self.0.extend_from_slice(&batch[FRAME_HEAD_BYTES - FRAME_BYTES..]);
        }

        fn message(&mut self, partition: u32, sequence: u64, offset: u64) {
            let template = Template::new(1, 40);
            let mut bytes = vec![0; template.bytes()];
            template.write(&mut bytes);
            Stamp { sequence, intended_ns: 0, run: RUN, phase: 0 }.write(&mut bytes[template.value(0)]);
            template.seal(&mut bytes);
            self.entry(partition, offset, &bytes);
        }

        fn checkpoint(&mut self) {
            let mut batch = BatchBuilder::new(0);
            batch.push(0, None, Some(&[0; 24]));
            self.entry(CHECKPOINT, 0, &batch.finish());
        }
    }

    fn three() -> Log {
        let mut log = Log::default();
        log.message(4, 0, 100);
        log.message(1, 0, 0);
        log.checkpoint();
        log.message(4, 1, 101);
        log
    }

    #[test]
    fn each_partition_is_followed_by_itself_in_whatever_pieces_the_log_comes() {
        let log = three().0;
        let mut whole = Whole::new(RUN, 0, &[(1, 0), (4, 100)]);
        let (mut carried, mut received) = (Vec::new(), 0);
        for piece in log.chunks(13) {
            carried.extend_from_slice(piece);
            let taken = whole.take(&carried, |batch| received += batch.messages).expect("a sound log");
            carried.drain(..taken);
        }
        assert_eq!((received, whole.next()), (3, log.len() as u64));
        assert_eq!(
            (whole.passed(1), whole.passed(4), whole.passed(0), whole.passed(9)),
            (Some(1), Some(2), None, None)
        );
        assert_eq!(whole.findings(), Findings { verified: 3, ..Findings::default() });
        assert_eq!(whole.first_problem(), None);
    }

    #[test]
    fn a_message_that_one_partition_lost_is_named() {
        let mut log = three();
        log.message(1, 3, 1);
        let mut whole = Whole::new(RUN, 0, &[(1, 0), (4, 100)]);
        whole.take(&log.0, |_| {}).expect("frames that follow each other");
        assert_eq!(whole.findings().lost, 2);
        assert_eq!(whole.first_problem().as_deref(), Some("partition 1: 2 messages are missing before message 3"));
    }

    #[test]
    fn a_frame_from_elsewhere_ends_the_stream() {
        let log = three().0;
        let second = peek_frame(&log).unwrap().unwrap().total_bytes() as usize;
        let mut whole = Whole::new(RUN, log.len() as u64, &[(1, 0), (4, 100)]);
        assert_eq!(whole.take(&log[second..], |_| {}), Err(Unreadable));
        assert_eq!(whole.findings().damaged, 1);
    }

    #[test]
    fn what_was_trimmed_is_skipped() {
        let log = three().0;
        let second = peek_frame(&log).unwrap().unwrap().total_bytes() as usize;
        let mut whole = Whole::new(RUN, 0, &[(1, 0), (4, 100)]);
        whole.take(&log[second..], |_| {}).expect("frames that follow each other");
        assert_eq!((whole.findings().skipped, whole.findings().lost, whole.findings().verified), (1, 0, 2));
    }

    #[test]
    fn damage_is_counted_wherever_it_is() {
        for (what, at) in [("a frame", 25), ("a batch", 110)] {
            let mut log = three().0;
            log[at] ^= 1;
            let mut whole = Whole::new(RUN, 0, &[(1, 0), (4, 100)]);
            let _ = whole.take(&log, |_| {});
            assert_eq!(whole.findings().damaged, 1, "{what}");
        }
        let mut stranger = Whole::new(RUN, 0, &[(1, 0)]);
        stranger.take(&three().0, |_| {}).expect("frames that follow each other");
        assert_eq!(stranger.findings().damaged, 2, "two batches of a partition that is not there");
    }
}
