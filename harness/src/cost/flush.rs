//! The latency of a bare flush in a directory: the floor of every durable acknowledgement there.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of one overwrite.
const BLOCK_BYTES: usize = 4096;
/// The first flushes also write the file's metadata: not measured.
pub const WARM_UP: usize = 5;
/// Enough for a median.
const SAMPLES_MAX: usize = 200;
/// A slow disk gets fewer samples, not a longer wait.
const TIME_MAX: Duration = Duration::from_millis(500);

/// The median of 4 KiB overwrites, each followed by fdatasync, in a file of its own that is removed again.
///
/// # Errors
/// The directory cannot be written.
pub fn median(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(format!(".highwater-flush-{}", std::process::id()));
    let measured = File::create_new(&path).and_then(|file| measure(&file));
    fs::remove_file(&path).ok();
    measured
}

/// One overwrite of the first 4 KiB, and its fdatasync.
///
/// # Errors
/// The system fails either.
pub fn once(file: &File) -> io::Result<()> {
    file.write_all_at(&[0x5a; BLOCK_BYTES], 0)?;
    file.sync_data()
}

fn measure(file: &File) -> io::Result<Duration> {
    let begin = Instant::now();
    let mut samples = Vec::with_capacity(SAMPLES_MAX);
    for round in 0..WARM_UP + SAMPLES_MAX {
        let start = Instant::now();
        once(file)?;
        if round >= WARM_UP {
            samples.push(start.elapsed());
        }
        if !samples.is_empty() && begin.elapsed() > TIME_MAX {
            break;
        }
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2])
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_leaves_nothing_behind_and_says_when_it_cannot_write() {
        let dir = std::env::temp_dir().join(format!("highwater-flush-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert!(super::median(&dir).unwrap() > std::time::Duration::ZERO);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
        assert!(super::median(&dir).is_err());
    }
}
