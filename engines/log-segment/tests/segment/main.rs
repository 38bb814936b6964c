//! Recovery and the life of a log, against a model of what its folder should hold.
//!
//! `cfg(test)` is always true here; it tells the linter so.

#[cfg(test)]
mod common;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod life;
mod recycled;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod side_files;
#[cfg(test)]
mod torn_tail;
