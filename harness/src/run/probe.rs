//! Measures walls: what each engine sustains when it is flooded, consumers on.

use super::{
    engines::{Answer, Schedule, listen},
    interrupt::Interrupts,
    prepare::Prepared,
    results::Scratch,
    screen::Screen,
    settle, walls,
};
use crate::child::{
    job::{Event, Job, Task},
    measure::HARNESS_BOUND,
};
use crate::config::RunConfig;
use crate::profile::Settings;
use crate::summary::Wall;
use broker::EngineKind;
use log_api::Availability;
use std::path::Path;

/// Length of a probe, milliseconds.
const TOTAL_MS: u64 = 3_000;
/// Not counted at its start, milliseconds: first touches of memory, first segments.
const SETTLE_MS: u64 = 800;
/// Height at which a profile without one is resolved, only to learn its message shape, messages a second.
const ANY_PEAK: f64 = 100_000.0;

/// Probes every wall that a plateau may need; an engine that cannot run here, or fails, has none, and a line says so. `None`: interrupted.
///
/// # Errors
/// A directory cannot be made or a process not started; the null engine fails, which is the harness itself.
pub fn walls(
    prepared: &Prepared,
    config: &RunConfig,
    base: &Path,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Vec<Wall>>> {
    let wanted = walls::wanted(config.durability);
    let any_peak = prepared.profile.needs_peak().then_some(ANY_PEAK);
    let settings = Settings { peak: any_peak, rate: None, ..prepared.settings(config, None) };
    let resolved = prepared.profile.resolve(&settings).map_err(crate::config::Usage::from_error)?;
    let sizes = prepared.sizes(config, &resolved);
    let schedule = Schedule { settings, resolved: &resolved, sizes, walls: &[] };
    let mut found = Vec::new();
    for (number, (engine, durability)) in wanted.iter().enumerate() {
        if interrupts.any() {
            return Ok(None);
        }
        if let Availability::Unavailable(why) = engine.availability(&prepared.data_parent) {
            screen.line(&format!("{engine} has no wall: unavailable: {why}"));
            continue;
        }
        settle::settle(&prepared.data_parent, screen, interrupts);
        let topic = format!("probe {engine} {durability}");
        screen.moving(
            &topic,
            &format!("probing the wall of {engine} at {durability} ({} of {})", number + 1, wanted.len()),
        );
        let scratch = EngineKind::DISK
            .contains(engine)
            .then(|| Scratch::fresh(base.join(format!(".probe-{engine}-{}", std::process::id()))))
            .transpose()?;
        let dir = scratch.as_ref().map_or(base, Scratch::path).to_path_buf();
        let job = Job {
            task: Task::Probe { settle_ms: SETTLE_MS, total_ms: TOTAL_MS },
            durability: durability.to_string(),
            peak: None,
            rate: None,
            ..schedule.job(prepared, config, *engine, dir)
        };
        let answer = listen(&job, interrupts, |_| {})?;
        // A probe that was cut short is no wall, whatever it says.
        if interrupts.any() {
            return Ok(None);
        }
        match answer {
            Answer::Event(Event::Probed(probed)) => found.push(Wall {
                engine: engine.name().to_owned(),
                durability: durability.to_string(),
                messages_per_s: probed.messages_per_s,
                harness_bound: probed.generator_busy > HARNESS_BOUND,
            }),
            Answer::Event(Event::Failed { why, .. }) | Answer::Died(why) if *engine == EngineKind::Null => {
                anyhow::bail!("the null engine, which measures the harness, failed: {why}");
            }
            Answer::Event(Event::Failed { why, .. }) | Answer::Died(why) => {
                screen.line(&format!("{engine} has no wall at {durability}: {why}"));
            }
            Answer::Event(_) | Answer::Killed => screen.line(&format!("{engine} has no wall at {durability}")),
        }
    }
    screen.clear();
    Ok(Some(found))
}
