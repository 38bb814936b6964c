//! How near a row comes to what the machine can do.

use serde::{Deserialize, Serialize};

/// What the shards did during the plateau, or during the whole run of a profile without one. Over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlateauUse {
    /// Length of the window in which this was counted.
    pub time_s: f64,
    /// Bytes of batches acknowledged.
    pub acknowledged_bytes: u64,
    /// Batches acknowledged.
    pub acknowledged_batches: u64,
    /// Commits done, over all flush groups.
    pub commits: u64,
    /// Bytes sent to consumers.
    pub sent_bytes: u64,
    /// Processor time of the shards' threads, seconds; `None` where it cannot be read.
    pub shard_cpu_s: Option<f64>,
    /// The same with helpers and workers of the ring that may run on the shards' cores alone. Absent in results of builds that did not
    /// tell.
    #[serde(default)]
    pub shard_core_cpu_s: Option<f64>,
}

/// One ceiling and how much of it was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CeilingShare {
    /// In words, with sizes: `direct DSYNC ×1, 61.4 kB`, `shard's core`.
    pub ceiling: String,
    /// `bytes/s`, `operations/s`, `cores`.
    pub unit: String,
    /// What the row used, in the unit.
    pub used: f64,
    /// What the machine can do, in the unit.
    pub limit: f64,
    /// `used / limit`.
    pub share: f64,
}
