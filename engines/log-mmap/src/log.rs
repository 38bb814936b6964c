//! One log: appends into the mapping, commits, room.

use crate::segment::{Live, Mapped};
use log_api::{AppendError, Appended, Batch, CommitError, Counters, Level, LogId, Marks, Offset, OpenError, Recovery};
use log_segment::{DiskLog, Host};
use std::rc::Rc;

pub(crate) struct Log {
    pub(crate) disk: Rc<DiskLog<Live>>,
    pub(crate) host: Rc<Host>,
}

impl Log {
    pub(crate) async fn open(host: &Rc<Host>, id: LogId) -> Result<(Self, Recovery), OpenError> {
        let medium = Mapped { durable: host.config.durable };
        let (disk, recovery) = DiskLog::open(host, id, medium).await?;
        Ok((Self { disk, host: host.clone() }, recovery))
    }

    pub(crate) fn append(&self, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        if self.disk.poison.is_set() {
            return Err(AppendError::Poisoned);
        }
        let bytes: u64 = batches.iter().map(Batch::stored_bytes).sum();
        let most = self.largest_append();
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, bytes_max: most });
        }
        let counters = &self.host.counters;
        if !self.fits(bytes) {
            Counters::add(&counters.busy, 1);
            return Err(AppendError::Busy);
        }
        if self.disk.segments.borrow().room() < bytes {
            self.roll()?;
        }
        let mut segments = self.disk.segments.borrow_mut();
        let base = segments.end();
        let (segment, at) = (segments.active().base(), segments.active().bytes());
        let mapping = segments.active().handle.mapping.clone().expect("the active segment is mapped");
        for batch in batches {
            let offset = segments.end();
            let bytes = batch.stored_bytes();
            let entry = log_format::place_entry(batch, offset, self.disk.epoch);
            mapping.append_with(bytes as usize, |place| entry.copy_to(place));
            segments.append(batch.records(), bytes);
        }
        let end = segments.end();
        drop(segments);
        self.disk.wrote(segment, at..at + bytes);
        Counters::add(&counters.appended_batches, batches.len() as u64);
        for count in [&counters.appended_bytes, &counters.copied_bytes, &counters.written_bytes] {
            Counters::add(count, bytes);
        }
        Ok(Appended { base, end, segment })
    }

    /// Goes on in the next segment. What is in the one before is placed already: it can be sealed.
    fn roll(&self) -> Result<(), AppendError> {
        self.disk.roll()?;
        let end = self.disk.segments.borrow().end();
        self.disk.seal_finished(end);
        self.forget_old();
        Ok(())
    }

    /// Old segments leave the address space and the page cache, which they would fill: what reads them goes by the ring. Those that are not
    /// durable stay: their pages are dirty, and giving those up would have the kernel write them back at once.
    fn forget_old(&self) {
        let config = &self.host.config;
        let kept = usize::try_from(config.tail_cache_bytes / config.segment_bytes).unwrap_or(usize::MAX).max(1);
        let mut segments = self.disk.segments.borrow_mut();
        let durable = self.disk.durable();
        // One more: it may be the one that a trim gives up after this roll, and then the next segment is made of it with its pages.
        let young = |place: usize| place <= kept + 1;
        let old: Vec<Offset> = segments
            .iter()
            .rev()
            .enumerate()
            .skip_while(|(place, _)| young(*place))
            .filter(|(_, segment)| segment.end() <= durable && segment.handle.mapping.is_some())
            .map(|(_, segment)| segment.base())
            .collect();
        for base in old {
            if let Some(forget) = segments.get_mut(base).and_then(|segment| segment.handle.forget()) {
                self.host.detached(forget);
            }
        }
    }

    fn largest_append(&self) -> u64 {
        let config = &self.host.config;
        if config.durable { config.segment_bytes.min(config.inflight_bytes_max) } else { config.segment_bytes }
    }

    fn fits(&self, bytes: u64) -> bool {
        self.disk.tail_fits(bytes) && self.host.pace.has_room()
    }

    pub(crate) async fn room(&self, bytes: u64) {
        // More can never be appended at once.
        let bytes = bytes.min(self.largest_append());
        self.host.pace.room().await;
        let ready = || {
            let ready = self.disk.tail_fits(bytes) || self.disk.poison.is_set();
            // A caller that never commits durably would wait for ever: the bound is of what is not durable.
            if !ready && !self.disk.is_flushing() {
                self.disk.flush(self.disk.mark());
            }
            ready
        };
        self.host.turns.wait(&self.host.progress, ready).await;
        self.disk.next_segment(bytes).await;
    }

    pub(crate) fn marks(&self) -> Marks {
        let end = self.disk.segments.borrow().end();
        self.disk.marks(end)
    }
}

/// Brings what was appended to `logs` to `level`. All flushes are submitted before the first wait; they run on when the future is
/// dropped.
pub(crate) async fn commit(logs: &[Rc<Log>], level: Level) -> Result<(), CommitError> {
    // What has been copied into the mapping is placed: a killed process does not lose it.
    let submit = |log: &Rc<Log>| {
        let mark = log.disk.mark();
        if level == Level::Durable {
            log.disk.flush(mark);
        }
        mark.offset()
    };
    let targets: Vec<Offset> = logs.iter().map(submit).collect();
    for (log, target) in logs.iter().zip(targets) {
        log.disk.reach(level, target).await?;
    }
    Ok(())
}
