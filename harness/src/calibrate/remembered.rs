//! Ceilings that were measured on this machine and device before, for runs to show their share of.

use super::ceilings::{Ceilings, VERSION};
use crate::cost::{
    device::Device,
    machine::{self},
};
use crate::run::{cache, facts::build_kind};
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

/// What the remembered files are called.
const KIND: &str = "ceilings";

/// What ceilings were measured for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The machine's identity, processor, kernel, cores that may be used, and build.
    pub machine: String,
    /// Device under the directory, with its file system.
    pub device: String,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    ceilings: Ceilings,
}

impl Key {
    /// Of this machine and the device under `dir`, which must exist.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let device = Device::of(dir).ok().flatten().map_or_else(|| "none".to_owned(), |device| device.name);
        Self {
            machine: format!(
                "{} {} {} {:?} {}",
                machine::machine_id(),
                machine::cpu_model(),
                machine::kernel(),
                machine::allowed_cpus(),
                build_kind()
            ),
            device: format!("{device} {}", machine::file_system(dir)),
        }
    }
}

/// The ceilings remembered in `dir` for a key; `None` if there are none, or of another version.
#[must_use]
pub fn recall(dir: &Path, key: &Key) -> Option<Ceilings> {
    let remembered: Remembered = cache::recall(dir, KIND, key)?;
    (remembered.ceilings.version == VERSION).then_some(remembered.ceilings)
}

/// Remembers ceilings, whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn remember(dir: &Path, key: &Key, ceilings: &Ceilings) -> io::Result<()> {
    cache::remember(dir, KIND, key, &Remembered { ceilings: ceilings.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{case::Case, ceilings::tests::ceilings};

    #[test]
    fn ceilings_come_back_for_the_same_machine_and_device_only() {
        let cache = tempfile::tempdir().unwrap();
        let key = Key { machine: "m".to_owned(), device: "vda ext4".to_owned() };
        assert_eq!(recall(cache.path(), &key), None);
        let first = ceilings(&[(Case::Flush, 7_000.0)]);
        remember(cache.path(), &key, &first).unwrap();
        let second = ceilings(&[(Case::Flush, 8_000.0)]);
        remember(cache.path(), &key, &second).unwrap();
        assert_eq!(recall(cache.path(), &key), Some(second.clone()), "the last one counts");
        assert_eq!(recall(cache.path(), &Key { device: "vdb ext4".to_owned(), ..key.clone() }), None);
        remember(cache.path(), &key, &Ceilings { version: VERSION + 1, ..second }).unwrap();
        assert_eq!(recall(cache.path(), &key), None);
    }
}
