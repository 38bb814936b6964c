//! The generator: producers, consumers and recorders in one loop on one core.
//!
//! What lives here: encoding and sending what the schedule has due ([`encode`]), receiving and checking what consumers get
//! ([`stream`], [`whole`], [`ring`]), writing down when ([`recorder`], [`cells`], [`axis`], [`clock`]), and what the
//! machine kept the core from all that ([`taken`]). What never does: a thread, a lock, a wait that is
//! not bounded by the next arrival.

pub mod axis;
pub mod cells;
pub mod clock;
pub mod consumers;
pub mod encode;
pub mod feed;
pub mod generator;
pub mod recorder;
pub mod ring;
pub mod stamp;
pub mod stream;
pub mod taken;
pub mod whole;
