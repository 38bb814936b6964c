//! Tells the program which compiler built it: a figure's manifest names it.

use std::process::Command;

fn main() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo:rustc-env=HIGHWATER_RUSTC={}", version.unwrap_or_else(|_| "rustc (unknown)".to_owned()));
    println!("cargo:rerun-if-changed=build.rs");
}
