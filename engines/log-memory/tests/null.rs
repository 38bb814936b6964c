//! The null engine keeps what of the contract it can: offsets, marks, commits.

log_testkit::conformance!(log_memory::Null);
