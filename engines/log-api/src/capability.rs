//! What an engine can do, and whether it can do it here.

use std::fmt;

/// How bytes of the log reach a socket. The first axis on which zero copy is studied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendPath {
    /// `sendfile(2)`: the socket takes references to page-cache pages.
    Sendfile,
    /// `send` from memory that the engine pins: the kernel copies once.
    Copy,
}

impl SendPath {
    /// All paths, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Sendfile, Self::Copy];

    /// The name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sendfile => "sendfile",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for SendPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an engine declares of itself. A hook that only one engine needs is a flag here, not a case in the core.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The name on the command line, in files and in tables.
    pub name: &'static str,
    /// One sentence: the mechanism.
    pub mechanism: &'static str,
    /// It can acknowledge [`crate::Level::Durable`] truthfully.
    pub durable: bool,
    /// What was appended is found again after close and open.
    pub persistent: bool,
    /// It can give back what was appended.
    pub readable: bool,
    /// Send paths that it supports, the natural one first; empty when it is not readable.
    pub send_paths: &'static [SendPath],
    /// Copies of a payload byte that the kernel makes on the way in, by design: one into the page cache, none for a mapping or for
    /// O_DIRECT. The engine's own copies are counted, not declared.
    pub kernel_copies_in: u32,
    /// With several commits of a log in flight, the page in which the last one ends may go to the device with the one that follows, and the last
    /// one is acknowledged only then.
    pub last_page_follows: bool,
}

impl Capabilities {
    /// Commits of a log in flight, when `depth` of them (at least 1) are to be on the device at once as long as they follow each other: where the
    /// oldest of several only waits for a page that its successor takes along, one more. After a pause all of them may be on the device.
    #[must_use]
    pub const fn commits_in_flight(&self, depth: u32) -> u32 {
        if depth > 1 && self.last_page_follows { depth + 1 } else { depth }
    }
}

/// Whether an engine can run on this machine, in this directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Available,
    /// It cannot; the reason in words, with what to change.
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_commit_more_is_in_flight_where_the_last_page_follows_and_there_are_several() {
        let engine = |last_page_follows| Capabilities {
            name: "",
            mechanism: "",
            durable: true,
            persistent: true,
            readable: true,
            send_paths: &[],
            kernel_copies_in: 0,
            last_page_follows,
        };
        let inflight = |follows| [1, 2, 4].map(|depth| engine(follows).commits_in_flight(depth));
        assert_eq!((inflight(false), inflight(true)), ([1, 2, 4], [1, 3, 5]));
    }
}
