//! One child an engine, one after the other, each in a fresh directory.

use super::{
    interrupt::Interrupts,
    order,
    prepare::Prepared,
    process::{Heard, Running},
    results::{Results, Scratch},
    screen::{self, Screen},
    settle,
};
use crate::child::job::{Event, Job, Sizes, Task};
use crate::config::RunConfig;
use crate::profile::{Resolved, Settings};
use crate::summary::{EngineResult, Status, Wall, format};
use anyhow::Context;
use broker::EngineKind;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often the parent looks up while it listens.
const LOOK: Duration = Duration::from_millis(100);
/// How long a child may take to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(20);
/// A child that says nothing for this long hangs. Opening a large log after a crash is the longest silence there is.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long a backlog may drain after the schedule's end.
const DRAIN_MS: u64 = 30_000;

/// What every engine is given.
pub struct Schedule<'a> {
    /// What the profile leaves open.
    pub settings: Settings,
    /// The schedule.
    pub resolved: &'a Resolved,
    /// Sizes.
    pub sizes: Sizes,
    /// Known walls.
    pub walls: &'a [Wall],
}

impl Schedule<'_> {
    /// The job of one engine, but for its task and its place in the order.
    #[must_use]
    pub fn job(&self, prepared: &Prepared, config: &RunConfig, engine: EngineKind, data_dir: PathBuf) -> Job {
        let durability = config.durability.to_string();
        let wall = self.walls.iter().find(|wall| wall.engine == engine.name() && wall.durability == durability);
        // A path that an engine does not have is no reason to leave it out of a comparison of the others: only `null` and its like have none.
        let send = config.send.filter(|_| engine.capabilities().readable);
        Job {
            profile: prepared.given.clone(),
            profile_sha256: prepared.profile.sha256.clone(),
            peak: self.settings.peak,
            rate: self.settings.rate,
            speed: self.settings.speed,
            seed: self.settings.seed,
            task: Task::Play,
            engine: engine.name().to_owned(),
            durability,
            commit: config.commit.to_string(),
            layout: self.resolved.layout.to_string(),
            send: send.map(|path| path.name().to_owned()),
            shards: config.shards,
            generator_cpu: config.placement.generator,
            shard_cpus: config.placement.shards.clone(),
            helper_cpus: config.placement.helpers.clone(),
            data_dir,
            out_dir: None,
            sizes: self.sizes,
            order: 0,
            wall: wall.map(|wall| wall.messages_per_s),
            drain_ms: DRAIN_MS,
            stages: config.stages,
            keep: false,
        }
    }
}

/// Plays the schedule on every engine; results in the order asked for. What goes wrong is the engine's result.
pub fn play_all(
    prepared: &Prepared,
    config: &RunConfig,
    schedule: &Schedule<'_>,
    results: &Results,
    base: &Path,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> Vec<EngineResult> {
    let mut played: Vec<EngineResult> = Vec::new();
    for (place, index) in order::draw(schedule.resolved.seed, prepared.available.len()).into_iter().enumerate() {
        let engine = prepared.available[index];
        if interrupts.any() {
            break;
        }
        settle::settle(&prepared.data_parent, screen, interrupts);
        let order = place as u32 + 1;
        let result = match data_dir(config, base, engine) {
            Ok((data_dir, scratch)) => {
                let job = Job {
                    out_dir: Some(results.path.clone()),
                    order,
                    keep: scratch.is_none() && EngineKind::DISK.contains(&engine),
                    ..schedule.job(prepared, config, engine, data_dir)
                };
                play_one(&job, schedule.resolved, screen, interrupts)
            }
            Err(error) => Err(error),
        };
        // What keeps one engine from running takes nothing from the others.
        let result = result.unwrap_or_else(|error| {
            let why = format!("{error:#}");
            without_figures(engine.name(), order, Status::Failed { why })
        });
        screen.line(&ended(&result));
        played.push(result);
    }
    let of = |engine: &EngineKind| {
        let own = played.iter().find(|result| result.name == engine.name()).cloned();
        let unavailable = prepared.unavailable.iter().find(|(kind, _)| kind == engine);
        own.unwrap_or_else(|| {
            let status = match unavailable {
                Some((_, why)) => Status::Unavailable { why: why.clone() },
                None => Status::Partial { why: "interrupted before it began".to_owned() },
            };
            without_figures(engine.name(), 0, status)
        })
    };
    config.engines.iter().map(of).collect()
}

fn without_figures(name: &str, order: u32, status: Status) -> EngineResult {
    EngineResult { name: name.to_owned(), status, send: String::new(), order, measurement: None }
}

/// Where an engine keeps its data: `--dir` (with several engines a folder of it), kept; or a folder of its own that is removed.
fn data_dir(config: &RunConfig, base: &Path, engine: EngineKind) -> anyhow::Result<(PathBuf, Option<Scratch>)> {
    if !EngineKind::DISK.contains(&engine) {
        return Ok((base.join(engine.name()), None));
    }
    let Some(dir) = &config.dir else {
        let scratch = Scratch::fresh(base.join(engine.name()))?;
        return Ok((scratch.path().to_path_buf(), Some(scratch)));
    };
    let own = if config.engines.len() == 1 { dir.clone() } else { dir.join(engine.name()) };
    std::fs::create_dir_all(&own).with_context(|| format!("make the data directory {}", own.display()))?;
    Ok((own, None))
}

fn play_one(
    job: &Job,
    resolved: &Resolved,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<EngineResult> {
    let duration_s = resolved.duration_ns as f64 / 1e9;
    let answer = listen(job, interrupts, |event| match event {
        Event::Opened => screen.moving(&job.engine, &format!("{} has opened its logs", job.engine)),
        Event::History { bytes, of } => {
            let share = *bytes as f64 / (*of).max(1) as f64;
            let text = format!("{} writes the history: {}", job.engine, format::percent(share.min(1.0)));
            screen.moving(&format!("{} history", job.engine), &text);
        }
        Event::Progress(progress) => {
            let topic = format!("{} {}", job.engine, progress.phase);
            screen.moving(&topic, &screen::progress(&job.engine, duration_s, progress));
        }
        _ => {}
    })?;
    let failed = |status| without_figures(&job.engine, job.order, status);
    Ok(match answer {
        Answer::Event(Event::Measured(result)) => *result,
        Answer::Event(Event::Failed { why, unavailable: true }) => failed(Status::Unavailable { why }),
        Answer::Event(Event::Failed { why, unavailable: false }) | Answer::Died(why) => failed(Status::Failed { why }),
        Answer::Event(_) => failed(Status::Failed { why: "it ended without a result".to_owned() }),
        Answer::Killed => failed(Status::Partial { why: "it was ended before it could tell its result".to_owned() }),
    })
}

/// How a child answered.
pub enum Answer {
    /// With its last event: a result or a failure.
    Event(Event),
    /// It died; its last words.
    Died(String),
    /// It was killed because it did not end in time after an interruption.
    Killed,
}

/// Runs a child to its end, telling each event to `each`. An interruption stops it in order, a second one at once.
///
/// # Errors
/// The child cannot be started or waited for.
pub fn listen(job: &Job, interrupts: &Interrupts, mut each: impl FnMut(&Event)) -> anyhow::Result<Answer> {
    let mut child = Running::start(job)?;
    let mut told: Option<Instant> = None;
    let mut last = None;
    let mut heard = Instant::now();
    loop {
        match child.next(LOOK) {
            Heard::Event(event) => {
                heard = Instant::now();
                each(&event);
                if matches!(event, Event::Measured(_) | Event::Probed(_) | Event::Failed { .. }) {
                    last = Some(event);
                }
            }
            Heard::Silence => {}
            Heard::End => break,
        }
        if interrupts.any() && told.is_none() {
            child.stop();
            told = Some(Instant::now());
        }
        if interrupts.again() || told.is_some_and(|at| at.elapsed() > END_WITHIN) {
            child.kill();
            child.wait()?;
            return Ok(last.map_or(Answer::Killed, Answer::Event));
        }
        if heard.elapsed() > SILENCE_MAX {
            child.kill();
            let (_, words) = child.wait()?;
            let why =
                format!("the engine's process said nothing for {} s and was ended; {words}", SILENCE_MAX.as_secs());
            return Ok(last.map_or(Answer::Died(why), Answer::Event));
        }
    }
    let (status, words) = child.wait()?;
    Ok(match last {
        Some(event) => Answer::Event(event),
        None if words.is_empty() => Answer::Died(format!("the engine's process ended without a result ({status})")),
        None => Answer::Died(format!("the engine's process ended without a result ({status}): {words}")),
    })
}

fn ended(result: &EngineResult) -> String {
    let name = &result.name;
    let what = match &result.status {
        Status::Ok => "done".to_owned(),
        Status::Failed { why } => format!("failed: {why}"),
        Status::Unavailable { why } => format!("unavailable: {why}"),
        Status::Partial { why } => format!("partial: {why}"),
    };
    let Some(measured) = &result.measurement else { return format!("{name:<9} {what}") };
    let total = &measured.total;
    let p99 = total.response.p99_ns.map_or_else(|| "–".to_owned(), format::latency);
    format!(
        "{name:<9} {what}: {} of {} messages acknowledged, p99 {p99}, deepest queue {}",
        format::count(total.acknowledged_messages as f64),
        format::count(total.offered_messages as f64),
        format::count(measured.backlog.peak_messages as f64),
    )
}
