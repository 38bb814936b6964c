//! What the disk engines share: a log as a folder of segment files.
//!
//! ```text
//! <data>/lock                                held (flock) by the process that has the directory
//! <data>/00007/                              log 7
//!     00000000000000000000.log               batches, then zeros until it is sealed; named by its first offset
//!     00000000000000000000.index             of a sealed segment: offset -> position; a hint, rebuilt when missing or wrong
//!     00000000000000000003.next              a segment prepared ahead: zeros, or batches given up before; renamed when taken into use
//!     watermark                              a lower bound of what is durable
//!     epochs                                 incarnation -> first offset; durable before the incarnation's first append
//! ```
//!
//! What lives here: names and the lock, recovery, the sparse index, the files beside the segments, the in-memory list of
//! segments and the planning of reads, and the jobs that run off the shard (preparing, adopting, sealing, trimming); and what the two
//! engines on the page cache do alike while a log is served: flushes and their order ([`DiskLog`]), the dirty budget ([`Pace`]), reads
//! through the ring ([`Loader`]). What never does: how bytes get into a segment. That is what engines differ in.
//!
//! An engine's life with one log, with the names of this crate:
//!
//! ```text
//! open     helper: recover(&LogConfig, &Files) -> Recovered; Medium::open for the active segment
//!          shard:  Segments::new, Preparer::new(..).start(), Keeper::new
//! append   Segments::room too small: Preparer::take -> Keeper::adopt + Segments::roll; then Segments::append for each batch
//! commit   Segments::mark at submission; after a flush Keeper::note_durable; Segments::take_sealable -> Keeper::seal
//! read     Segments::plan -> Plan; if it is not exact, read its bytes and Plan::narrow
//! trim     Segments::trim -> Keeper::trim, or Preparer::trim where segments are recycled
//! close    Segments::finish -> Keeper::close
//! ```

#![forbid(unsafe_code)]

mod ahead;
mod aligned;
mod attempt;
mod check;
mod device;
mod disk_log;
mod epochs;
mod examine;
mod files;
mod flights;
mod index;
mod keeper;
mod listing;
mod load;
mod make;
mod medium;
mod names;
mod pace;
mod plan;
mod prepare;
mod reach;
mod recover;
mod scan;
mod segments;
#[cfg(test)]
mod segments_model;
mod side_file;
mod turns;
mod watermark;

pub use ahead::{Ahead, Haste};
pub use aligned::Aligned;
pub use attempt::attempt;
pub use check::{damage, verify_read};
pub use device::DeviceReader;
pub use disk_log::{DiskLog, Hold, Host, Logs, Place, SEAL_LINGER};
pub use files::Files;
pub use flights::{Flights, Poison, flushed};
pub use index::{Boundary, SparseIndex};
pub use keeper::Keeper;
pub use load::{Loaded, Loader, SegmentFile};
pub use medium::{Medium, Reuse};
pub use names::{DataDir, LAYOUT_FILE, LogConfig, index_path, prepared_path, segment_path};
pub use pace::Pace;
pub use plan::{Plan, walk};
pub use prepare::{Preparation, Prepared, PreparedFile, Preparer};
pub use recover::{ActiveSegment, Recovered, SealedSegment, recover};
pub use segments::{Dead, SealJob, Segment, Segments};
pub use turns::Turns;
