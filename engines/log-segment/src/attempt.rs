//! Finding out what a directory allows by doing it once, in a file that has no name any more.

use log_api::Availability;
use std::{fs, fs::File, io, path::Path};

/// Tries something with a fresh file of one allocated page in `dir`, or in its nearest parent that exists. The file goes with its last
/// descriptor, whatever happens. `describe` says in a sentence, of the place and the error, what is wrong and what to change.
pub fn attempt(
    dir: &Path,
    work: impl FnOnce(&File) -> io::Result<()>,
    describe: impl FnOnce(&Path, &io::Error) -> String,
) -> Availability {
    let place = dir.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    match fresh_page(place).and_then(|file| work(&file)) {
        Ok(()) => Availability::Available,
        Err(error) => Availability::Unavailable(describe(place, &error)),
    }
}

fn fresh_page(place: &Path) -> io::Result<File> {
    let path = place.join(format!(".highwater-{}-{:?}", std::process::id(), std::thread::current().id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4096)?;
    Ok(file)
}
