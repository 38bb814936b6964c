//! Two engines without files: [`Memory`], the reference model that every other engine must behave like, and [`Null`], which accepts
//! and forgets.
//!
//! What lives here: what the contract of [`log_api::LogEngine`] looks like when nothing stands between it and memory. `null.rs` is the
//! smallest engine that compiles and the skeleton to copy for a new one: it says of each method whether it is *Required*, and what
//! the core relies on. What never does: a file, a thread, `unsafe`.

#![forbid(unsafe_code)]

mod memory;
mod null;
mod segment;

pub use memory::{BYTES_MAX_DEFAULT, Memory};
pub use null::Null;
