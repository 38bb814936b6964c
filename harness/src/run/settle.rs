//! Between two engines: waits until what the last one wrote is on the device or gone, so that the next one begins on a quiet disk.

use super::{interrupt::Interrupts, screen::Screen};
use crate::cost::kernel::Memory;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Dirty memory that no longer matters: less than a tenth of a second of any disk's writing.
const SETTLED_BYTES: u64 = 32 << 20;
/// The longest wait.
const AT_MOST: Duration = Duration::from_secs(30);
/// Without progress for this long, somebody else is writing: waiting longer would not help.
const STUCK: Duration = Duration::from_secs(3);
/// Less is no progress.
const PROGRESS_BYTES: u64 = 1 << 20;
const LOOK: Duration = Duration::from_millis(50);

/// Asks the file system of `dir` to write what is dirty and waits, bounded and shown. Returns what is left dirty, bytes.
pub fn settle(dir: &Path, screen: &mut Screen, interrupts: &Interrupts) -> u64 {
    let begin = Instant::now();
    let mut least = Memory::sample().unsettled_bytes();
    if least <= SETTLED_BYTES {
        return least;
    }
    if let Ok(dir) = std::fs::File::open(dir) {
        // It may take as long as the disk does; the wait below does not depend on it.
        let sync = move || rustix::fs::syncfs(&dir).ok();
        std::thread::Builder::new().name("syncfs".to_owned()).spawn(sync).ok();
    }
    let mut progress = begin;
    loop {
        std::thread::sleep(LOOK);
        let now = Memory::sample().unsettled_bytes();
        if now + PROGRESS_BYTES < least {
            (least, progress) = (now, Instant::now());
        }
        if now <= SETTLED_BYTES || interrupts.any() || begin.elapsed() > AT_MOST || progress.elapsed() > STUCK {
            screen.clear();
            return now;
        }
        screen.moving("settle", &format!("waiting for the disk: {} MiB still to be written", now >> 20));
    }
}
