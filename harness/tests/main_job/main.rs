//! The real binary, from its command line to its files and its exit status.

mod bad_input;
mod ctrl_c;
mod place;
mod runs;
