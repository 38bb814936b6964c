//! What a run costs, and where it ran: read from `/proc` and `/sys`, without root where possible.
//!
//! What lives here: processor time and faults by thread, the device's counts, dirty memory and write-back, facts of the machine.
//! What never does: a guess. What the system does not tell is absent.

pub mod device;
pub mod flush;
pub mod kernel;
pub mod machine;
pub mod threads;
