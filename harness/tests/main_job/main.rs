//! The real binary, from its command line to its files and its exit status.

mod bad_input;
mod calibrate;
mod ctrl_c;
mod disk;
mod place;
mod runs;
