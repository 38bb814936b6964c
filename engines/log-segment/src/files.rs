//! The file operations that change a log's folder, in one place.

/// Performs the operations that change a log's folder. [`Files::default`] just does them.
#[derive(Clone, Debug, Default)]
pub struct Files {}
