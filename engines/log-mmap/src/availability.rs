//! Whether a directory can hold mapped segments, found out by mapping one page.

use crate::mapping::Mapping;
use log_api::Availability;
use std::{fs, io, path::Path};

/// The directory's answer, with what to change when it is no. A directory that does not exist yet is answered by its nearest parent.
#[must_use]
pub fn availability(dir: &Path) -> Availability {
    let place = dir.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    match attempt(place) {
        Ok(()) => Availability::Available,
        Err(error) => Availability::Unavailable(format!(
            "a file in {} cannot be mapped: {error}: choose a directory that can be written, on a file system that maps files",
            place.display()
        )),
    }
}

fn attempt(place: &Path) -> io::Result<()> {
    let path = place.join(format!(".highwater-mmap-{}-{:?}", std::process::id(), std::thread::current().id()));
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    // The name is not needed any more; the file goes with its last descriptor, whatever happens below.
    fs::remove_file(&path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4096)?;
    let mapping = Mapping::new(&file, 4096, 0)?;
    mapping.append_with(1, |place| place[0] = 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
