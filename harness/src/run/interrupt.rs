//! Ctrl-C, SIGTERM and a terminal that is closed: the first asks for an orderly end, the second for an end at once.

use anyhow::Context;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
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
        let mut wanted = vec![SIGINT, SIGTERM];
        // `nohup` wants a run to go on without its terminal.
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).context("listen for Ctrl-C")?;
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

/// Whether this process was started with a signal ignored (proc_pid_status(5), `SigIgn`).
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
