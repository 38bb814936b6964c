//! Retention: how much of a log stays. The engine knows no sizes by offset, so the shard notes, every now and then, which
//! offset was appended at which byte, and gives up what lies further back than it should keep.

use super::{Core, Phase};
use futures_lite::future::or;
use log_api::{LogEngine, Offset};
use shard_ring::sleep;
use std::{collections::VecDeque, rc::Rc, time::Duration};

/// Notes of a log: enough for this part of its retention each.
const NOTES_PER_RETENTION: u64 = 64;

/// How often an engine is asked once more to give up what it could not yet.
const ASK_AGAIN_MAX: u32 = 10;
/// How long after the last time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Notes of one log. Past it every other one is forgotten: a cut is then further from what was asked for.
const NOTES_MAX: usize = 16 << 10;

/// What a partition remembers for retention.
#[derive(Default)]
pub(super) struct Kept {
    /// Bytes from the log's start as the shard first saw it to its end.
    bytes: u64,
    /// Offsets and the bytes before each, oldest first; the first is the log's start.
    notes: VecDeque<(Offset, u64)>,
}

impl Kept {
    /// A log that starts at `start`, and holds `bytes` up to `end`.
    pub(super) fn new(start: Offset, end: Offset, bytes: u64) -> Self {
        let mut notes = VecDeque::from([(start, 0)]);
        if end > start {
            notes.push_back((end, bytes));
        }
        Self { bytes, notes }
    }

    /// `bytes` more were appended, and `end` is the log's end now. Says whether a note was taken.
    fn appended(&mut self, end: Offset, bytes: u64, every: u64) -> bool {
        self.bytes += bytes;
        let noted = self.notes.back().map_or(0, |note| note.1);
        let due = self.bytes - noted >= every;
        if due {
            if self.notes.len() >= NOTES_MAX {
                let mut nth = 0;
                self.notes.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
            }
            self.notes.push_back((end, self.bytes));
        }
        due
    }

    /// Bytes from the log's start.
    fn kept(&self) -> u64 {
        self.bytes - self.notes.front().map_or(0, |note| note.1)
    }

    /// The furthest offset behind which at least `keep` bytes lie.
    fn cut(&self, keep: u64) -> Option<Offset> {
        self.notes.iter().rev().find(|note| self.bytes - note.1 >= keep).map(|note| note.0)
    }

    /// The log starts at `start` now.
    fn trimmed(&mut self, start: Offset) {
        while self.notes.len() > 1 && self.notes[1].0 <= start {
            self.notes.pop_front();
        }
        if let Some(first) = self.notes.front_mut() {
            // Between two notes: the older one's bytes are an upper bound of what is gone, never more than one note's worth off.
            first.0 = first.0.max(start);
        }
    }

    /// Before which offset the log is to be given up: it keeps `retention` bytes, but not without need what `slowest` has not
    /// read, as long as it holds less than twice that.
    fn before(&self, retention: u64, slowest: Option<Offset>) -> Option<Offset> {
        if self.kept() <= retention {
            return None;
        }
        let wanted = self.cut(retention)?;
        let Some(slowest) = slowest.filter(|slowest| *slowest < wanted) else { return Some(wanted) };
        let forced = self.cut(retention.saturating_mul(2)).unwrap_or_default();
        Some(slowest.max(forced))
    }
}

impl<E: LogEngine> Core<E> {
    /// `bytes` were appended to a partition.
    #[inline]
    pub(super) fn retention_appended(&self, partition: usize, bytes: u64) {
        let Some(retention) = self.config.retention_bytes else { return };
        let end = self.partitions[partition].end.get();
        let every = (retention / NOTES_PER_RETENTION).max(1);
        if self.kept[partition].borrow_mut().appended(end, bytes, every) && !self.trim_due.replace(true) {
            self.trim_wanted.notify_all();
        }
    }

    /// Trims logs until the shard stops. An engine gives up only what is finished and what nobody is being sent, so after a pass that had
    /// something to ask for it is asked a few times more, also when nothing is appended any more.
    pub(super) async fn retain(self: Rc<Self>, retention: u64) {
        let this = &*self;
        let mut again = 0;
        loop {
            let wanted = this.trim_wanted.wait();
            let due = this.trim_due.take();
            // What is due is done before the shard stops.
            if !due && this.phase.get() >= Phase::Consumers {
                return;
            }
            if due {
                again = ASK_AGAIN_MAX;
            } else if again == 0 {
                wanted.await;
                continue;
            } else {
                again -= 1;
                or(wanted, sleep(ASK_AGAIN_AFTER)).await;
                if this.trim_due.get() {
                    continue;
                }
            }
            let mut asked = false;
            for index in 0..this.partitions.len() {
                asked |= this.trim(index, retention).await;
            }
            if !asked {
                again = 0;
            }
        }
    }

    /// Asks the engine to give up what a log need not keep; whether there was something to ask for.
    async fn trim(&self, index: usize, retention: u64) -> bool {
        let partition = &self.partitions[index];
        let slowest = partition.slowest();
        let before = self.kept[index].borrow().before(retention, slowest);
        let Some(before) = before.map(|before| before.min(partition.commit_point())) else { return false };
        let was = self.engine.marks(partition.log).start;
        match self.engine.trim(partition.log, before).await {
            Ok(start) if start > was => {
                self.kept[index].borrow_mut().trimmed(start);
                self.counts.trims.set(self.counts.trims.get() + 1);
                self.live.trimmed_messages.add(start.0 - was.0);
            }
            Ok(_) => {}
            Err(error) => self.note_failure(error.to_string()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of 100 records of 10 bytes, noted at each tenth.
    fn hundred() -> Kept {
        let mut kept = Kept::new(Offset(0), Offset(0), 0);
        (1..=100).for_each(|n| {
            kept.appended(Offset(n), 10, 100);
        });
        kept
    }

    #[test]
    fn at_least_the_retention_is_kept() {
        assert_eq!(hundred().before(1000, None), None);
        assert_eq!(hundred().before(999, None), Some(Offset(0)));
        assert_eq!(hundred().before(900, None), Some(Offset(10)));
        assert_eq!(hundred().before(250, None), Some(Offset(70)));
    }

    #[test]
    fn a_reader_behind_is_waited_for_up_to_twice_the_retention() {
        assert_eq!(hundred().before(600, Some(Offset(25))), Some(Offset(25)));
        assert_eq!(hundred().before(600, Some(Offset(90))), Some(Offset(40)));
        assert_eq!(hundred().before(300, Some(Offset(25))), Some(Offset(40)), "600 bytes are kept, whoever reads");
    }

    #[test]
    fn what_was_trimmed_no_longer_counts() {
        let mut kept = hundred();
        kept.trimmed(Offset(40));
        assert_eq!(kept.kept(), 600);
        assert_eq!(kept.before(600, None), None);
        kept.trimmed(Offset(55));
        assert_eq!(kept.kept(), 500);
        assert_eq!(kept.notes.front(), Some(&(Offset(55), 500)));
    }

    #[test]
    fn what_was_found_at_the_start_counts() {
        let mut kept = Kept::new(Offset(5), Offset(105), 1000);
        assert_eq!(kept.before(100, None), Some(Offset(5)));
        kept.appended(Offset(115), 100, 100);
        assert_eq!(kept.before(100, None), Some(Offset(105)));
    }
}
