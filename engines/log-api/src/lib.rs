//! The contract between a shard of the broker and a log engine.
//!
//! What lives here: the trait [`LogEngine`], the newtypes its methods speak in, their errors, the counters every engine
//! keeps, what its stages cost, and the capabilities it declares. What never does: I/O, a runtime, a thread, `unsafe`, knowledge of topics,
//! clients or sockets.

#![forbid(unsafe_code)]

mod capability;
mod chunk;
mod counters;
mod engine;
mod error;
mod names;
mod stages;

pub use capability::{Availability, Capabilities, SendPath};
pub use chunk::{Chunk, FileRange, Lease, Piece};
pub use counters::{CounterSnapshot, Counters};
pub use engine::{Appended, Batch, Cut, EngineConfig, Framing, LogEngine, Marks, Read, ReadKind, Recovery};
pub use error::{AppendError, CommitError, Damage, OpenError, ReadError, TrimError};
pub use names::{Epoch, FlushGroup, Level, LogId, Offset};
pub use stages::{Stage, Stages};
