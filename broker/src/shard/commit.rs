//! Group commit: who commits what, and when. A flush group is what one flush makes durable together; each has as many
//! committers as commits may run at once, and a committer takes whatever was appended since the last one took.

use super::{
    Core, Partition, Phase,
    gather::{Gather, IDLE_TURNS_MAX},
};
use crate::{CommitPolicy, Durability, stages::timed};
use futures_lite::future::{block_on, or, poll_once};
use log_api::{Capabilities, FlushGroup, Level, LogEngine, LogId, Offset, Stage};
use shard_ring::{Event, sleep, yield_now};
use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

/// Of more partitions the answers are given while the device works for the next commit, if there is one: each meets memory that no cache holds.
const ANSWERED_FIRST_MAX: usize = 32;

pub(crate) struct Group {
    pub(super) id: FlushGroup,
    /// Its partitions, by index on the shard.
    members: Vec<usize>,
    /// The log that they share, for readers who follow all of them; none where each has its own.
    whole: Option<Partition>,
    /// Members that were appended to since the last commit was submitted.
    dirty: RefCell<Vec<usize>>,
    /// Messages in them.
    messages: Cell<u64>,
    /// When the first of them was appended; kept only for a policy that needs it.
    first: Cell<Option<Instant>>,
    /// Commits running.
    running: Cell<u32>,
    /// Appended to since the last durable commit of the interval.
    unsynced: Cell<bool>,
    failed: Cell<bool>,
    gather: Gather,
    /// Committers that have nothing to do, and how to wake each.
    idle: RefCell<Vec<usize>>,
    bells: Vec<Event>,
    /// Ends a linger: the engine has no room for more.
    hurry: Event,
    /// Notified when a commit has ended.
    ended: Event,
}

impl Group {
    pub(super) fn new(id: FlushGroup, policy: CommitPolicy, engine: &Capabilities) -> Self {
        let committers = match policy {
            CommitPolicy::Inflight(n) => engine.commits_in_flight(n),
            CommitPolicy::Linger(_) | CommitPolicy::Each => 1,
        };
        Self {
            id,
            members: Vec::new(),
            whole: None,
            dirty: RefCell::new(Vec::new()),
            messages: Cell::new(0),
            first: Cell::new(None),
            running: Cell::new(0),
            unsynced: Cell::new(false),
            failed: Cell::new(false),
            gather: Gather::default(),
            idle: RefCell::new(Vec::with_capacity(committers as usize)),
            bells: (0..committers).map(|_| Event::new()).collect(),
            hurry: Event::new(),
            ended: Event::new(),
        }
    }

    /// Commits that may run at once.
    pub(super) fn committers(&self) -> usize {
        self.bells.len()
    }

    pub(super) fn add(&mut self, partition: usize) {
        self.members.push(partition);
        self.dirty.get_mut().reserve(self.members.len());
    }

    /// The partitions of this group, the shard's `index`-th, share a log of `engine`, which is named by the group.
    pub(super) fn shares<E: LogEngine>(&mut self, index: usize, engine: &E) {
        let whole = LogId(self.id.0).whole();
        self.whole = Some(Partition::new(whole.0, whole, index, engine.marks(whole).end));
    }

    /// The log that its partitions share.
    pub(crate) fn whole(&self) -> Option<&Partition> {
        self.whole.as_ref()
    }

    /// Partitions in it, by index on the shard.
    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// Nothing is appended and not committed, and no commit runs.
    pub(super) fn is_clean(&self) -> bool {
        self.running.get() == 0 && self.dirty.borrow().is_empty()
    }

    pub(super) fn ended(&self) -> &Event {
        &self.ended
    }

    pub(super) fn hurry(&self) {
        self.hurry.notify_all();
    }

    pub(super) fn wake_all(&self) {
        self.bells.iter().for_each(Event::notify_all);
        self.hurry();
    }
}

impl<E: LogEngine> Core<E> {
    /// What producers wait for.
    pub(super) fn level(&self) -> Level {
        match self.config.durability {
            Durability::Durable => Level::Durable,
            Durability::Interval(_) | Durability::None => Level::Placed,
        }
    }

    /// `partition` was appended to: its group has something to commit.
    pub(super) fn dirtied(&self, partition: usize, messages: u64) {
        let member = &self.partitions[partition];
        let group = &self.groups[member.group];
        group.messages.set(group.messages.get() + messages);
        if !group.unsynced.replace(true) && matches!(self.config.durability, Durability::Interval(_)) {
            self.unsynced.notify_all();
        }
        if member.listed.replace(true) {
            return;
        }
        let first = {
            let mut dirty = group.dirty.borrow_mut();
            dirty.push(partition);
            dirty.len() == 1
        };
        if !first {
            return;
        }
        if matches!(self.config.commit, CommitPolicy::Linger(_)) {
            group.first.set(Some(Instant::now()));
        }
        if let Some(committer) = group.idle.borrow_mut().pop() {
            group.bells[committer].notify_all();
        }
    }

    /// One committer of a group, until the shard stops.
    pub(super) async fn committer(self: Rc<Self>, group: usize, committer: usize) {
        let this = &*self;
        let group = &this.groups[group];
        let mut taken = Vec::with_capacity(group.members.len());
        // What the last commit decided, as long as nobody has been told.
        let mut decided = Vec::with_capacity(group.members.len());
        loop {
            let bell = group.bells[committer].wait();
            if group.dirty.borrow().is_empty() {
                if this.phase.get() >= Phase::Consumers {
                    return;
                }
                group.idle.borrow_mut().push(committer);
                bell.await;
                group.idle.borrow_mut().retain(|idle| *idle != committer);
                continue;
            }
            if let CommitPolicy::Linger(linger) = this.config.commit {
                this.linger(group, linger).await;
            }
            let messages = this.submit(group, &mut taken);
            let begun = Instant::now();
            this.commit(group, &mut decided).await;
            let took = begun.elapsed();
            group.running.set(group.running.get() - 1);
            std::mem::swap(&mut taken, &mut decided);

            let gathers = this.gathers() && group.gather.tries();
            if gathers || !this.goes_on(group) || decided.len() <= ANSWERED_FIRST_MAX {
                this.committed(group, &mut decided);
            }
            if gathers {
                this.gather(group, messages, took).await;
            }
        }
    }

    /// Commits may wait for those whom the last one answered. Not where several may run: others of them wait for what comes.
    fn gathers(&self) -> bool {
        let alone = self.config.commit == CommitPolicy::Inflight(1);
        alone && self.config.durability == Durability::Durable && !self.config.gather_max.is_zero()
    }

    /// The next commit waits for nothing.
    fn goes_on(&self, group: &Group) -> bool {
        let at_once = matches!(self.config.commit, CommitPolicy::Inflight(_));
        at_once
            && !group.failed.get()
            && self.config.durability == Durability::Durable
            && !group.dirty.borrow().is_empty()
    }

    /// Waits until the first append is `linger` old; shorter when the engine has no room for more or the shard stops.
    async fn linger(&self, group: &Group, linger: Duration) {
        let hurry = group.hurry.wait();
        let age = group.first.get().map_or(linger, |first| first.elapsed());
        if age < linger && self.phase.get() == Phase::Running {
            or(sleep(linger - age), hurry).await;
        }
    }

    /// A commit that took so long has answered so many messages: waits while as many are on their way here again.
    async fn gather(&self, group: &Group, answered: u64, commit: Duration) {
        let had = group.messages.get();
        let (mut has, mut idle_turns) = (had, 0);
        let begun = Instant::now();
        self.gathering.set(self.gathering.get() + 1);
        self.gathers.notify_all();
        while has - had < answered
            && idle_turns < IDLE_TURNS_MAX
            && begun.elapsed() < self.config.gather_max
            && self.phase.get() == Phase::Running
        {
            yield_now().await;
            idle_turns = if group.messages.get() > has { 0 } else { idle_turns + 1 };
            has = group.messages.get();
        }
        self.gathering.set(self.gathering.get() - 1);
        group.gather.learn(answered, has - had, commit, begun.elapsed());
    }

    /// Takes the list of what is to be committed, and how far each partition has come: what is appended from now on is the next commit's.
    /// Returns how many messages that are.
    fn submit(&self, group: &Group, taken: &mut Vec<(usize, Offset)>) -> u64 {
        debug_assert!(taken.is_empty(), "the last commit's list was used up");
        for member in group.dirty.borrow_mut().drain(..) {
            let partition = &self.partitions[member];
            partition.listed.set(false);
            partition.submitted.set(partition.end.get());
            taken.push((member, partition.end.get()));
        }
        if let Some(whole) = &group.whole {
            whole.submitted.set(self.engine.marks(whole.log).end);
        }
        group.first.set(None);
        group.running.set(group.running.get() + 1);
        let messages = group.messages.take();
        self.counts.commits.set(self.counts.commits.get() + 1);
        self.counts.commit_messages.set(self.counts.commit_messages.get() + messages);
        self.counts.commit_messages_max.set(self.counts.commit_messages_max.get().max(messages));
        messages
    }

    /// Commits, and while the device works answers what the commit before `decided`, if that is left.
    async fn commit(&self, group: &Group, decided: &mut Vec<(usize, Offset)>) {
        let groups = [group.id];
        let mut commit = pin!(timed(self.stages(), Stage::Commit, self.engine.commit(&groups, self.level())));
        let mut outcome = None;
        if !decided.is_empty() {
            outcome = poll_once(commit.as_mut()).await;
            self.ring.submit();
            self.committed(group, decided);
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => commit.await,
        };
        match outcome {
            Ok(()) => {
                self.live.commits.add(1);
                self.has_room();
            }
            Err(error) => {
                self.fail(error.to_string());
                group.failed.set(true);
            }
        }
    }

    /// A commit has ended: answers what it decided. One that succeeded covers all that was appended before it was asked for, so nobody has to
    /// look up where each of ten thousand partitions stands.
    fn committed(&self, group: &Group, taken: &mut Vec<(usize, Offset)>) {
        if group.failed.get() {
            taken.clear();
            // An earlier commit may still come through, and its messages be kept.
            if group.running.get() == 0 {
                self.poison(group);
            }
        } else {
            self.stages().time(Stage::Acknowledge, || {
                taken.drain(..).for_each(|(member, end)| self.settle_at(&self.partitions[member], end));
                self.settle_whole(group);
            });
        }
        group.ended.notify_all();
        self.ended.notify_all();
    }

    /// A group's log is poisoned and none of its commits runs: answers everything that waits, and what will come.
    pub(super) fn poison(&self, group: &Group) {
        group.failed.set(true);
        for &member in &group.members {
            self.partitions[member].poisoned.set(true);
            self.settle(&self.partitions[member]);
        }
        self.settle_whole(group);
    }

    /// Lets those who read all of a group come up to its mark.
    fn settle_whole(&self, group: &Group) {
        if let Some(whole) = &group.whole {
            self.settle(whole);
        }
    }

    /// A log refused an append as poisoned. Where a commit runs or is due, its end answers; else this does.
    pub(super) fn append_poisoned(&self, partition: usize) {
        let group = &self.groups[self.partitions[partition].group];
        let log = self.partitions[partition].log;
        // A commit of a poisoned log says at once what the first failure was.
        let groups = [group.id];
        let refused = block_on(poll_once(self.engine.commit(&groups, Level::Placed)));
        let why = refused.and_then(Result::err).map_or_else(String::new, |error| format!(": {error}"));
        self.fail(format!("{log} takes no appends any more{why}"));
        if group.is_clean() {
            self.poison(group);
        }
    }

    /// Makes durable, each time an interval has passed, what was appended meanwhile. No timer runs while nothing is.
    pub(super) async fn interval(self: Rc<Self>, interval: Duration) {
        let this = &*self;
        let mut groups = Vec::with_capacity(this.groups.len());
        loop {
            let unsynced = this.unsynced.wait();
            if this.phase.get() >= Phase::Consumers {
                return;
            }
            if !this.groups.iter().any(|group| group.unsynced.get()) {
                or(unsynced, this.until(Phase::Consumers)).await;
                continue;
            }
            or(sleep(interval), this.until(Phase::Consumers)).await;
            groups.clear();
            groups.extend(this.groups.iter().filter(|group| group.unsynced.take()).map(|group| group.id));
            this.counts.interval_commits.set(this.counts.interval_commits.get() + 1);
            match this.engine.commit(&groups, Level::Durable).await {
                Ok(()) => this.has_room(),
                Err(error) => {
                    // The engine poisons the logs that failed; their next append or commit says so.
                    this.fail(error.to_string());
                    for group in this.groups.iter().filter(|group| groups.contains(&group.id) && group.is_clean()) {
                        this.poison(group);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_memory::Memory;

    #[test]
    fn a_group_has_as_many_committers_as_its_engine_needs_to_keep_so_many_commits_on_the_device() {
        let committers = |policy, last_page_follows| {
            let engine = Capabilities { last_page_follows, ..Memory::CAPABILITIES };
            Group::new(FlushGroup(0), policy, &engine).committers()
        };
        assert_eq!([false, true].map(|follows| committers(CommitPolicy::Inflight(3), follows)), [3, 4]);
        for policy in [CommitPolicy::Inflight(1), CommitPolicy::Each, CommitPolicy::Linger(Duration::ZERO)] {
            assert_eq!(committers(policy, true), 1, "{policy}");
        }
    }
}
