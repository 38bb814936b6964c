//! Reads of a partition: its batches by the index, their bytes by the shared log.

use crate::{
    group::{Group, Off, Segment},
    index::{Index, entries_path},
    part::Placed,
    pin::{Pin, cut},
    recover::{Known, is_at, rebuild},
};
use futures_lite::future::poll_once;
use log_api::{Chunk, Damage, LogEngine, LogId, Marks, Offset, OpenError, Piece, Read, ReadError, ReadKind};
use log_format::{FRAME_BYTES, peek_frame};
use log_segment::segment_path;
use std::{fs, io, pin::pin, rc::Rc};

/// Pieces of a read of a partition, and the batches that they are.
type Gathered<'a, P> = (Vec<Piece<Pin<P>>>, &'a [Placed]);

/// Batches of one read: where they do not adjoin each other, each is a read of the shared log.
const BATCHES_MAX: usize = 64;

/// Indexes of finished segments in memory; some 2 % of their segments each, for batches of 1 KB.
const LOADED_MAX: usize = 4;

/// Reading ahead pays where a partition's batches lie together for this many bytes.
const SCAN_BYTES_MIN: u64 = 256 << 10;

impl Group {
    pub(crate) async fn read<E: LogEngine>(
        &self,
        off: &Off,
        inner: &E,
        partition: LogId,
        read: Read,
    ) -> Result<Chunk<Pin<E::Pin>>, ReadError> {
        let slot = self.state.borrow().slot(partition).ok_or(ReadError::NotOpen(partition))?;
        let Marks { start, placed, end, .. } = self.marks(partition, inner.marks(self.log));
        if read.from < start || read.from > end {
            return Err(ReadError::OutOfRange { asked: read.from, start, end });
        }
        let read = Read { until: read.until.min(placed), ..read };
        if read.from >= read.until {
            return Ok(Chunk::empty(read.from));
        }
        let failed = match self.read_found(off, inner, slot, partition, &read).await {
            Ok(chunk) => return Ok(chunk),
            Err(error) => error,
        };
        // What was looked for may have been given up meanwhile: the index of its segment, or its bytes, by which the shared log counts.
        self.starts_at(off, inner.marks(self.log).start.0).await?;
        let Marks { start, end, .. } = self.marks(partition, inner.marks(self.log));
        match failed {
            ReadError::OutOfRange { .. } => Err(ReadError::OutOfRange { asked: read.from, start, end }),
            _ if read.from < start => Err(ReadError::OutOfRange { asked: read.from, start, end }),
            failed => Err(failed),
        }
    }

    async fn read_found<E: LogEngine>(
        &self,
        off: &Off,
        inner: &E,
        slot: usize,
        partition: LogId,
        read: &Read,
    ) -> Result<Chunk<Pin<E::Pin>>, ReadError> {
        let Some(batches) = self.find(off, slot, partition, read).await? else {
            let Marks { start, end, .. } = self.marks(partition, inner.marks(self.log));
            return Err(ReadError::OutOfRange { asked: read.from, start, end });
        };
        let (pieces, read_batches) = self.gather(inner, partition, &batches, read.kind).await?;
        let (Some(first), Some(last)) = (read_batches.first(), read_batches.last()) else {
            return Ok(Chunk::empty(read.from));
        };
        let bytes = read_batches.iter().map(|placed| u64::from(placed.bytes) - FRAME_BYTES as u64).sum();
        Ok(Chunk { base: Offset(first.offset), next: Offset(last.end), bytes, pieces })
    }

    /// The bytes of batches, and which of them. Where several reads of the shared log are needed, all but the first must be answered at once:
    /// an inner engine has few buffers for what comes from the device, and who waits for one must not hold others.
    async fn gather<'a, E: LogEngine>(
        &self,
        inner: &E,
        partition: LogId,
        batches: &'a [Placed],
        kind: ReadKind,
    ) -> Result<Gathered<'a, E::Pin>, ReadError> {
        let mut pieces = Vec::with_capacity(batches.len());
        let mut rest = batches;
        let (mut read_to, mut at_once) = (0, true);
        while let Some(first) = rest.first() {
            let adjoins = |pair: &&[Placed]| pair[0].end_position() == pair[1].position;
            let run = &rest[..1 + rest.windows(2).take_while(adjoins).count()];
            let (at, end) = (first.position, run[run.len() - 1].end_position());
            let kind = if end - at >= SCAN_BYTES_MIN { kind } else { ReadKind::Hot };
            let read = Read { from: Offset(at), until: Offset(end), bytes_max: end - at, kind };
            let mut reading = pin!(inner.read(self.log, read));
            let chunk = match poll_once(&mut reading).await {
                Some(chunk) => chunk?,
                None if read_to == 0 => {
                    at_once = false;
                    reading.await?
                }
                None => break,
            };
            if chunk.base != Offset(at) || chunk.next.0 <= at {
                return Err(self.disagrees(at, partition));
            }
            self.check(partition, at, run, &chunk.pieces)?;
            cut(chunk.pieces, at, run, &mut pieces);
            read_to = chunk.next.0;
            let taken = run.partition_point(|placed| placed.end_position() <= read_to);
            rest = &rest[taken..];
            if !at_once {
                break;
            }
        }
        Ok((pieces, &batches[..batches.len() - rest.len()]))
    }

    /// What is in memory anyway is looked at: the frame must be the one that the index said.
    fn check<P: AsRef<[u8]>>(
        &self,
        partition: LogId,
        mut at: u64,
        run: &[Placed],
        pieces: &[Piece<P>],
    ) -> Result<(), ReadError> {
        for piece in pieces {
            let Piece::Pin(pin) = piece else { return Ok(()) };
            let bytes = pin.as_ref();
            let end = at + bytes.len() as u64;
            let first = run.partition_point(|placed| placed.position < at);
            for placed in run[first..].iter().take_while(|placed| placed.position < end) {
                // A header across two pieces is left to the checksum of its batch.
                if let Ok(Some(frame)) = peek_frame(&bytes[(placed.position - at) as usize..])
                    && !is_at(&frame, partition.0, placed)
                {
                    return Err(self.disagrees(placed.position, partition));
                }
            }
            at = end;
        }
        Ok(())
    }

    fn disagrees(&self, position: u64, partition: LogId) -> ReadError {
        let state = self.state.borrow();
        let holds = |segment: &&Segment| segment.base <= position;
        let base = state.segments.iter().rev().find(holds).map_or(position, |segment| segment.base);
        let what = format!(
            "no batch of partition {} stands where the group's index says: remove the .entries files, they are made again",
            partition.0
        );
        Damage { segment: segment_path(&self.dir, Offset(base)), position: position - base, what }.into()
    }

    /// The batches that answer a read; `None` if there is none where one should be.
    async fn find(
        &self,
        off: &Off,
        slot: usize,
        partition: LogId,
        read: &Read,
    ) -> Result<Option<Vec<Placed>>, ReadError> {
        {
            let state = self.state.borrow();
            for part in state.segments.iter().rev().map_while(Segment::part) {
                if part.before(slot).is_some_and(|before| before <= read.from.0) {
                    return Ok(taken(part.from(slot, read.from.0), read));
                }
            }
        }
        let index = self.locate(off, partition.0, read.from.0).await?;
        Ok(index.and_then(|index| taken(index.from(partition.0, read.from.0), read)))
    }

    /// The index, among those in files, of the last segment before which a partition ended at or before `offset`.
    pub(crate) async fn locate(&self, off: &Off, partition: u32, offset: u64) -> Result<Option<Rc<Index>>, ReadError> {
        let files: Vec<(u64, u64)> = {
            let state = self.state.borrow();
            let in_files = state.segments.iter().take_while(|segment| segment.part().is_none());
            in_files.map(|segment| (segment.base, segment.end)).collect()
        };
        // A segment that does not know the partition lies before its beginning.
        let reaches = |index: &Index| index.span(partition).is_none_or(|span| span.before <= offset);
        // The one looked for is the last of `low..high` that reaches it, if any does.
        let (mut low, mut high) = (0, files.len());
        let mut next = None;
        for index in &*self.loaded.borrow() {
            let Ok(place) = files.binary_search_by_key(&index.base, |file| file.0) else { continue };
            if !reaches(index) {
                high = high.min(place);
            } else if place >= low {
                low = place;
                // Who reads in order goes on in the next segment.
                let read_through = index.span(partition).is_some_and(|span| span.after <= offset);
                next = Some(if read_through { place + 1 } else { place });
            }
        }
        while high > low + 1 {
            let probe = match next.take() {
                Some(next) if low < next && next < high => next,
                Some(next) if next == low => break,
                _ => low + (high - low) / 2,
            };
            let index = self.load(off, files[probe]).await?;
            if reaches(&index) { low = probe } else { high = probe }
        }
        while low < high {
            let index = self.load(off, files[low]).await?;
            match index.span(partition) {
                Some(span) if span.before <= offset => return Ok(Some(index)),
                // One that was made again from its segment alone knows only whose batches are there.
                None if low > 0 => (low, high) = (low - 1, low),
                _ => break,
            }
        }
        Ok(None)
    }

    /// The index of a finished segment, by its file; made again if that is missing or wrong.
    pub(crate) async fn load(&self, off: &Off, (base, end): (u64, u64)) -> Result<Rc<Index>, ReadError> {
        {
            let mut loaded = self.loaded.borrow_mut();
            if let Some(place) = loaded.iter().position(|index| index.base == base) {
                let index = loaded.remove(place).expect("just found");
                loaded.push_back(index.clone());
                return Ok(index);
            }
        }
        let dir = self.dir.clone();
        let read = off.helper.run(&off.ring, move || match fs::read(entries_path(&dir, base)) {
            Ok(file) => Ok((Index::decode(&file, base, end), false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((None, false)),
            Err(error) => Err(ReadError::Io(error)),
        });
        let index = match read.await?.0 {
            Some(index) => index,
            None => {
                self.rebuilt.set(self.rebuilt.get() + 1);
                let dir = self.dir.clone();
                let made = move || rebuild(&dir, base, end, &Known::default(), base == 0);
                off.helper.run(&off.ring, made).await.map_err(|error| match error {
                    OpenError::Damaged(damage) => ReadError::Damaged(damage),
                    OpenError::Io { source, .. } => ReadError::Io(source),
                    other => ReadError::Io(io::Error::other(other.to_string())),
                })?
            }
        };
        let index = Rc::new(index);
        let mut loaded = self.loaded.borrow_mut();
        if loaded.len() >= LOADED_MAX {
            loaded.pop_front();
        }
        loaded.push_back(index.clone());
        Ok(index)
    }
}

/// As many batches as keep a read's limits, one at least unless it reaches beyond `until`; `None` if there is none at all.
fn taken(batches: impl Iterator<Item = Placed>, read: &Read) -> Option<Vec<Placed>> {
    let mut bytes = 0;
    let mut found = false;
    let taken = batches
        .inspect(|_| found = true)
        .take_while(|placed| placed.end <= read.until.0)
        .enumerate()
        .take_while(|(number, placed)| {
            bytes += u64::from(placed.bytes) - FRAME_BYTES as u64;
            *number == 0 || (*number < BATCHES_MAX && bytes <= read.bytes_max)
        })
        .map(|(_, placed)| placed)
        .collect();
    found.then_some(taken)
}
