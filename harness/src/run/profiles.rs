//! Profiles as a run reads them: with the hash of their text.

use crate::config::Usage;
use crate::profile::{Profile, shipped};
use sha2::{Digest, Sha256};

/// A profile by name or file, and the SHA-256 of its text in hexadecimal.
///
/// # Errors
/// [`Usage`]: there is no such profile, or it is not one.
pub fn load(name_or_file: &str) -> anyhow::Result<(Profile, String)> {
    let profile = Profile::load(name_or_file).map_err(Usage::from_error)?;
    let text = match shipped().iter().find(|shipped| shipped.name == name_or_file) {
        Some(shipped) => shipped.text.to_owned(),
        None => std::fs::read_to_string(name_or_file).map_err(Usage::from_error)?,
    };
    Ok((profile, sha256(text.as_bytes())))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn an_unknown_profile_is_a_usage_error() {
        let error = load("duble11").unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error}");
    }
}
