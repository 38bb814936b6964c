//! Files on the ring.
use std::fs::File;
/// A file on the ring.
#[derive(Clone, Debug)]
pub struct RingFile(std::rc::Rc<File>);
impl RingFile {
    /// The file, for calls that do not go through the ring.
    pub fn file(&self) -> &File { &self.0 }
}
/// Whether a write is durable when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Written, not flushed.
    None,
    /// RWF_DSYNC: this write's bytes are on stable storage.
    Dsync,
}
