//! A shard: partitions of one engine on one core. It takes batches from its [intake](crate::intake), appends them, commits them in groups,
//! acknowledges what its commit point has passed, and gives its consumers the log up to there.
//!
//! Tasks of a shard: one takes batches in (`take`), one for each commit that may run at once in each flush group (`commit`), one
//! makes durable what an interval gathered, one trims (`retention`), one accepts consumers, and one serves each of them
//! ([`crate::consumer`]). They share the `Core` below by reference and never hold a borrow of it across a wait.
//!
//! What never lives here: a protocol, a schedule, how bytes are kept or sent.

mod commit;
mod gather;
mod partition;
mod retention;
mod take;

pub(crate) use partition::{Partition, Position};
pub(crate) use take::APPEND_BYTES_MAX;

use crate::{
    CommitPolicy, Durability, Layout, Outcome, ShardReport, ShardState, ShardStats, Stop,
    consumer::Consumers,
    intake::{AckSender, Producer, channel},
    live::Live,
    send::Sender,
};
use commit::Group;
use futures_lite::future::or;
use log_api::{LogEngine, LogId, Marks, Offset, OpenError, Recovery, SendPath, Stage, Stages};
use partition::Taken;
use retention::{Kept, Written};
use rustix::time::{ClockId, clock_gettime};
use shard_ring::{Event, Ring, sleep, spawn_local};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::TcpListener,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// How long a stopping shard waits for a full or busy engine, or for a producer that takes no acknowledgements, before it leaves
/// the rest in the intake.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What taking in a hundred messages of 1 KB costs: of more there are enough for a commit of their own meanwhile.
const GATHER_MAX: Duration = Duration::from_micros(50);

/// What a shard is told.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// When batches are acknowledged.
    pub durability: Durability,
    /// How appends are gathered.
    pub commit: CommitPolicy,
    /// Which partitions share a log.
    pub layout: Layout,
    /// How reads reach a socket; what the engine was told.
    pub send: SendPath,
    /// The partitions that live here, in ascending order. The log of partition `p` is `LogId(p)`.
    pub partitions: Vec<u32>,
    /// Bytes that each log keeps; `None`: everything.
    pub retention_bytes: Option<u64>,
    /// Bytes that an engine gives up at once: those of a segment; 0 where that is not known.
    pub segment_bytes: u64,
    /// Where the logs lie, to know how large they are when they are opened; `None`: they start empty.
    pub dir: Option<PathBuf>,
    /// How long to look for work before sleeping.
    pub intake_poll: Duration,
    /// How long a commit waits at most for messages of those whom the last one answered, with one in flight; zero: not at all. See
    /// [`CommitPolicy::Inflight`].
    pub gather_max: Duration,
    /// Connections at once.
    pub consumers_max: u32,
    /// Bytes of one read for a consumer.
    pub read_bytes_max: u64,
    /// Measure what each stage costs.
    pub stages: bool,
}

impl ShardConfig {
    /// These partitions, `durable`, `inflight:1`, `copy`, everything kept, no polling, 64 consumers, reads of 1 MiB.
    #[must_use]
    pub fn new(partitions: Vec<u32>) -> Self {
        Self {
            durability: Durability::Durable,
            commit: CommitPolicy::Inflight(1),
            layout: Layout::Partition,
            send: SendPath::Copy,
            partitions,
            retention_bytes: None,
            segment_bytes: 0,
            dir: None,
            intake_poll: Duration::ZERO,
            gather_max: GATHER_MAX,
            consumers_max: 64,
            read_bytes_max: 1 << 20,
            stages: false,
        }
    }
}

/// A log that partitions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLog {
    /// Under which a consumer follows [all](LogId::whole) of it.
    pub number: u32,
    /// How far it has come, in bytes.
    pub marks: Marks,
    /// The partitions in it.
    pub partitions: Vec<u32>,
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// What is in the intake is taken, and no more.
    Intake,
    /// Everything is committed; consumers receive the rest.
    Consumers,
    /// Whoever is still there goes.
    Kill,
}

/// Counts of a shard that nobody looks at while it runs.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: Cell<u64>,
    pub(crate) commit_messages: Cell<u64>,
    pub(crate) commit_messages_max: Cell<u64>,
    pub(crate) interval_commits: Cell<u64>,
    pub(crate) refused_batches: Cell<u64>,
    pub(crate) poisoned_batches: Cell<u64>,
    pub(crate) busy_waits: Cell<u64>,
    pub(crate) full_waits: Cell<u64>,
    pub(crate) ack_waits: Cell<u64>,
    pub(crate) left_batches: Cell<u64>,
    pub(crate) trims: Cell<u64>,
}

/// What the tasks of a shard share.
pub(crate) struct Core<E: LogEngine> {
    pub(crate) ring: Ring,
    pub(crate) engine: E,
    pub(crate) config: ShardConfig,
    pub(crate) partitions: Vec<Partition>,
    /// Index of a partition by its number; `u32::MAX`: not here.
    indices: Vec<u32>,
    groups: Vec<Group>,
    kept: Vec<RefCell<Kept>>,
    /// By flush group.
    written: Vec<Written>,
    acks: RefCell<AckSender>,
    pub(crate) live: Arc<Live>,
    counts: Counts,
    pub(crate) consumers: Consumers,
    pub(crate) sends: Sender,
    failure: RefCell<Option<String>>,
    pub(crate) phase: Cell<Phase>,
    phase_moved: Event,
    /// When stopping began, by the monotonic clock.
    stopping_since_ns: Cell<u64>,
    intake_ended: Cell<bool>,
    /// Notified when a commit, a consumer, the intake or any task has ended.
    pub(crate) ended: Event,
    tasks: Cell<usize>,
    unsynced: Event,
    /// Commits that wait for more to be taken in, and notified when one begins to.
    gathering: Cell<u32>,
    gathers: Event,
    trim_due: Cell<bool>,
    trim_wanted: Event,
}

/// CLOCK_MONOTONIC, nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl<E: LogEngine> Core<E> {
    /// What the shard's stages cost; the engine keeps its own in the same place.
    #[inline]
    pub(crate) fn stages(&self) -> &Stages {
        &self.engine.counters().stages
    }

    /// Index of a partition that lives here.
    #[inline]
    pub(crate) fn index(&self, partition: u32) -> Option<usize> {
        let index = *self.indices.get(partition as usize)?;
        (index != u32::MAX).then_some(index as usize)
    }

    /// What a consumer follows under this number: a partition, or all that a group of them shares.
    pub(crate) fn followed(&self, number: u32) -> Option<&Partition> {
        if LogId(number).of_whole().is_some() {
            return self.groups.iter().filter_map(Group::whole).find(|whole| whole.number == number);
        }
        self.index(number).map(|index| &self.partitions[index])
    }

    /// Waits until stopping has come so far.
    pub(crate) async fn until(&self, phase: Phase) {
        loop {
            let moved = self.phase_moved.wait();
            if self.phase.get() >= phase {
                return;
            }
            moved.await;
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.phase_moved.notify_all();
        self.groups.iter().for_each(Group::wake_all);
        self.unsynced.notify_all();
        self.trim_wanted.notify_all();
    }

    /// The shard stops, and has waited long enough.
    fn patience_is_over(&self) -> bool {
        let waited = now_ns() - self.stopping_since_ns.get();
        self.phase.get() >= Phase::Consumers
            || (self.phase.get() == Phase::Intake && waited >= STOP_PATIENCE.as_nanos() as u64)
    }

    /// Waits until [`Self::patience_is_over`].
    async fn out_of_patience(&self) {
        self.until(Phase::Intake).await;
        or(sleep(STOP_PATIENCE), self.until(Phase::Consumers)).await;
    }

    /// Starts a task that a stop waits for.
    pub(crate) fn start(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let core = self.clone();
        self.tasks.set(self.tasks.get() + 1);
        spawn_local(async move {
            task.await;
            core.tasks.set(core.tasks.get() - 1);
            core.ended.notify_all();
        });
    }

    fn set_state(&self, state: ShardState) {
        if self.live.state() != ShardState::Poisoned {
            self.live.set_state(state);
        }
    }

    /// An append or a commit has found room.
    #[inline]
    fn has_room(&self) {
        if self.live.state() == ShardState::Full {
            self.live.set_state(ShardState::Running);
        }
    }

    pub(crate) fn note_failure(&self, what: String) {
        self.failure.borrow_mut().get_or_insert(what);
    }

    /// The engine, or the shard itself, failed for good.
    #[cold]
    fn fail(&self, what: String) {
        self.note_failure(what);
        self.live.set_state(ShardState::Poisoned);
    }

    /// Answers what the marks of a partition decide, and moves its commit point.
    pub(crate) fn settle(&self, partition: &Partition) {
        let marks = self.engine.marks(partition.log);
        let mark = if self.config.durability == Durability::Durable { marks.durable } else { marks.placed };
        self.settle_at(partition, mark);
    }

    /// The same where the mark is known to stand at `mark`.
    pub(crate) fn settle_at(&self, partition: &Partition, mark: Offset) {
        let mut at_ns = 0;
        partition.settle(mark, |taken, outcome| {
            if at_ns == 0 {
                at_ns = now_ns();
            }
            self.acknowledge(partition.number, taken, outcome, at_ns);
        });
    }

    fn acknowledge(&self, partition: u32, taken: Taken, outcome: Outcome, at_ns: u64) {
        self.acks.borrow_mut().send(partition::ack(partition, taken, outcome, at_ns));
        match outcome {
            Outcome::Kept => {
                self.live.acked_messages.add(taken.messages);
                self.live.acked_batches.add(u64::from(taken.batches));
                self.live.acked_bytes.add(taken.bytes);
            }
            Outcome::Refused => {}
            Outcome::Poisoned => {
                let poisoned = &self.counts.poisoned_batches;
                poisoned.set(poisoned.get() + u64::from(taken.batches));
            }
        }
    }
}

/// A running shard. It lives on its executor's thread.
pub struct Shard<E: LogEngine> {
    core: Rc<Core<E>>,
    bell: crate::intake::Bell,
}

/// Bytes of a log's segment files: what they take, for nothing else knows before it is read.
fn bytes_on_disk(dir: Option<&PathBuf>, log: LogId) -> u64 {
    let Some(dir) = dir else { return 0 };
    let segments = std::fs::read_dir(dir.join(format!("{:05}", log.0))).into_iter().flatten().flatten();
    let segments = segments.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    segments.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

impl<E: LogEngine> Shard<E> {
    /// Opens the logs and starts the shard's tasks on this thread's executor, with an intake of `intake_bytes` and consumers at
    /// `listener`. Returns the shard, the way in, and what the opening found of each partition.
    ///
    /// # Errors
    /// What the engine answers to an open.
    pub async fn start(
        ring: &Ring,
        engine: E,
        config: ShardConfig,
        intake_bytes: usize,
        listener: TcpListener,
    ) -> Result<(Self, Producer, Vec<(u32, Recovery)>), OpenError> {
        let (producer, intake, acks) = channel(intake_bytes);
        let live = Arc::new(Live::new(intake.gauge()));
        let count = config.partitions.iter().max().map_or(0, |last| *last as usize + 1);
        let mut indices = vec![u32::MAX; count];
        let (mut partitions, mut groups, mut kept, mut recovered) =
            (Vec::new(), Vec::<Group>::new(), Vec::new(), Vec::new());
        let mut written: Vec<(Written, u64)> = Vec::new();
        for &number in &config.partitions {
            let log = LogId(number);
            let recovery = engine.open(log).await?;
            let id = engine.group(log);
            let group = groups.iter().position(|group| group.id == id).unwrap_or_else(|| {
                groups.push(Group::new(id, config.commit, &E::CAPABILITIES));
                groups.len() - 1
            });
            groups[group].add(partitions.len());
            indices[number as usize] = partitions.len() as u32;
            let (start, end) = (recovery.marks.start, recovery.marks.end);
            // A shared log is named by its group.
            let log_of_group = if config.layout == Layout::Partition { log } else { LogId(id.0) };
            if written.len() < groups.len() {
                let holds = end > start || config.layout != Layout::Partition;
                let bytes = if holds { bytes_on_disk(config.dir.as_ref(), log_of_group) } else { 0 };
                written.push((Written::new(bytes), bytes));
            }
            let bytes = written[group].1;
            kept.push(RefCell::new(Kept::new(start, end, bytes)));
            partitions.push(Partition::new(number, log, group, end));
            recovered.push((number, recovery));
        }
        if config.layout != Layout::Partition && E::CAPABILITIES.readable {
            for (index, group) in groups.iter_mut().enumerate() {
                group.shares(index, &engine);
                written[index].0.shares(engine.marks(LogId(group.id.0).whole()));
            }
        }
        if config.stages {
            engine.counters().stages.switch_on();
            ring.time_enters();
        }
        let bell = intake.bell();
        let core = Rc::new(Core {
            ring: ring.clone(),
            engine,
            partitions,
            indices,
            groups,
            kept,
            written: written.into_iter().map(|(written, _)| written).collect(),
            acks: RefCell::new(acks),
            live,
            counts: Counts::default(),
            consumers: Consumers::default(),
            sends: Sender::new(config.send),
            failure: RefCell::default(),
            phase: Cell::new(Phase::Running),
            phase_moved: Event::new(),
            stopping_since_ns: Cell::new(0),
            intake_ended: Cell::new(false),
            ended: Event::new(),
            tasks: Cell::new(0),
            unsynced: Event::new(),
            gathering: Cell::new(0),
            gathers: Event::new(),
            trim_due: Cell::new(false),
            trim_wanted: Event::new(),
            config,
        });
        for (index, group) in core.groups.iter().enumerate() {
            for committer in 0..group.committers() {
                core.start(core.clone().committer(index, committer));
            }
        }
        if let Durability::Interval(interval) = core.config.durability {
            core.start(core.clone().interval(interval));
        }
        if let Some(retention) = core.config.retention_bytes {
            core.start(core.clone().retain(retention));
        }
        core.start(core.clone().take(intake));
        core.start(core.clone().accept(listener));
        Ok((Self { core, bell }, producer, recovered))
    }

    /// The numbers now.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        self.core.live.stats()
    }

    /// The logs that partitions share.
    pub(crate) fn shared(&self) -> Vec<SharedLog> {
        let shared = |group: &Group| {
            let whole = group.whole()?;
            let partitions = group.members().iter().map(|&index| self.core.partitions[index].number).collect();
            Some(SharedLog { number: whole.number, marks: self.core.engine.marks(whole.log), partitions })
        };
        self.core.groups.iter().filter_map(shared).collect()
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.core.live.clone()
    }

    pub(crate) fn note_failure(&self, what: String) {
        self.core.note_failure(what);
    }

    /// Waits until `done`, which is looked at whenever something has ended, or until `at_most` has passed.
    async fn wait(&self, at_most: Duration, done: impl Fn() -> bool) {
        let ended = async {
            loop {
                let ended = self.core.ended.wait();
                if done() {
                    return;
                }
                ended.await;
            }
        };
        or(ended, sleep(at_most)).await;
    }

    /// Stops in order, as [`crate::Node::stop`] does, and says what the shard did.
    pub async fn stop(self, how: Stop) -> ShardReport {
        let core = &self.core;
        core.stopping_since_ns.set(now_ns());
        core.enter(Phase::Intake);
        self.bell.ring();
        self.wait(how.drain, || core.intake_ended.get()).await;
        self.wait(how.drain, || core.groups.iter().all(Group::is_clean)).await;
        self.wait(how.drain.min(STOP_PATIENCE), || !core.acks.borrow().has_waiting()).await;
        core.enter(Phase::Consumers);
        self.bell.ring();
        self.wait(how.drain, || core.live.consumers.get() == 0).await;
        core.enter(Phase::Kill);
        // What is left are commits that the device has not answered.
        let forever = Duration::from_secs(u64::from(u32::MAX));
        self.wait(forever, || core.tasks.get() == 0).await;
        core.acks.borrow_mut().clear();

        let mut report = core.report();
        let core = Rc::try_unwrap(self.core).ok().expect("all tasks have ended, and only they share the core");
        if how.close
            && let Err(error) = core.engine.close().await
        {
            report.failure.get_or_insert(error.to_string());
        }
        core.live.set_state(ShardState::Stopped);
        report.stats = core.live.stats();
        report
    }
}

impl<E: LogEngine> Core<E> {
    /// Nanoseconds of each stage by name, if they were measured.
    fn stage_costs(&self) -> Vec<(&'static str, u64)> {
        let enter_ns = self.ring.counters().enter_ns.get();
        let spent = self.stages().spent().into_iter().flatten();
        let named = Stage::ALL.into_iter().zip(spent);
        // The ring keeps its own time.
        named.map(|(stage, ns)| (stage.name(), if stage == Stage::Enter { enter_ns } else { ns })).collect()
    }

    fn report(&self) -> ShardReport {
        let (counts, ring, engine) = (&self.counts, self.ring.counters(), self.engine.counters().snapshot());
        ShardReport {
            shard: 0,
            stats: self.live.stats(),
            engine,
            ring: ring.each().collect(),
            sendfile_bytes: ring.sendfile_bytes.get(),
            sendfile_calls: ring.sendfile_calls.get(),
            send_bytes: ring.send_bytes.get(),
            cold_bytes: self.sends.cold_bytes.get(),
            send_copied_bytes: self.sends.copied_bytes.get(),
            chunks: self.sends.chunks.get(),
            consumers_accepted: self.consumers.accepted.get(),
            consumers_refused: self.consumers.refused.get(),
            consumers_trimmed: self.consumers.trimmed.get(),
            consumers_failed: self.consumers.failed.get(),
            commits: counts.commits.get(),
            commit_messages: counts.commit_messages.get(),
            commit_messages_max: counts.commit_messages_max.get(),
            interval_commits: counts.interval_commits.get(),
            acks: self.acks.borrow().sent(),
            refused_batches: counts.refused_batches.get(),
            poisoned_batches: counts.poisoned_batches.get(),
            busy_waits: counts.busy_waits.get(),
            full_waits: counts.full_waits.get(),
            ack_waits: counts.ack_waits.get(),
            left_batches: counts.left_batches.get(),
            unacknowledged_batches: self.partitions.iter().map(Partition::unanswered).sum(),
            trims: counts.trims.get(),
            system_calls: ring.system_calls.get() + engine.system_calls,
            stages: self.stage_costs(),
            failure: self.failure.borrow().clone(),
            observed: Default::default(),
            attestation: Vec::new(),
        }
    }
}
