//! `highwater engines` and `highwater profiles`: what there is to choose from.

use crate::profile::{Profile, shipped};
use anyhow::Context;
use broker::EngineKind;
use log_api::{Availability, SendPath};
use std::{io::Write, path::Path, process::ExitCode};

/// Prints the engines with what they can do and whether they can run with their logs in `dir`.
///
/// # Errors
/// `dir` is no directory, or standard output is closed.
pub fn engines(dir: &Path, json: bool) -> anyhow::Result<ExitCode> {
    if !dir.is_dir() {
        return Err(crate::config::Usage::from_error(format!("--dir {}: is not a directory", dir.display())));
    }
    let mut out = std::io::stdout().lock();
    if json {
        let list: Vec<serde_json::Value> = EngineKind::ALL.map(|engine| described(engine, dir)).into();
        writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for engine in EngineKind::ALL {
        let can = engine.capabilities();
        let words = [
            can.durable.then_some("durable"),
            can.persistent.then_some("persistent"),
            can.readable.then_some("readable"),
        ];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let sends = can.send_paths.iter().map(|path| path.name()).collect::<Vec<_>>().join(", ");
        writeln!(out, "{:<10} {}", can.name, can.mechanism)?;
        writeln!(out, "           {}", if words.is_empty() { "keeps nothing".to_owned() } else { words.join(", ") })?;
        if !sends.is_empty() {
            writeln!(out, "           send: {sends}")?;
        }
        match engine.availability(dir) {
            Availability::Available => writeln!(out, "           available")?,
            Availability::Unavailable(why) => writeln!(out, "           unavailable: {why}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn described(engine: EngineKind, dir: &Path) -> serde_json::Value {
    let can = engine.capabilities();
    let unavailable = match engine.availability(dir) {
        Availability::Available => None,
        Availability::Unavailable(why) => Some(why),
    };
    serde_json::json!({
        "name": can.name,
        "mechanism": can.mechanism,
        "durable": can.durable,
        "persistent": can.persistent,
        "readable": can.readable,
        "send": can.send_paths.iter().map(|path| SendPath::name(*path)).collect::<Vec<_>>(),
        "available": unavailable.is_none(),
        "unavailable": unavailable,
    })
}

/// Prints the profiles with their titles.
///
/// # Errors
/// A shipped profile is faulty, or standard output is closed.
pub fn profiles() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for shipped in shipped() {
        let profile = Profile::load(shipped.name).with_context(|| format!("the shipped profile {}", shipped.name))?;
        writeln!(out, "{:<18} {}", profile.name, profile.title)?;
    }
    Ok(ExitCode::SUCCESS)
}
