//! The task that keeps a ring going: it enters and reaps, and it is what the shard sleeps in.

use crate::{core::Core, tasks::polls};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// What the rest of the ring knows of its task.
#[derive(Default)]
pub(crate) struct Pump {
    /// The pump waits for something to be pushed; wake this.
    parked: RefCell<Option<Waker>>,
    stopping: Cell<bool>,
}

impl Pump {
    /// Something was pushed, or somebody listens: see to it that an enter follows.
    pub(crate) fn kick(&self) {
        if let Some(parked) = self.parked.borrow_mut().take() {
            parked.wake();
        }
    }

    /// Ends the task. Nothing may be outstanding.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.kick();
    }
}

/// Lets all runnable tasks run, enters for all that they pushed, and when nobody is runnable any more sleeps in that
/// same enter, until something completes.
///
/// glommio runs its tasks first come first served. So when the pump has stood in line and nobody was polled before its
/// turn came, nobody is runnable, and nothing but a completion can change that. While others run, what they pushed
/// waits for one more round at most: their neighbours may push more, or come to rest.
pub(crate) async fn run(core: Rc<Core>) {
    let _abort = AbortOnPanic;
    let pump = &core.pump;
    let mut waited = false;
    loop {
        let before = polls();
        futures_lite::future::yield_now().await;
        if polls() != before {
            let submits = core.has_unsubmitted();
            if core.has_arrivals() || (submits && waited) {
                core.turn(false);
                waited = false;
            } else {
                waited = submits;
            }
            continue;
        }
        waited = false;
        if core.awaits_signal() || core.has_unsubmitted() {
            core.turn(core.awaits_signal());
        } else if pump.stopping.get() {
            return;
        } else {
            park(&core).await;
        }
    }
}

/// Nothing is in flight: leaves the executor to itself until something is.
async fn park(core: &Core) {
    poll_fn(|context| {
        if core.awaits_signal() || core.has_unsubmitted() || core.pump.stopping.get() {
            return Poll::Ready(());
        }
        *core.pump.parked.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
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
