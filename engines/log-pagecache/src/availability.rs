//! Whether a directory can hold segments, found out by allocating and writing one page.

use log_api::Availability;
use std::{fs, io, os::unix::fs::FileExt, path::Path};

/// The directory's answer, with what to change when it is no. A directory that does not exist yet is answered by its nearest parent.
#[must_use]
pub fn availability(dir: &Path) -> Availability {
    let place = dir.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    match attempt(place) {
        Ok(()) => Availability::Available,
        Err(error) => Availability::Unavailable(format!(
            "no file can be allocated and written in {}: {error}: choose a directory that can be written, with room in it",
            place.display()
        )),
    }
}

fn attempt(place: &Path) -> io::Result<()> {
    let path = place.join(format!(".highwater-pagecache-{}-{:?}", std::process::id(), std::thread::current().id()));
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    // The name is not needed any more; the file goes with its last descriptor, whatever happens below.
    fs::remove_file(&path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4096)?;
    file.write_all_at(&[1], 0)
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
