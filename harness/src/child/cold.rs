//! Keeps finished segments out of the page cache while catch-up consumers read them: cold reads without writing terabytes.
//!
//! Dropping works for pages that are written and not mapped; a segment that an engine keeps mapped stays warm, and a run cannot
//! force it (posix_fadvise(2), POSIX_FADV_DONTNEED).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Time between two drops.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Drops the finished segments below a directory from the page cache, at once and then each second, until dropped itself.
pub struct Cold {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cold {
    /// Writes the segments below `dir` to the device, drops them, and goes on dropping.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn keep(dir: &Path) -> std::io::Result<Self> {
        for segment in finished_segments(dir) {
            if let Ok(file) = File::open(&segment) {
                // What is dirty cannot be dropped. An error here is the engine's to find: this only warms or cools a cache.
                file.sync_data().ok();
            }
        }
        drop_pages(dir);
        let (stop, dir) = (Arc::new(AtomicBool::new(false)), dir.to_path_buf());
        let stopped = stop.clone();
        let keep = move || {
            let mut waited = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                waited += LOOK;
                if waited >= PERIOD {
                    waited = Duration::ZERO;
                    drop_pages(&dir);
                }
            }
        };
        let thread = std::thread::Builder::new().name("cold-cache".to_owned()).spawn(keep)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did there would be nothing to clean up.
            thread.join().ok();
        }
    }
}

fn drop_pages(dir: &Path) {
    for segment in finished_segments(dir) {
        if let Ok(file) = File::open(&segment) {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).ok();
        }
    }
}

/// All `*.log` files below `dir` but the last of each folder: that one is being written.
fn finished_segments(dir: &Path) -> Vec<PathBuf> {
    let mut segments = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let mut own: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                own.push(path);
            }
        }
        own.sort();
        own.pop();
        segments.extend(own);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_being_written_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("highwater-cold-{}", std::process::id()));
        let log = dir.join("00000");
        fs::create_dir_all(&log).unwrap();
        for name in ["00000000000000000000.log", "00000000000000000100.log", "00000000000000000100.index", "3.next"] {
            fs::write(log.join(name), "x").unwrap();
        }
        assert_eq!(finished_segments(&dir), [log.join("00000000000000000000.log")]);
        drop(Cold::keep(&dir).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        assert!(finished_segments(&dir).is_empty());
    }
}
