//! Whether a directory can hold segments, found out by allocating and writing one page.

use log_api::Availability;
use log_segment::attempt;
use std::{os::unix::fs::FileExt, path::Path};

/// The directory's answer, with what to change when it is no. A directory that does not exist yet is answered by its nearest parent.
#[must_use]
pub fn availability(dir: &Path) -> Availability {
    let write = |file: &std::fs::File| file.write_all_at(&[1], 0);
    attempt(dir, write, |place, error| {
        format!(
            "no file can be allocated and written in {}: {error}: choose a directory that can be written, with room in it",
            place.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_that_can_be_written_is_available_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(availability(&dir.path().join("not/yet/there")), Availability::Available);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        match availability(Path::new("/proc/self")) {
            Availability::Unavailable(reason) => assert!(reason.contains("/proc/self"), "{reason}"),
            Availability::Available => panic!("/proc takes no files"),
        }
    }
}
