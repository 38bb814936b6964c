//! The system's own programs: mount, losetup, mkfs.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Runs a program to its end; its output.
///
/// # Errors
/// In words, what failed.
pub(crate) fn run(command: &[&str]) -> Result<String, String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the testkit's paths are text")
}
