//! The tasks that keep a ring going: the pump enters and reaps, the heartbeat sees to it that the executor comes back.

use crate::{Event, core::Core};
use glommio::{
    io::{PollState, PollableFd},
    timer::Timer,
};
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

/// After so many beats before which nothing happened, beats come twice as far apart; after as many more, again.
const QUIET_BEATS: u32 = 4;
/// Beats are at most 2 to this power further apart than configured while a connection or a file is being served.
const SLOWER_LOG2_MAX: u32 = 3;
/// The same while the shard only listens: at 10 ms a beat every 1.3 s, one ten-thousandth of a core. Whoever connects in the
/// moment of a lost wake-up waits for as long.
const LISTENING_LOG2_MAX: u32 = 7;

/// What the rest of the ring knows of its tasks.
pub(crate) struct Pump {
    /// Entries were pushed since the last enter.
    dirty: Cell<bool>,
    /// The pump sleeps; wake this.
    parked: RefCell<Option<Waker>>,
    stopping: Cell<bool>,
    /// Something was pushed or completed since the last beat.
    active: Cell<bool>,
    /// Beats in a row before which nothing happened.
    quiet: Cell<u32>,
    /// Something happened while the hearts were slow, or at rest.
    hurry: Event,
    started: Instant,
    /// A heart beat while the pump slept: look whether something has completed without a signal.
    suspect: Cell<bool>,
    watch: Arc<Watch>,
    heartbeat: Duration,
}

impl Pump {
    pub(crate) fn new(heartbeat: Duration) -> Self {
        Self {
            dirty: Cell::new(false),
            parked: RefCell::new(None),
            stopping: Cell::new(false),
            active: Cell::new(false),
            quiet: Cell::new(0),
            hurry: Event::new(),
            started: Instant::now(),
            suspect: Cell::new(false),
            watch: Arc::new(Watch::new(heartbeat)),
            heartbeat,
        }
    }

    /// Entries were pushed: see to it that an enter follows in this turn.
    pub(crate) fn kick(&self) {
        self.happened();
        self.poke();
    }

    /// Something was pushed or has completed.
    fn happened(&self) {
        self.active.set(true);
        if self.quiet.get() >= QUIET_BEATS {
            self.quiet.set(0);
            self.hurry.notify_all();
        }
    }

    /// When heart number `heart` beats next: the hearts take turns on a common grid, so that lateness does not bring
    /// them together.
    fn until_next_beat(&self, heart: u32, slower_log2_max: u32) -> Duration {
        let slower = 1 << (self.quiet.get() / QUIET_BEATS).min(slower_log2_max);
        let (step, now) = (self.heartbeat * slower, self.started.elapsed());
        let passed = (now.as_nanos() / step.as_nanos()) as u32;
        let next = passed + 1 + (passed + 1 + heart) % 2;
        step * next - now
    }

    /// Has the pump enter in this turn, if anything could have completed: a task that yields often keeps glommio from
    /// looking at the eventfd for as long as the preempt timer lets it.
    pub(crate) fn poke(&self) {
        if !self.dirty.replace(true)
            && let Some(parked) = self.parked.borrow_mut().take()
        {
            parked.wake();
        }
    }

    /// Ends the tasks. Nothing may be outstanding.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        if let Some(parked) = self.parked.borrow_mut().take() {
            parked.wake();
        }
        self.hurry.notify_all();
    }
}

/// Enters once a turn while there is something to do, and sleeps only after an enter that brought no completion: one
/// enter runs about 20 deferred completions, and nothing signals the rest (axboe/liburing#1474).
///
/// The eventfd is told of completions only when the pump may sleep after this enter: in a busy stretch nobody needs the
/// signal. It is read before such an enter, not after a wake-up, so that what that enter reaps leaves no stale signal.
pub(crate) async fn run(core: Rc<Core>) {
    let Ok(signal) = PollableFd::new(Borrowed(core.signal.clone())) else {
        unreachable!("glommio only notes the descriptor")
    };
    let _abort = AbortOnPanic;
    let mut readiness = PollState::default();
    let pump = &core.pump;
    let mut state = Signal { came: false, may_be_set: false, inline: false };
    loop {
        let submits = core.has_unsubmitted();
        pump.dirty.set(false);
        // An enter after a signal brings completions. One that submits brings some if the last did: sends to sockets
        // that can be written complete at once, work for files later. A wrong guess costs one more enter.
        let suspect = pump.suspect.take() && !state.came;
        let brings = state.came || suspect || (submits && state.inline);
        let may_sleep = !brings;
        state.came = false;
        if may_sleep && state.may_be_set {
            core.count(&core.counters.eventfd_reads);
            // Nothing there is fine: the descriptor does not block.
            let _ = rustix::io::read(&core.signal, &mut [0; 8]);
            state.may_be_set = false;
            core.signalled.notify_all();
        }
        let brought = core.turn(may_sleep);
        // A task that yields often keeps glommio from the eventfd, and so from the bells too: who listens looks at its
        // latch each turn.
        if core.listening.get() > 0 {
            core.signalled.notify_all();
        }
        if suspect && brought > 0 && !submits {
            core.count(&core.counters.eventfd_reads);
            let silent = rustix::io::read(&core.signal, &mut [0; 8]).is_err();
            core.counters.unsignalled.add(u64::from(silent));
            core.signalled.notify_all();
        }
        if brought > 0 {
            pump.happened();
            state.may_be_set |= may_sleep;
        }
        if submits {
            state.inline = brought > 0;
        }
        if brought > 0 || core.has_unsubmitted() || !may_sleep {
            // Those that were woken run first, and what they push goes out with one enter.
            futures_lite::future::yield_now().await;
            continue;
        }
        if pump.stopping.get() && core.outstanding() == 0 {
            return;
        }
        if core.awaits_signal() {
            core.counters.sleeps.add(1);
        }
        state.came = poll_fn(|context| {
            let waker = pump.watch.wrap(context.waker());
            if pump.dirty.get() || pump.stopping.get() {
                return Poll::Ready(false);
            }
            if core.awaits_signal() {
                let mut watched = Context::from_waker(&waker);
                if signal.poll_readable(&mut watched, &mut readiness).is_ready() {
                    return Poll::Ready(true);
                }
            }
            *pump.parked.borrow_mut() = Some(waker);
            Poll::Pending
        })
        .await;
        pump.watch.ran();
        pump.parked.borrow_mut().take();
        if state.came {
            pump.happened();
            state.may_be_set = true;
            core.signalled.notify_all();
        }
    }
}

/// A panic in the pump would free buffers that the kernel still uses, with nobody left to await it: the process ends instead.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The ring's eventfd, as glommio takes it.
struct Borrowed(Arc<OwnedFd>);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What the pump knows of the eventfd.
struct Signal {
    /// It has just ended the pump's sleep.
    came: bool,
    /// It may have been rung since it was last read.
    may_be_set: bool,
    /// The last enter that submitted something brought completions at once.
    inline: bool,
}

/// Keeps a timer of glommio's running while anything is in flight, so that an executor that parked with runnable tasks
/// comes back (glommio/glommio#53), and has a sleeping pump look for completions that were not signalled.
///
/// Two hearts beat in turns: should the wake-up of one be what was lost, there is the other. Beats come further apart,
/// up to eight times, while nothing happens (a beat costs glommio about nine system calls), further still while the shard
/// only listens, and end when nothing is in flight.
pub(crate) async fn heart(core: Rc<Core>, number: u32) {
    let pump = &core.pump;
    while !pump.stopping.get() {
        let mut hurry = pin!(pump.hurry.wait());
        if !core.awaits_signal() && pump.quiet.get() >= QUIET_BEATS {
            hurry.await;
            continue;
        }
        let slower_log2_max = if core.only_listens() { LISTENING_LOG2_MAX } else { SLOWER_LOG2_MAX };
        let mut timer = pin!(Timer::new(pump.until_next_beat(number, slower_log2_max)));
        let beats = poll_fn(|context| {
            if hurry.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            timer.as_mut().poll_watched(context, &pump.watch).map(|()| true)
        });
        if !beats.await {
            continue;
        }
        let quiet = if pump.active.take() { 0 } else { pump.quiet.get() + 1 };
        pump.quiet.set(quiet);
        core.counters.heartbeats.add(1);
        core.counters.rescues.add(pump.watch.take_rescues());
        if core.awaits_signal() && pump.parked.borrow().is_some() {
            pump.suspect.set(true);
            pump.poke();
        }
    }
}

trait PollWatched {
    fn poll_watched(self, context: &mut Context<'_>, watch: &Arc<Watch>) -> Poll<()>;
}

impl PollWatched for std::pin::Pin<&mut Timer> {
    fn poll_watched(self, context: &mut Context<'_>, watch: &Arc<Watch>) -> Poll<()> {
        // One waker a beat: beats are rare.
        let waker = Waker::from(Arc::new(Beat { watch: watch.clone(), heart: context.waker().clone() }));
        Future::poll(self, &mut Context::from_waker(&waker)).map(drop)
    }
}

/// Sees when the pump was woken and has not run since. Its fields are atomic because wakers must be `Sync`; one thread
/// uses them.
struct Watch {
    task: Mutex<Option<Waker>>,
    since: Instant,
    /// Nanoseconds after `since` at which the pump was woken; 0: it has run since.
    woken: AtomicU64,
    rescues: AtomicU64,
    /// Longer than the reactor needs to go through its events.
    late: Duration,
}

impl Watch {
    fn new(heartbeat: Duration) -> Self {
        Self {
            task: Mutex::new(None),
            since: Instant::now(),
            woken: AtomicU64::new(0),
            rescues: AtomicU64::new(0),
            late: heartbeat / 10,
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    /// A waker for the pump's task that leaves a note when it is used.
    fn wrap(self: &Arc<Self>, task: &Waker) -> Waker {
        match &mut *self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
        Waker::from(self.clone())
    }

    fn ran(&self) {
        self.woken.store(0, Ordering::Relaxed);
    }

    /// glommio's reactor fires a heart's timer. It does so before it runs any task, so if the pump was woken long ago
    /// and has not run, the executor slept on it.
    fn beat(&self) {
        let woken = self.woken.load(Ordering::Relaxed);
        if woken > 0 && self.now() - woken > self.late.as_nanos() as u64 {
            self.rescues.fetch_add(1, Ordering::Relaxed);
            self.ran(); // counted once
        }
    }

    fn take_rescues(&self) -> u64 {
        self.rescues.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.load(Ordering::Relaxed) == 0 {
            self.woken.store(self.now().max(1), Ordering::Relaxed);
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Wakes a heart, and looks after the pump at the moment of waking.
struct Beat {
    watch: Arc<Watch>,
    heart: Waker,
}

impl Wake for Beat {
    fn wake(self: Arc<Self>) {
        self.watch.beat();
        self.heart.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waker of a task that does not exist.
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    fn nobody() -> Waker {
        Waker::from(Arc::new(Nobody))
    }

    #[test]
    fn a_beat_that_finds_the_pump_woken_and_not_run_counts_once() {
        let watch = Arc::new(Watch::new(Duration::ZERO)); // at once is late
        let waker = watch.wrap(&nobody());
        watch.beat();
        assert_eq!(watch.take_rescues(), 0, "the pump sleeps, and nobody woke it");
        waker.wake_by_ref();
        watch.ran();
        watch.beat();
        assert_eq!(watch.take_rescues(), 0, "the pump has run");
        waker.wake_by_ref();
        while watch.now() == watch.woken.load(Ordering::Relaxed) {}
        watch.beat();
        watch.beat();
        assert_eq!(watch.take_rescues(), 1);
    }

    #[test]
    fn a_pump_that_was_woken_just_now_is_not_late() {
        let watch = Arc::new(Watch::new(Duration::from_secs(3_600)));
        watch.wrap(&nobody()).wake();
        watch.beat();
        assert_eq!(watch.take_rescues(), 0);
    }

    #[test]
    fn the_hearts_take_turns() {
        let pump = Pump::new(Duration::from_secs(100));
        for quiet in [0, QUIET_BEATS, 2 * QUIET_BEATS, 100] {
            pump.quiet.set(quiet);
            for slower_log2_max in [SLOWER_LOG2_MAX, LISTENING_LOG2_MAX] {
                let (one, other) = (pump.until_next_beat(0, slower_log2_max), pump.until_next_beat(1, slower_log2_max));
                let slower = 1 << (quiet / QUIET_BEATS).min(slower_log2_max);
                let apart = one.abs_diff(other).as_millis().next_multiple_of(1_000);
                assert_eq!(apart, 100_000 * slower, "{quiet} quiet beats");
                assert!(one.min(other) <= Duration::from_secs(100) * slower as u32);
            }
        }
    }
}
