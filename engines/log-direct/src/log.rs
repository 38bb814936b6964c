//! One log, and what the engine's logs share: opening, appending, rolling, waiting for room, forgetting what the tail cache is too small for.
//! What never lives here: writes and flushes (`commit.rs`), reads (`read.rs`).

use crate::{
    cursor::Cursors,
    flights::{Flights, Mark},
    memory::Memory,
    staging::{Place, Staging},
};
use log_api::{
    AppendError, Appended, Batch, Counters, EngineConfig, Epoch, Level, LogId, Marks, Offset, OpenError, Recovery,
    TrimError,
};
use log_format::place_entry;
use log_segment::{
    Ahead, DataDir, Files, Keeper, LogConfig, Medium, Preparation, Preparer, Recovered, Reuse, SealJob, Segments,
    recover,
};
use rustix::fs::{Mode, OFlags};
use shard_ring::{Event, Helper, Ring, RingFile, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fs::File,
    future::{Future, poll_fn},
    io,
    path::Path,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Instant,
};

/// What the logs of one engine share.
pub(crate) struct Shared {
    pub(crate) ring: Ring,
    pub(crate) config: EngineConfig,
    pub(crate) data: DataDir,
    /// Recovers, seals, renames, gives up.
    pub(crate) helper: Rc<Helper>,
    /// Fills new segments with zeros, slowly: nothing else waits for it.
    preparing: Rc<Helper>,
    ahead: Ahead,
    pub(crate) counters: Counters,
    pub(crate) memory: Memory,
    pub(crate) cursors: Cursors,
    pub(crate) logs: RefCell<BTreeMap<LogId, Rc<Log>>>,
    pub(crate) background: Background,
    line: Line,
}

/// Tasks that outlive the calls that started them.
#[derive(Default)]
pub(crate) struct Background {
    running: Cell<usize>,
    ended: Event,
}

/// Who waits for room, in order of arrival.
#[derive(Default)]
struct Line {
    arrivals: Cell<u64>,
    waiting: RefCell<VecDeque<Waiter>>,
    moved: Event,
}

struct Waiter {
    number: u64,
    /// It waits for its log's next segment, and holds up nobody else.
    aside: bool,
}

/// One log.
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) shared: Rc<Shared>,
    pub(crate) config: LogConfig,
    pub(crate) state: RefCell<State>,
    /// A mark has moved, or the log is poisoned.
    pub(crate) moved: Event,
    /// A task waits until finished segments are due to be sealed.
    pub(crate) sealing: Cell<bool>,
    pub(crate) keeper: Keeper,
    pub(crate) preparer: Preparer<DirectFile>,
    epoch: Epoch,
    /// Bytes that recovery wrote to make the first segment ready.
    recovery_prepared_bytes: u64,
}

/// What changes of a log.
pub(crate) struct State {
    pub(crate) segments: Segments<RingFile>,
    pub(crate) staging: Staging,
    pub(crate) flights: Flights,
    /// Bytes of log appended since the last launch.
    pub(crate) staged: u64,
    /// Bytes of log appended and not yet written: this log's part of the budget.
    pub(crate) unwritten: u64,
    /// The first failure, in words.
    pub(crate) poisoned: Option<String>,
    /// Finished segments that wait to be sealed, oldest first, each until then.
    pub(crate) finished: VecDeque<(SealJob, Instant)>,
    /// The roll that is due has been counted as waited for.
    roll_waited: bool,
}

/// How this engine opens a segment that it will write.
#[derive(Clone)]
pub(crate) struct DirectFile;

impl Medium for DirectFile {
    type Handle = File;
    type Kept = ();

    /// A direct write into space that was only allocated turns it from unwritten to written, which costs more than half the rate of small
    /// writes.
    const FILLS_ALWAYS: bool = true;

    fn open(&self, path: &Path, _bytes: u64) -> io::Result<File> {
        open_direct(path, OFlags::RDWR)
    }
}

fn open_direct(path: &Path, access: OFlags) -> io::Result<File> {
    Ok(File::from(rustix::fs::open(path, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty())?))
}

/// What recovery found, with its files open: made on the helper.
struct Opened {
    recovered: Recovered,
    sealed: Vec<File>,
    active: File,
}

fn open_log(config: &LogConfig) -> Result<Opened, OpenError> {
    let recovered = recover(config, &Files::default())?;
    let open = |path: &Path, access| {
        open_direct(path, access).map_err(|source| OpenError::Io {
            action: "open for direct I/O",
            path: path.to_path_buf(),
            source,
        })
    };
    let sealed =
        recovered.sealed.iter().map(|segment| open(&segment.path, OFlags::RDONLY)).collect::<Result<_, _>>()?;
    let active = open(&recovered.active.path, OFlags::RDWR)?;
    Ok(Opened { recovered, sealed, active })
}

impl Shared {
    pub(crate) fn new(
        ring: &Ring,
        config: EngineConfig,
        data: DataDir,
        [helper, preparing]: [Helper; 2],
        memory: Memory,
    ) -> Rc<Self> {
        Rc::new(Self {
            ring: ring.clone(),
            config,
            data,
            helper: Rc::new(helper),
            preparing: Rc::new(preparing),
            ahead: Ahead::default(),
            counters: Counters::default(),
            memory,
            cursors: Cursors::default(),
            logs: RefCell::default(),
            background: Background::default(),
            line: Line::default(),
        })
    }

    pub(crate) fn log(&self, id: LogId) -> Option<Rc<Log>> {
        self.logs.borrow().get(&id).cloned()
    }

    /// Runs a task that outlives the call; `close` waits for it.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let shared = self.clone();
        self.background.running.set(self.background.running.get() + 1);
        spawn_local(async move {
            task.await;
            shared.background.running.set(shared.background.running.get() - 1);
            shared.background.ended.notify_all();
        });
    }

    /// No task of `spawn` is left: nothing of any log is in the air.
    pub(crate) fn is_quiet(&self) -> bool {
        self.background.running.get() == 0
    }

    /// Waits until that is so.
    pub(crate) async fn quiet(&self) {
        loop {
            let ended = self.background.ended.wait();
            if self.is_quiet() {
                return;
            }
            ended.await;
        }
    }

    /// Opens a log.
    pub(crate) async fn open(self: &Rc<Self>, id: LogId) -> Result<Recovery, OpenError> {
        assert!(self.log(id).is_none(), "{id} is open already: a log is opened once in an engine's life");
        let config = LogConfig::new(&self.config, &self.data, id);
        let for_helper = config.clone();
        let opened = self.helper.run(&self.ring, move || open_log(&for_helper)).await?;
        let log = Log::new(self, id, config, opened);
        let recovery = log.1;
        let other = self.logs.borrow_mut().insert(id, log.0);
        assert!(other.is_none(), "{id} was opened twice at once");
        Ok(recovery)
    }

    /// Forgets written extents, oldest block of all logs first, while they are more than the tail cache may hold.
    pub(crate) fn trim_cache(&self) {
        while self.memory.cache_overflows() && self.evict_oldest() {}
    }

    /// Forgets the oldest block's worth of written extents. False: there is nothing to forget.
    fn evict_oldest(&self) -> bool {
        let logs = self.logs.borrow();
        let oldest = logs
            .values()
            .filter_map(|log| {
                let state = log.state.borrow();
                state.staging.oldest(state.flights.placed().place).map(|born| (born, log))
            })
            .min_by_key(|(born, _)| *born);
        let Some((_, log)) = oldest else { return false };
        let state = &mut *log.state.borrow_mut();
        let forgotten = state.staging.evict(state.flights.placed().place);
        Memory::subtract(&self.memory.held, forgotten);
        true
    }

    /// Makes it likelier that a block is free: forgets the oldest written extents, and when there are none, takes back blocks that are
    /// only waited to be filled further. False: every block holds bytes that are not written, or pins.
    fn reclaim(&self) -> bool {
        self.evict_oldest() || self.logs.borrow().values().any(|log| log.state.borrow_mut().staging.release())
    }
}

impl Log {
    fn new(shared: &Rc<Shared>, id: LogId, config: LogConfig, opened: Opened) -> (Rc<Self>, Recovery) {
        let Opened { mut recovered, sealed, active } = opened;
        let recovery = recovered.summary();
        let Marks { start, end, .. } = recovered.marks;
        let place = Place { segment: recovered.active.base.0, position: recovered.active.bytes };
        let staging = Staging::new(place, &std::mem::take(&mut recovered.active.tail));
        let sealed = recovered.sealed.into_iter().zip(sealed).map(|(segment, file)| (segment, shared.ring.adopt(file)));
        let segments = Segments::new(&config, sealed.collect(), (recovered.active, shared.ring.adopt(active)));
        let preparer = Preparer::new(
            &shared.ring,
            &shared.preparing,
            &shared.data,
            &config,
            DirectFile,
            recovered.next_number,
            Some(&shared.ahead),
        );
        preparer.start();
        let log = Rc::new(Self {
            id,
            shared: shared.clone(),
            keeper: Keeper::new(&shared.ring, &shared.helper, &shared.data, &config, start),
            config,
            state: RefCell::new(State {
                segments,
                staging,
                flights: Flights::new(Mark { place, offset: end }),
                staged: 0,
                unwritten: 0,
                poisoned: None,
                finished: VecDeque::new(),
                roll_waited: false,
            }),
            moved: Event::new(),
            sealing: Cell::new(false),
            preparer,
            epoch: recovered.epoch,
            recovery_prepared_bytes: recovered.prepared_bytes,
        });
        (log, recovery)
    }

    pub(crate) fn preparation(&self) -> Preparation {
        let preparation = self.preparer.preparation();
        Preparation { bytes: preparation.bytes + self.recovery_prepared_bytes, ..preparation }
    }

    pub(crate) fn marks(&self) -> Marks {
        let state = self.state.borrow();
        Marks {
            start: state.segments.start(),
            durable: state.flights.durable().offset,
            placed: state.flights.placed().offset,
            end: state.segments.end(),
        }
    }

    pub(crate) fn append(&self, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        let counters = &self.shared.counters;
        let bytes: u64 = batches.iter().map(Batch::stored_bytes).sum();
        let config = &self.config;
        if config.durable && batches.len() > 1 && bytes > config.inflight_bytes_max {
            return Err(AppendError::TooLarge {
                bytes,
                bytes_max: config.segment_bytes.min(config.inflight_bytes_max),
            });
        }
        let rolls = match self.admits(bytes) {
            Ok(rolls) => rolls,
            Err(error) => {
                Counters::add(&counters.busy, u64::from(error == AppendError::Busy));
                return Err(error);
            }
        };
        // Nothing below can fail: the append is whole.
        if rolls {
            self.roll();
        }
        let memory = &self.shared.memory;
        let state = &mut *self.state.borrow_mut();
        let fresh = &mut *memory.fresh.borrow_mut();
        let base = state.segments.end();
        let now = memory.tick();
        let mut copied = 0;
        for batch in batches {
            let entry = place_entry(batch, state.segments.end(), self.epoch);
            copied += state.staging.append(entry.head(), now, fresh) + state.staging.append(entry.rest(), now, fresh);
            state.segments.append(batch.records(), batch.stored_bytes());
        }
        assert!(fresh.is_empty(), "an append takes as many blocks as it said");
        debug_assert_eq!(state.segments.active().bytes(), state.staging.end().position);
        state.staged += bytes;
        state.unwritten += bytes;
        Memory::add(&memory.unwritten, bytes);
        Memory::add(&memory.held, bytes);
        Counters::add(&counters.appended_batches, batches.len() as u64);
        Counters::add(&counters.appended_bytes, bytes);
        Counters::add(&counters.copied_bytes, copied);
        Ok(Appended { base, end: state.segments.end(), segment: state.segments.active().base() })
    }

    /// Whether `bytes` can be appended now; if so, whether the log rolls first. The blocks for them are in `Memory::fresh` then.
    fn admits(&self, bytes: u64) -> Result<bool, AppendError> {
        let memory = &self.shared.memory;
        let rolls = {
            let state = &mut *self.state.borrow_mut();
            if state.poisoned.is_some() {
                return Err(AppendError::Poisoned);
            }
            if bytes > self.config.segment_bytes {
                return Err(AppendError::TooLarge { bytes, bytes_max: self.config.segment_bytes });
            }
            if !memory.allows(bytes) || !self.tail_fits(state, bytes) {
                return Err(AppendError::Busy);
            }
            let rolls = state.segments.room() < bytes;
            if rolls && !self.preparer.is_ready() {
                if !std::mem::replace(&mut state.roll_waited, true) {
                    Counters::add(&self.shared.counters.rolls_waited, 1);
                }
                if let Some(what) = self.preparer.gave_up() {
                    self.poison(state, format!("make the next segment: {what}"));
                    self.moved.notify_all();
                    memory.eased.notify_all();
                    return Err(AppendError::Poisoned);
                }
                return Err(if self.preparer.is_full() { AppendError::Full } else { AppendError::Busy });
            }
            rolls
        };
        if bytes > 0 && !self.take_blocks(bytes, rolls) {
            return Err(AppendError::Busy);
        }
        Ok(rolls)
    }

    /// In a durable log, what is not durable stays under the bound by which recovery tells a torn tail from damage. A batch larger than that
    /// goes alone.
    fn tail_fits(&self, state: &State, bytes: u64) -> bool {
        let undurable = || state.segments.bytes_after(state.flights.durable().offset);
        let fits = |undurable| undurable == 0 || undurable + bytes <= self.config.inflight_bytes_max;
        !self.config.durable || fits(undurable())
    }

    /// A caller that never commits durably would wait for ever: the bound is of what is not durable.
    fn flush_for(self: &Rc<Self>, bytes: u64) {
        let waits = {
            let state = self.state.borrow();
            !self.tail_fits(&state, bytes) && !state.flights.is_flushing()
        };
        if waits {
            // A log that is poisoned says so to whoever waits.
            let _ = self.launch(Level::Durable);
        }
    }

    /// Takes the blocks that staging `bytes` needs, from the tail cache if need be. False: blocks enough hold bytes still to be written.
    fn take_blocks(&self, bytes: u64, rolls: bool) -> bool {
        let memory = &self.shared.memory;
        loop {
            // Asked again each time: the block given up may be the one in which this log would have gone on.
            let needed = self.state.borrow().staging.blocks_needed(bytes, memory.staging.block_bytes(), rolls);
            if memory.take_staging(needed) {
                return true;
            }
            if !self.shared.reclaim() {
                return false;
            }
        }
    }

    /// Goes on in the prepared segment. Writes in flight complete on the old one.
    fn roll(&self) {
        let state = &mut *self.state.borrow_mut();
        let prepared = self.preparer.take().expect("it was ready, and nothing has run since");
        let base = state.segments.end();
        self.keeper.adopt(&prepared.file, base);
        state.segments.roll(prepared.file, self.shared.ring.adopt(prepared.handle));
        state.staging.roll(base.0);
        state.roll_waited = false;
        Counters::add(&self.shared.counters.rolls, 1);
    }

    /// Waits until `bytes` can be appended, or until it is worth trying again.
    pub(crate) async fn room(self: &Rc<Self>, bytes: u64) {
        let line = &self.shared.line;
        // More can never be appended at once.
        let bytes = bytes.min(self.config.segment_bytes);
        let place = line.join();
        loop {
            // Before the conditions are looked at, so that no change of them is missed.
            let changes =
                [line.moved.wait(), self.shared.memory.eased.wait(), self.shared.memory.staging.freed().wait()];
            let waits_for_segment = {
                let state = self.state.borrow();
                if state.poisoned.is_some() {
                    return;
                }
                state.segments.room() < bytes && !self.preparer.is_ready()
            };
            place.step_aside(waits_for_segment);
            if waits_for_segment {
                self.preparer.room().await;
                if !self.preparer.is_ready() {
                    return;
                }
                continue;
            }
            if place.is_first() {
                let admitted = self.admits(bytes).is_ok();
                self.shared.memory.fresh.borrow_mut().clear();
                if admitted {
                    return;
                }
                self.flush_for(bytes);
            }
            any(changes).await;
        }
    }

    /// Gives up whole segments before `before`; never what is not durable yet. A finished segment becomes durable when it is sealed.
    pub(crate) async fn trim(&self, before: Offset) -> Result<Offset, TrimError> {
        let dead = {
            let state = &mut *self.state.borrow_mut();
            let before = before.min(state.flights.durable().offset);
            // A segment that is being read stays until a later trim; one that is only read ahead of somebody who was overtaken need not.
            if let Some(kept) = state.segments.holding(before) {
                self.shared.cursors.forget_before(self.id, kept.base());
            }
            state.segments.trim(before)
        };
        let start = dead.start;
        // They are written past the page cache: whoever got pages of them by reference in an earlier life keeps what they were.
        self.preparer.trim(&self.keeper, dead, |_| Reuse::AsIs(())).await?;
        Ok(start)
    }
}

impl Line {
    fn join(&self) -> InLine<'_> {
        let number = self.arrivals.get();
        self.arrivals.set(number + 1);
        self.waiting.borrow_mut().push_back(Waiter { number, aside: false });
        InLine { line: self, number }
    }
}

/// A place in the line, given up when dropped.
struct InLine<'a> {
    line: &'a Line,
    number: u64,
}

impl InLine<'_> {
    fn is_first(&self) -> bool {
        let waiting = self.line.waiting.borrow();
        waiting.iter().find(|waiter| !waiter.aside).is_some_and(|waiter| waiter.number == self.number)
    }

    fn step_aside(&self, aside: bool) {
        let mut waiting = self.line.waiting.borrow_mut();
        let own = waiting.iter_mut().find(|waiter| waiter.number == self.number).expect("in line until dropped");
        if std::mem::replace(&mut own.aside, aside) != aside && aside {
            self.line.moved.notify_all();
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.line.waiting.borrow_mut().retain(|waiter| waiter.number != self.number);
        self.line.moved.notify_all();
    }
}

/// Ends when one of the waits does.
async fn any<const N: usize>(waits: [shard_ring::Wait; N]) {
    let mut waits = pin!(waits);
    poll_fn(|context| {
        let ended = waits.iter_mut().any(|wait| pin!(wait).poll(context).is_ready());
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
