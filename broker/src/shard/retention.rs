//! Retention: how much of a log stays. The engine knows no sizes by offset, so the shard notes, every now and then, which
//! offset was appended at which byte, and gives up what lies further back than it should keep. Bytes are those of the flush group: where
//! partitions share a log, a quiet one must not hold back what all the others wrote after it.

use super::{Core, Group, Partition, Phase};
use futures_lite::future::or;
use log_api::{LogEngine, Marks, Offset};
use shard_ring::{sleep, yield_now};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

/// Notes of a log: enough for this part of its retention each.
const NOTES_PER_RETENTION: u64 = 64;

/// But no more for each of its segments: an engine gives up whole ones. Of many partitions that share a log each note of each is memory that
/// no cache holds, and each time that a trim is wanted all of them are looked at.
const NOTES_PER_SEGMENT: u64 = 4;

/// How often an engine is asked once more to give up what it could not yet: without flushes that is durable a second later, and a flush, with all
/// that stands before it.
const ASK_AGAIN_MAX: u32 = 50;
/// How long after the last time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Partitions that are looked at before others on the shard have their turn.
const TRIMS_IN_A_ROW_MAX: usize = 64;

/// The same for a look whether somebody reads them.
const LOOKS_IN_A_ROW_MAX: usize = 1024;

/// Notes of one partition. Past it every other one is forgotten: a cut is then further from what was asked for.
const NOTES_MAX: usize = 16 << 10;

/// Bytes of one flush group.
#[derive(Default)]
pub(super) struct Written {
    /// From the start of its log, as the shard first saw it, to its end.
    bytes: Cell<u64>,
    /// The same when a trim was last wanted.
    noted: Cell<u64>,
    /// Where its partitions share a log: notes of that, whose offsets are its own bytes.
    whole: RefCell<Kept>,
}

impl Written {
    /// A group that holds `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes: Cell::new(bytes), noted: Cell::new(bytes), whole: RefCell::default() }
    }

    /// Its partitions share a log that stands there.
    pub(super) fn shares(&mut self, Marks { start, end, .. }: Marks) {
        *self.whole.get_mut() = Kept::new(start, end, self.bytes.get());
    }
}

/// What a partition remembers for retention.
#[derive(Default)]
pub(super) struct Kept {
    /// Offsets and the group's bytes before each, oldest first; the first is the log's start.
    notes: VecDeque<(Offset, u64)>,
    /// The partition's end, and the group's bytes then.
    last: (Offset, u64),
    /// The bytes of the last note: those lie elsewhere.
    noted: u64,
}

impl Kept {
    /// A log that starts at `start`, and holds `bytes` up to `end`.
    pub(super) fn new(start: Offset, end: Offset, bytes: u64) -> Self {
        let mut notes = VecDeque::from([(start, 0)]);
        if end > start {
            notes.push_back((end, bytes));
        }
        let noted = notes.back().map_or(0, |note| note.1);
        Self { notes, last: (end, bytes), noted }
    }

    /// `end` is the partition's end now, and `bytes` are those of the group.
    fn appended(&mut self, end: Offset, bytes: u64, every: u64) {
        self.last = (end, bytes);
        if bytes - self.noted >= every {
            if self.notes.len() >= NOTES_MAX {
                let mut nth = 0;
                self.notes.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
            }
            self.notes.push_back((end, bytes));
            self.noted = bytes;
        }
    }

    /// Bytes from the partition's start to the end of its group, which holds `bytes`.
    fn kept(&self, bytes: u64) -> u64 {
        bytes - self.notes.front().map_or(0, |note| note.1)
    }

    /// The furthest offset behind which at least `keep` bytes lie.
    fn cut(&self, bytes: u64, keep: u64) -> Option<Offset> {
        let mut notes = [self.last].into_iter().chain(self.notes.iter().rev().copied());
        notes.find(|note| bytes - note.1 >= keep).map(|note| note.0)
    }

    /// The log starts at `start` now: how much further that is than it did.
    fn trimmed(&mut self, start: Offset) -> u64 {
        let was = self.notes.front().map_or(start, |first| first.0);
        while self.notes.len() > 1 && self.notes[1].0 <= start {
            self.notes.pop_front();
        }
        if let Some(first) = self.notes.front_mut() {
            // Between two notes: the older one's bytes are an upper bound of what is gone, never more than one note's worth off.
            first.0 = first.0.max(start);
        }
        start.0.saturating_sub(was.0)
    }

    /// Before which offset the log is to be given up: it keeps `retention` bytes, but not without need what `slowest` has not
    /// read, as long as it holds less than twice that. Who reads all of the group is `behind` by so many bytes.
    fn before(&self, bytes: u64, retention: u64, slowest: Option<Offset>, behind: u64) -> Option<Offset> {
        let forced = retention.saturating_mul(2);
        let retention = retention.max(behind.min(forced));
        let (start, end) = (self.notes.front().map_or(self.last.0, |note| note.0), self.last.0);
        if start == end || self.kept(bytes) <= retention {
            return None;
        }
        let wanted = self.cut(bytes, retention)?;
        let Some(slowest) = slowest.filter(|slowest| *slowest < wanted) else { return Some(wanted) };
        let forced = self.cut(bytes, forced).unwrap_or_default();
        Some(slowest.max(forced))
    }
}

impl<E: LogEngine> Core<E> {
    /// `bytes` were appended to a partition.
    #[inline]
    pub(super) fn retention_appended(&self, partition: usize, bytes: u64) {
        let Some(retention) = self.config.retention_bytes else { return };
        let (end, group) = (self.partitions[partition].end.get(), self.partitions[partition].group);
        let written = &self.written[group];
        let now = written.bytes.get() + bytes;
        written.bytes.set(now);
        let part = self.retention_of(group, retention) / NOTES_PER_RETENTION;
        let every = part.max(self.config.segment_bytes / NOTES_PER_SEGMENT).max(1);
        self.kept[partition].borrow_mut().appended(end, now, every);
        if now - written.noted.get() >= every {
            written.noted.set(now);
            if let Some(whole) = self.groups[group].whole() {
                written.whole.borrow_mut().appended(self.engine.marks(whole.log).end, now, every);
            }
            if !self.trim_due.replace(true) {
                self.trim_wanted.notify_all();
            }
        }
    }

    /// Bytes that the log of a flush group keeps, where each of its partitions keeps `retention`.
    fn retention_of(&self, group: usize, retention: u64) -> u64 {
        retention.saturating_mul(self.groups[group].members().len() as u64)
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
            for (index, group) in this.groups.iter().enumerate() {
                asked |= match group.whole() {
                    // Then all of its partitions may be cut at the same place, and one question does for ten thousand.
                    Some(whole) if !this.is_read(group).await => this.trim_whole(index, whole, retention).await,
                    _ => this.trim_each(index, retention).await,
                };
            }
            if !asked {
                again = 0;
            }
        }
    }

    /// Somebody reads a single partition of the group.
    async fn is_read(&self, group: &Group) -> bool {
        for some in group.members().chunks(LOOKS_IN_A_ROW_MAX) {
            if some.iter().any(|&member| self.partitions[member].slowest().is_some()) {
                return true;
            }
            yield_now().await;
        }
        false
    }

    /// [`Self::trim`] for each partition of the `index`-th group.
    async fn trim_each(&self, index: usize, retention: u64) -> bool {
        let (group, mut asked) = (&self.groups[index], false);
        for (nth, &member) in group.members().iter().enumerate() {
            asked |= self.trim(member, retention).await;
            if nth % TRIMS_IN_A_ROW_MAX == TRIMS_IN_A_ROW_MAX - 1 {
                yield_now().await;
            }
        }
        if let Some(whole) = group.whole() {
            self.written[index].whole.borrow_mut().trimmed(self.engine.marks(whole.log).start);
        }
        asked
    }

    /// As [`Self::trim`], for all partitions of the `index`-th group.
    async fn trim_whole(&self, index: usize, whole: &Partition, retention: u64) -> bool {
        let (group, written) = (&self.groups[index], &self.written[index]);
        let retention = self.retention_of(index, retention);
        let wanted = written.whole.borrow().before(written.bytes.get(), retention, whole.slowest(), 0);
        let Some(before) = wanted.map(|before| before.min(whole.commit_point())) else { return false };
        let was = self.engine.marks(whole.log).start;
        match self.engine.trim(whole.log, before).await {
            Ok(start) if start > was => {
                written.whole.borrow_mut().trimmed(start);
                self.counts.trims.set(self.counts.trims.get() + 1);
                for (nth, &member) in group.members().iter().enumerate() {
                    self.trimmed(member, self.engine.marks(self.partitions[member].log).start);
                    if nth % TRIMS_IN_A_ROW_MAX == TRIMS_IN_A_ROW_MAX - 1 {
                        yield_now().await;
                    }
                }
            }
            Ok(_) => {}
            Err(error) => self.note_failure(error.to_string()),
        }
        true
    }

    /// A partition starts at `start` now.
    fn trimmed(&self, partition: usize, start: Offset) {
        let given_up = self.kept[partition].borrow_mut().trimmed(start);
        self.live.trimmed_messages.add(given_up);
    }

    /// Asks the engine to give up what a log need not keep; whether there was something to ask for.
    async fn trim(&self, index: usize, retention: u64) -> bool {
        let partition = &self.partitions[index];
        let slowest = partition.slowest();
        let bytes = self.written[partition.group].bytes.get();
        let retention = self.retention_of(partition.group, retention);
        let whole = self.groups[partition.group].whole();
        let behind =
            whole.and_then(|whole| Some(self.engine.marks(whole.log).end.0.saturating_sub(whole.slowest()?.0)));
        let behind = behind.unwrap_or(0);
        let wanted = self.kept[index].borrow().before(bytes, retention, slowest, behind);
        let was = self.engine.marks(partition.log).start;
        // Who reads all of the group has fallen behind meanwhile: what could not be given up so far is wanted again.
        let taken_back = (behind > retention).then_some(was);
        let Some(before) = wanted.map(|before| before.min(partition.commit_point())).or(taken_back) else {
            return false;
        };
        match self.engine.trim(partition.log, before).await {
            Ok(start) if start > was => {
                self.counts.trims.set(self.counts.trims.get() + 1);
                self.trimmed(index, start);
            }
            Ok(_) => {}
            Err(error) => self.note_failure(error.to_string()),
        }
        wanted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of 100 records of 10 bytes, noted at each tenth.
    fn hundred() -> Kept {
        let mut kept = Kept::new(Offset(0), Offset(0), 0);
        (1..=100).for_each(|n| kept.appended(Offset(n), 10 * n, 100));
        kept
    }

    #[test]
    fn at_least_the_retention_is_kept() {
        assert_eq!(hundred().before(1000, 1000, None, 0), None);
        assert_eq!(hundred().before(1000, 999, None, 0), Some(Offset(0)));
        assert_eq!(hundred().before(1000, 900, None, 0), Some(Offset(10)));
        assert_eq!(hundred().before(1000, 250, None, 0), Some(Offset(70)));
    }

    #[test]
    fn a_reader_behind_is_waited_for_up_to_twice_the_retention() {
        assert_eq!(hundred().before(1000, 600, Some(Offset(25)), 0), Some(Offset(25)));
        assert_eq!(hundred().before(1000, 600, Some(Offset(90)), 0), Some(Offset(40)));
        assert_eq!(
            hundred().before(1000, 300, Some(Offset(25)), 0),
            Some(Offset(40)),
            "600 bytes are kept, whoever reads"
        );
    }

    #[test]
    fn a_reader_of_the_whole_group_is_waited_for_up_to_twice_the_retention() {
        assert_eq!(hundred().before(1000, 300, None, 200), Some(Offset(70)), "it needs less than is kept anyway");
        assert_eq!(hundred().before(1000, 300, None, 500), Some(Offset(50)));
        assert_eq!(hundred().before(1000, 300, None, 900), Some(Offset(40)));
        assert_eq!(hundred().before(1000, 300, Some(Offset(25)), 900), Some(Offset(40)), "the two do not add up");
    }

    #[test]
    fn what_was_trimmed_no_longer_counts() {
        let mut kept = hundred();
        kept.trimmed(Offset(40));
        assert_eq!(kept.kept(1000), 600);
        assert_eq!(kept.before(1000, 600, None, 0), None);
        kept.trimmed(Offset(55));
        assert_eq!(kept.kept(1000), 500);
        assert_eq!(kept.notes.front(), Some(&(Offset(55), 500)));
    }

    #[test]
    fn what_was_found_at_the_start_counts() {
        let mut kept = Kept::new(Offset(5), Offset(105), 1000);
        assert_eq!(kept.before(1000, 100, None, 0), Some(Offset(5)));
        kept.appended(Offset(115), 1100, 100);
        assert_eq!(kept.before(1100, 100, None, 0), Some(Offset(105)));
    }

    #[test]
    fn a_quiet_partition_goes_when_the_others_of_its_group_have_written_enough() {
        let mut kept = Kept::new(Offset(0), Offset(0), 0);
        assert_eq!(kept.before(5000, 100, None, 0), None, "there is nothing of it");
        kept.appended(Offset(3), 30, 100);
        assert_eq!(kept.before(129, 100, None, 0), Some(Offset(0)));
        assert_eq!(kept.before(130, 100, None, 0), Some(Offset(3)), "100 bytes of others lie behind its last");
    }
}
