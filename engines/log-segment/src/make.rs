//! What preparing a segment does on the helper: the file, what an engine holds it by, and one that was given up made ready again.

use crate::{
    Files, Haste, LogConfig, Medium, Prepared, PreparedFile, SparseIndex,
    files::{FileError, naming},
};
use log_api::Offset;
use std::path::PathBuf;

/// Segments that are kept made beyond the usual may take one part in so many of the space that is free.
pub(crate) const FREE_SHARE: u64 = 4;

/// Whether there is room for so many segments. On the helper.
pub(crate) fn has_free(config: &LogConfig, segments: u64) -> bool {
    rustix::fs::statvfs(&config.dir).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= segments * config.segment_bytes)
}

/// Makes a durable file, of a `reused` one whose blocks are used again or else a new one. Returns the bytes of zeros written, too. On the
/// helper.
pub(crate) fn make<M: Medium>(
    config: &LogConfig,
    medium: &M,
    path: PathBuf,
    reused: bool,
    haste: &Haste,
) -> Result<(PathBuf, u64), FileError> {
    let files = Files::slowly(haste);
    let bytes = config.segment_bytes;
    let fills = M::fills(config.durable);
    let zeroed = fills && !M::WRITES_BLOCKS;
    // One whose blocks cannot be used again is gone, and a new one takes its place.
    let remade = if reused { files.remake_segment(&path, bytes, zeroed).ok() } else { None };
    let written = match remade {
        Some(written) => written,
        None => files.make_segment(&path, bytes, zeroed)?,
    };
    files.or_unlink(&path, || {
        medium.furnish(&path, bytes, haste).map_err(naming("write", &path))?;
        files.sync_dir(&config.dir)
    })?;
    let written = if fills && M::WRITES_BLOCKS { bytes } else { written };
    Ok((path, written))
}

/// Makes several new files whose blocks are only allocated. What is slow of each is a flush of the device, which has to write out all that the log
/// has written since the one before: of flushes one after the other only the first has much to do. On the helper.
pub(crate) fn make_together<M: Medium>(
    config: &LogConfig,
    medium: &M,
    paths: Vec<PathBuf>,
    haste: &Haste,
) -> Result<Vec<PathBuf>, FileError> {
    debug_assert!(!M::fills(config.durable), "its files are only allocated");
    let files = Files::slowly(haste);
    let all_or_none = || {
        let made = paths.iter().map(|path| files.allocate_segment(path, config.segment_bytes));
        let made = made.collect::<Result<Vec<_>, _>>()?;
        made.iter().zip(&paths).try_for_each(|(file, path)| files.sync(file, path))?;
        files.sync_dir(&config.dir)?;
        paths
            .iter()
            .try_for_each(|path| medium.furnish(path, config.segment_bytes, haste).map_err(naming("write", path)))
    };
    all_or_none().inspect_err(|_| {
        // What is left behind by a failure goes with the next open.
        paths.iter().for_each(|path| drop(files.unlink(path)));
    })?;
    Ok(paths)
}

/// Makes of a file what the engine holds a segment by. On the helper.
pub(crate) fn open<M: Medium>(
    config: &LogConfig,
    medium: &M,
    path: PathBuf,
    haste: &Haste,
) -> Result<Prepared<M::Handle>, FileError> {
    let bytes = config.segment_bytes;
    // A file that cannot be opened is worth nothing.
    let opened = || medium.open_slowly(&path, bytes, haste).map_err(naming("open", &path));
    let handle = Files::new().or_unlink(&path, opened)?;
    let index = SparseIndex::new(Offset(0), config.index_interval_bytes, bytes);
    Ok(Prepared { handle, file: PreparedFile { path, bytes, index } })
}

/// Makes a segment that was given up ready to be written again. On the helper.
pub(crate) fn refit<M: Medium>(
    files: &Files,
    config: &LogConfig,
    medium: &M,
    path: PathBuf,
    kept: M::Kept,
) -> Result<(Prepared<M::Handle>, u64), FileError> {
    let bytes = config.segment_bytes;
    let written = files.refit_segment(&path, bytes)?;
    let handle = files.or_unlink(&path, || {
        files.sync_dir(&config.dir)?;
        medium.renew(&path, bytes, kept).map_err(naming("open", &path))
    })?;
    let index = SparseIndex::new(Offset(0), config.index_interval_bytes, bytes);
    Ok((Prepared { handle, file: PreparedFile { path, bytes, index } }, written))
}
