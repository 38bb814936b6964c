//! The test of the tests: a small engine that shares nothing with the real ones passes the whole suite, and with each of the bugs of
//! `bug.rs` planted in it, it does not.

mod bug;
mod caught;
mod recovery;
mod toy;

log_testkit::conformance!(toy::Toy<{ bug::NONE }>);
