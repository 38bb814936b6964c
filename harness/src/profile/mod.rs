//! Workload profiles: what a run offers, as data whose every number carries its source.
//!
//! What lives here: reading a profile (TOML, [`Profile::load`]) and its trace, saying exactly what is wrong with one
//! ([`ProfileError`]), explaining it ([`explain`]), fixing its rates and clock for a run ([`Profile::resolve`]) and the dry
//! run's arithmetic ([`Plan`]). `workloads/README.md` is the schema for people. What never does: drawing arrivals
//! (`crate::schedule`), measuring, anything an engine would know.

mod curve;
mod document;
mod error;
mod explain;
mod figure;
mod model;
mod parse;
mod parse_curve;
mod plan;
mod quantity;
mod resolve;
mod shipped;
mod trace;

pub use curve::{Piece, Shape};
pub use error::{ProfileError, did_you_mean, from_toml};
pub use explain::explain;
pub use figure::Figure;
pub use model::{
    ArrivalLaw, CatchUp, Consumers, DurabilityClass, Follow, Mark, Messages, Objective, PartitionCount, Partitions,
    Phase, Profile, Published, Role, Scale, SizeLaw, Skew, Storage,
};
pub use parse::{BATCH_BYTES_MAX, PARTITIONS_MAX, PHASES_MAX, VALUE_BYTES_MIN};
pub use plan::{DoesNotFit, PhasePlan, Plan};
pub use quantity::{QuantityError, parse_bytes, parse_quantity};
pub use resolve::{PHASE_S_MIN, RATE_MAX, RUN_S_MAX, RUN_S_MIN, Resolved, ResolvedPhase, Settings, SettingsError};
pub use shipped::{Shipped, shipped};
