//! The next segments, made ready off the shard: from those that the log has given up, or else from new files.
//!
//! In two steps. A *blank* is a file that is durable, with its blocks and its directory entry: it costs disk, and flushes, which take long while
//! the device is busy. A *ready* segment has been opened, which for a mapping costs memory. A few stand ready; how many blanks lie behind
//! them, or segments that were given up and are ready again where that costs nothing, depends on the load ([`Reach`]).

use crate::{
    Ahead, DataDir, Files, Haste, LogConfig, Medium, SEAL_LINGER, SparseIndex,
    files::FileError,
    make::{FREE_SHARE, has_free, make, make_together, open},
    names::prepared_path,
    reach::Reach,
};
use shard_ring::{Event, Helper, Ring, sleep, spawn_local};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    path::PathBuf,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};
use trim::Trim;

#[cfg(test)]
mod counts;
mod trim;

/// How long [`Preparer::room`] waits after an attempt that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Attempts that failed one after the other, for another reason than a full disk, after which the next one is not expected to do better.
const ATTEMPTS_MAX: u32 = 3;

/// Blanks are given up, half of what is kept ahead at a time, after each time as long as this in which that half was not used.
const QUIET: Duration = Duration::from_secs(30);

/// Blanks that are made together while a log that does not flush takes them faster than they are made.
const TOGETHER: usize = 4;

/// A burst is over when no segment was taken for so long.
const LULL: Duration = Duration::from_millis(200);

/// A segment that is ready to be written: durable, its directory entry too, and nothing in it that could be taken for a batch of the log that
/// comes after it (zeros, or batches that were trimmed before).
#[derive(Debug)]
pub struct Prepared<H> {
    /// What [`Medium::open`] returned.
    pub handle: H,
    /// The rest, for [`crate::Segments::roll`] and [`crate::Keeper::adopt`].
    pub file: PreparedFile,
}

/// The file of a prepared segment.
#[derive(Debug)]
pub struct PreparedFile {
    /// `<n>.next`.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Empty, with its memory.
    pub(crate) index: SparseIndex,
}

/// Keeps segments ready. Lives on the shard; clones are the same preparer.
#[derive(Clone)]
pub struct Preparer<M: Medium>(Rc<Inner<M>>);

struct Inner<M: Medium> {
    ring: Ring,
    helper: Rc<Helper>,
    data: DataDir,
    config: LogConfig,
    medium: M,
    ahead: Option<Ahead>,
    state: Rc<State<M::Handle>>,
    /// Trims that leave the device to others for a while.
    gathered: RefCell<Option<Trim<M::Kept>>>,
    /// They must wait no longer.
    hurry: Event,
}

/// What an attempt comes back to. It holds no helper, so that dropping an engine ends it.
struct State<H> {
    next_number: Cell<u64>,
    ready: RefCell<VecDeque<Prepared<H>>>,
    running: Cell<bool>,
    /// What runs, or ran last, opens a blank.
    opening: Cell<bool>,
    stopped: Cell<bool>,
    full: Cell<bool>,
    failure: RefCell<Option<String>>,
    /// Attempts in a row that ended in one.
    failures: Cell<u32>,
    counts: Cell<Preparation>,
    /// Given-up segments on their way to `ready` or `spares`.
    recycling: Cell<usize>,
    /// One was given up since a segment was last taken; and one was before that: the log is at its retention.
    given_up: Cell<bool>,
    returns: Cell<bool>,
    /// Given-up segments whose blocks the next segments are made of.
    spares: RefCell<VecDeque<PathBuf>>,
    /// New segments, durable, not opened yet.
    blanks: RefCell<VecDeque<PathBuf>>,
    reach: Reach,
    /// Somebody waits for a segment, and [`Reach`] knows.
    waiting: Cell<bool>,
    /// A task looks at times whether so many are still needed.
    watched: Cell<bool>,
    /// Some that are not are on their way out.
    unlinking: Cell<bool>,
    haste: Haste,
    /// When a segment was last taken, and whether they are taken faster than preparing with rests makes them.
    taken: Cell<Option<Instant>>,
    hurried: Cell<bool>,
    /// A task waits for the end of the burst.
    lulled: Cell<bool>,
    /// When the attempt that runs, or ran last, began, and for how long making a blank works, and opening it.
    begun: Cell<Instant>,
    blank_works: Cell<Duration>,
    open_works: Cell<Duration>,
    /// An attempt has ended.
    ended: Event,
}

/// What preparing has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Bytes of zeros written: [`log_api::Counters::prepared_bytes`].
    pub bytes: u64,
    /// See [`log_api::Counters::segments_zeroed`].
    pub zeroed: u64,
    /// See [`log_api::Counters::segments_recycled`].
    pub recycled: u64,
}

/// What a step on the helper brings.
enum Step<H> {
    /// A file, and the bytes of zeros written for it.
    Blank(PathBuf, u64),
    /// Several, without zeros.
    Blanks(Vec<PathBuf>),
    Ready(Prepared<H>),
    /// The disk is too full for segments that are not needed yet.
    TooFull,
}

/// What became of a segment that was given up.
enum Recycled<H> {
    /// With the bytes of zeros written for it.
    Ready(Result<(Prepared<H>, u64), FileError>),
    /// Its blocks are there, under this name.
    Spare(PathBuf),
}

impl<M: Medium> Preparer<M> {
    /// `next_number` is [`crate::Recovered::next_number`]. Nothing happens before [`Preparer::start`] or [`Preparer::take`]. Keeps one
    /// segment ready, made at full speed; with `ahead`, on a helper that has nothing else to do, as many as that says, all but the first made
    /// in slices with rests.
    #[must_use]
    pub fn new(
        ring: &Ring,
        helper: &Rc<Helper>,
        data: &DataDir,
        config: &LogConfig,
        medium: M,
        next_number: u64,
        ahead: Option<&Ahead>,
    ) -> Self {
        if let Some(ahead) = ahead {
            ahead.join();
        }
        let state = State {
            next_number: Cell::new(next_number),
            ready: RefCell::default(),
            running: Cell::new(false),
            opening: Cell::new(false),
            stopped: Cell::new(false),
            full: Cell::new(false),
            failure: RefCell::new(None),
            failures: Cell::new(0),
            counts: Cell::default(),
            recycling: Cell::new(0),
            given_up: Cell::new(false),
            returns: Cell::new(false),
            spares: RefCell::default(),
            blanks: RefCell::default(),
            reach: Reach::default(),
            waiting: Cell::new(false),
            watched: Cell::new(false),
            unlinking: Cell::new(false),
            haste: Haste::default(),
            taken: Cell::new(None),
            hurried: Cell::new(false),
            lulled: Cell::new(false),
            begun: Cell::new(Instant::now()),
            blank_works: Cell::new(Duration::ZERO),
            open_works: Cell::new(Duration::ZERO),
            ended: Event::new(),
        };
        Self(Rc::new(Inner {
            ring: ring.clone(),
            helper: helper.clone(),
            data: data.clone(),
            config: config.clone(),
            medium,
            ahead: ahead.cloned(),
            state: Rc::new(state),
            gathered: RefCell::default(),
            hurry: Event::new(),
        }))
    }

    /// Begins to prepare a segment, unless enough are ready or one is on its way.
    pub fn start(&self) {
        self.0.start();
    }

    /// A prepared segment, if there is one, and begins to prepare the next. `None`: answer `Full` if [`Preparer::is_full`], else
    /// `Busy`, and let [`Preparer::room`] end the wait; but if [`Preparer::gave_up`], the log cannot go on.
    pub fn take(&self) -> Option<Prepared<M::Handle>> {
        let state = &self.0.state;
        let taken = state.ready.borrow_mut().pop_front();
        if taken.is_some() {
            let now = Instant::now();
            let period = state.taken.replace(Some(now)).map(|last| now - last);
            let makes = state.blanks.borrow().is_empty() || self.0.bursts_with_zeros();
            let blank_works = if makes { state.blank_works.get() } else { Duration::ZERO };
            let works = blank_works + state.open_works.get();
            state.hurried.set(period.is_some_and(|period| period < works * Haste::STRETCH));
            state.returns.set(state.given_up.take());
            state.reach.took(state.made());
            state.waiting.set(false);
        }
        if !self.0.may_linger() {
            self.0.hurry.notify_all();
        }
        self.start();
        taken
    }

    /// A segment is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.0.state.ready.borrow().is_empty()
    }

    /// The last attempt that ended found no space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.state.full.get()
    }

    /// Another error of the last attempt, in words. Preparing is tried again at each [`Preparer::room`].
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.state.failure.borrow().clone()
    }

    /// That error, when it is the last of several in a row: no segment will be ready.
    #[must_use]
    pub fn gave_up(&self) -> Option<String> {
        if self.0.state.failures.get() < ATTEMPTS_MAX { None } else { self.failure() }
    }

    /// Waits until a segment is ready; if the attempt fails, 100 ms, so that the caller tries again.
    pub async fn room(&self) {
        let state = &self.0.state;
        if !self.is_ready() && !state.waiting.replace(true) {
            self.0.waited();
        }
        loop {
            let ended = state.ended.wait();
            self.start();
            if self.is_ready() {
                return;
            }
            ended.await;
            // A blank is half-way there.
            if !self.is_ready() && (self.is_full() || self.failure().is_some() || state.stopped.get()) {
                return sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Segments that are kept made, ready or blank: of a log that is not written for durable acknowledgement, more after rolls that had to wait.
    #[must_use]
    pub fn target(&self) -> usize {
        self.0.target()
    }

    /// Bytes of zeros written so far: [`log_api::Counters::prepared_bytes`].
    #[must_use]
    pub fn prepared_bytes(&self) -> u64 {
        self.preparation().bytes
    }

    /// What preparing has cost so far.
    #[must_use]
    pub fn preparation(&self) -> Preparation {
        self.0.state.counts.get()
    }

    /// Prepares no more, and waits until what was begun has ended.
    pub async fn stop(&self) {
        let state = &self.0.state;
        state.stopped.set(true);
        state.haste.set(true);
        self.0.trim_gathered();
        loop {
            let ended = state.ended.wait();
            if !state.running.get() && !state.unlinking.get() {
                return;
            }
            ended.await;
        }
    }
}

impl<M: Medium> Drop for Inner<M> {
    /// A dropped engine waits for its helper, which needs no rest any more.
    fn drop(&mut self) {
        self.state.haste.set(true);
    }
}

impl<M: Medium> Inner<M> {
    /// Segments to be kept ready.
    fn wanted(&self) -> usize {
        self.ahead.as_ref().map_or(1, |ahead| ahead.segments(self.config.segment_bytes))
    }

    /// Segments to be kept made: ready or blank.
    fn target(&self) -> usize {
        self.state.reach.target(self.wanted())
    }

    /// Segments from which on none is made with zeros. A log at its retention gives one up for each that it takes: what is missing after a
    /// roll comes back by itself.
    fn enough(&self) -> usize {
        let comes_back = self.fills() && self.state.returns.get();
        (self.target() - usize::from(comes_back)).max(1)
    }

    /// New segments have their blocks written.
    fn fills(&self) -> bool {
        M::fills(self.config.durable)
    }

    /// New segments take from the device what a burst wants of it.
    fn bursts_with_zeros(&self) -> bool {
        self.fills() && !self.config.durable
    }

    /// A roll of a log that does not flush waits for a segment, or a burst would have had to write zeros: more are kept made from now on.
    fn waited(self: &Rc<Self>) {
        let Some(ahead) = &self.ahead else { return };
        let (state, wanted) = (&self.state, self.wanted());
        if self.config.durable {
            // It waits for its flushes: it has no bursts.
            return;
        }
        let opening = state.running.get() && state.opening.get();
        if state.full.get() || opening || !state.blanks.borrow().is_empty() {
            // More blanks would not have helped.
            return;
        }
        state.reach.waited(wanted, ahead.segments_max(self.config.segment_bytes));
        if state.reach.target(wanted) > wanted && !state.watched.replace(true) {
            spawn_local(Self::watch(Rc::downgrade(self)));
        }
    }

    /// Goes on making blanks.
    async fn after_the_burst(preparer: Weak<Self>) {
        loop {
            sleep(LULL).await;
            let Some(preparer) = preparer.upgrade() else { return };
            let state = &preparer.state;
            // What the burst has given up comes back once it is sealed.
            let lull = if preparer.bursts_with_zeros() { LULL + 2 * SEAL_LINGER } else { LULL };
            if state.taken.get().is_none_or(|taken| taken.elapsed() >= lull) {
                state.lulled.set(false);
                state.hurried.set(false);
                return preparer.start();
            }
        }
    }

    /// Gives blanks up that are not needed any more; ends when no more are kept than without rolls that waited.
    async fn watch(preparer: Weak<Self>) {
        loop {
            sleep(QUIET).await;
            let Some(preparer) = preparer.upgrade() else { return };
            if preparer.rest() {
                return preparer.state.watched.set(false);
            }
        }
    }

    /// A quiet time has ended, or a busy one. `true`: no more are kept than without rolls that waited.
    fn rest(&self) -> bool {
        let (state, wanted) = (&self.state, self.wanted());
        if state.stopped.get() || state.unlinking.get() {
            return state.stopped.get();
        }
        state.reach.period(state.made());
        let target = state.reach.target(wanted);
        // One more comes back to a log at its retention.
        let excess = if state.made() > target + 1 { state.made() - target } else { 0 };
        let blanks = last(&mut state.blanks.borrow_mut(), excess);
        let ready = last(&mut state.ready.borrow_mut(), excess - blanks.len());
        if excess > 0 {
            state.reach.took(state.made());
            let data = self.data.clone();
            let gone = self.helper.run(&self.ring, move || {
                // What is left behind by a failure goes with the next open.
                let paths = blanks.iter().chain(ready.iter().map(|prepared| &prepared.file.path));
                paths.for_each(|path| drop(Files::new().unlink(path)));
                drop((ready, data));
            });
            state.unlinking.set(true);
            let state = state.clone();
            spawn_local(async move {
                gone.await;
                state.unlinking.set(false);
                state.ended.notify_all();
            });
        }
        target <= wanted
    }

    fn start(self: &Rc<Self>) {
        let state = &self.state;
        let (ready, wanted) = (state.ready.borrow().len(), self.wanted());
        let hurried = state.hurried.get() && !self.bursts_with_zeros();
        state.haste.set(ready == 0 || hurried || self.ahead.is_none() || state.stopped.get());
        if state.stopped.get() || state.running.get() {
            return;
        }
        let blank = if ready < wanted { state.blanks.borrow_mut().pop_front() } else { None };
        let makes_blank = blank.is_none();
        // One that comes back makes a new one needless, unless somebody waits.
        let comes_back = if ready > 0 { state.recycling.get() } else { 0 };
        if makes_blank && state.made() + comes_back >= self.enough() {
            return;
        }
        let bursts_with_zeros = self.bursts_with_zeros();
        let lasts = !state.blanks.borrow().is_empty() || (bursts_with_zeros && ready > 0);
        if makes_blank && state.hurried.get() && lasts {
            // Opening those there are comes first, and what the helper does beside it takes from the shard: cache, memory, half of a core; and
            // zeros the device.
            if bursts_with_zeros {
                self.waited();
            }
            if !state.lulled.replace(true) {
                spawn_local(Self::after_the_burst(Rc::downgrade(self)));
            }
            return;
        }
        let spare = if makes_blank { state.spares.borrow_mut().pop_front() } else { None };
        // For one that is not needed soon there must be room for all of those.
        let free = if ready < wanted || spare.is_some() { 0 } else { FREE_SHARE * self.target() as u64 };
        let reused = spare.is_some();
        let together = if makes_blank && !reused && !self.fills() && state.hurried.get() {
            // Where the free space is not looked at, as many as are needed.
            let most = if ready < wanted { wanted - ready } else { TOGETHER };
            self.enough().saturating_sub(state.made()).min(TOGETHER).min(most)
        } else {
            1
        };
        let path = blank.or(spare).unwrap_or_else(|| prepared_path(&self.config.dir, state.next_number()));
        let others: Vec<PathBuf> =
            (1..together).map(|_| prepared_path(&self.config.dir, state.next_number())).collect();
        state.running.set(true);
        state.opening.set(!makes_blank);
        state.begun.set(Instant::now());
        let (data, config, medium, haste) =
            (self.data.clone(), self.config.clone(), self.medium.clone(), state.haste.clone());
        let attempt = self.helper.run(&self.ring, move || {
            let made = if !makes_blank {
                open(&config, &medium, path, &haste).map(Step::Ready)
            } else if free > 0 && !has_free(&config, free) {
                Ok(Step::TooFull)
            } else if !others.is_empty() {
                let one = path.clone();
                let paths = std::iter::once(path).chain(others).collect();
                make_together(&config, &medium, paths, &haste).map(Step::Blanks).or_else(|error| {
                    if !error.is_full() {
                        return Err(error);
                    }
                    // There may be room for one.
                    make(&config, &medium, one, false, &haste).map(|(path, written)| Step::Blank(path, written))
                })
            } else {
                make(&config, &medium, path, reused, &haste).map(|(path, written)| Step::Blank(path, written))
            };
            // The lock of the directory is kept for as long as the job runs.
            drop(data);
            made
        });
        let (state, preparer) = (state.clone(), Rc::downgrade(self));
        spawn_local(async move {
            let goes_on = state.end(attempt.await);
            let Some(preparer) = preparer.upgrade() else { return };
            if state.full.get() {
                preparer.hurry.notify_all();
            }
            // Not after a failure: the next `take` or `room` tries again.
            if goes_on {
                preparer.start();
            }
        });
    }
}

/// Takes so many from the end, as far as there are.
fn last<T>(queue: &mut VecDeque<T>, count: usize) -> VecDeque<T> {
    queue.split_off(queue.len().saturating_sub(count))
}

impl<H> State<H> {
    fn next_number(&self) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }

    fn recycled(&self, recycled: Recycled<H>) {
        match recycled {
            Recycled::Spare(path) => self.spares.borrow_mut().push_back(path),
            Recycled::Ready(Ok((prepared, written))) => {
                let Preparation { bytes, zeroed, recycled } = self.counts.get();
                self.counts.set(Preparation { bytes: bytes + written, zeroed, recycled: recycled + 1 });
                self.ready.borrow_mut().push_back(prepared);
                self.ended.notify_all();
            }
            Recycled::Ready(Err(error)) => {
                self.failure.replace(Some(io::Error::from(error).to_string()));
                self.ended.notify_all();
            }
        }
    }

    /// Segments that are made: ready or blank.
    fn made(&self) -> usize {
        self.ready.borrow().len() + self.blanks.borrow().len()
    }

    /// `true`: it is worth going on.
    fn end(&self, step: Result<Step<H>, FileError>) -> bool {
        self.running.set(false);
        let took = self.begun.get().elapsed();
        let works = if self.haste.is_set() { took } else { took / Haste::STRETCH };
        self.full.set(false);
        self.failure.replace(None);
        let failures = self.failures.take();
        let mut goes_on = true;
        let Preparation { bytes, zeroed, recycled } = self.counts.get();
        match step {
            Ok(Step::Blank(path, written)) => {
                self.blank_works.set(works);
                self.counts.set(Preparation { bytes: bytes + written, zeroed, recycled });
                self.blanks.borrow_mut().push_back(path);
            }
            Ok(Step::Blanks(paths)) => {
                self.blank_works.set(works / paths.len() as u32);
                self.blanks.borrow_mut().extend(paths);
            }
            Ok(Step::Ready(prepared)) => {
                self.open_works.set(works);
                self.counts.set(Preparation { bytes, zeroed: zeroed + 1, recycled });
                self.ready.borrow_mut().push_back(prepared);
            }
            Ok(Step::TooFull) => {
                self.reach.reset();
                goes_on = false;
            }
            Err(error) => {
                goes_on = false;
                if error.is_full() {
                    self.full.set(true);
                    self.reach.reset();
                } else {
                    self.failures.set(failures + 1);
                    self.failure.replace(Some(io::Error::from(error).to_string()));
                }
            }
        }
        self.ended.notify_all();
        goes_on
    }
}
