//! Whether a directory can hold mapped segments, found out by mapping one page.

use crate::mapping::Mapping;
use log_api::Availability;
use log_segment::attempt;
use std::path::Path;

/// The directory's answer, with what to change when it is no. A directory that does not exist yet is answered by its nearest parent.
#[must_use]
pub fn availability(dir: &Path) -> Availability {
    let map = |file: &std::fs::File| {
        let mapping = Mapping::new(file, 4096, 0)?;
        mapping.append_with(1, |place| place[0] = 1);
        Ok(())
    };
    attempt(dir, map, |place, error| {
        format!(
            "a file in {} cannot be mapped: {error}: choose a directory that can be written, on a file system that maps files",
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
