//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second for an end at once.

use anyhow::Context;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// How often the run was interrupted.
#[derive(Clone, Default)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// Counts from now on, instead of dying.
    ///
    /// # Errors
    /// The system refuses a handler or a thread.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupts = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for Ctrl-C")?;
        let count = interrupts.clone();
        let listen = move || signals.forever().for_each(|_| count.count());
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen).context("start a thread")?;
        Ok(interrupts)
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The run is to end.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The run is to end at once.
    #[must_use]
    pub fn again(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}
