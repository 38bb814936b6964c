//! The parent of a run: probes the walls, draws the order, starts a child an engine, collects what they leave.
//!
//! What lives here: everything that is decided before and told after ([`run`]), remembered walls ([`walls`]), child processes
//! ([`process`]), the results folder ([`results`]). What never does: load. No process plays two engines, and this one plays none.

pub mod assemble;
pub mod cache;
pub mod engines;
pub mod facts;
pub mod interrupt;
pub mod order;
pub mod prepare;
pub mod probe;
pub mod process;
pub mod results;
pub mod screen;
pub mod settle;
pub mod utc;
pub mod walls;

use crate::config::{Peak, RunConfig};
use crate::profile::Plan;
use crate::summary::{EngineResult, Manifest, Plateau, Status, Summary, Wall};
use anyhow::{Context, bail};
use interrupt::Interrupts;
use prepare::Prepared;
use results::Results;
use screen::Screen;
use std::{io::Write, path::Path, process::ExitCode};
use utc::Utc;

/// Exit statuses of the command, as its documentation has them.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed: an engine failed, or one that was named cannot run here.
    pub const FAILED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// Under `--strict`: the run does not pass its own validity gates.
    pub const INVALID: u8 = 3;
    /// `log verify` and `log dump`: a log ends in a torn tail, which the next open will judge; none is damaged.
    pub const TORN: u8 = 4;
    /// Interrupted: 128 + SIGINT.
    pub const INTERRUPTED: u8 = 130;
}

/// Height of the curve at which a dry run shows a shape whose plateau is not known yet, messages a second.
const SHOWN_PEAK: f64 = 100_000.0;

/// Runs a profile.
///
/// # Errors
/// [`crate::config::Usage`] for what cannot be; anything else that ends the run before there is a result.
pub fn run(profile: &str, config: &RunConfig) -> anyhow::Result<ExitCode> {
    let started = Utc::now();
    let prepared = Prepared::new(profile, config)?;
    if config.dry_run {
        return dry_run(&prepared, config);
    }
    let interrupts = Interrupts::listen()?;
    let mut screen = Screen::default();
    let results = Results::create(config.out.as_deref(), &prepared.results_root, &prepared.profile.name, started)?;
    let played = play(&prepared, config, &results, &mut screen, &interrupts, started);
    screen.clear();
    match played {
        Ok(Some(played)) => keep(&played, config, &results, &mut screen, &interrupts),
        Ok(None) => {
            results.discard();
            screen.line("interrupted before an engine was measured: nothing to keep");
            Ok(ExitCode::from(exit::INTERRUPTED))
        }
        Err(error) => {
            results.discard();
            Err(error)
        }
    }
}

/// Stores and tells what was measured. Whatever goes wrong from here on, it stays.
fn keep(
    (summary, manifest): &(Summary, Manifest),
    config: &RunConfig,
    results: &Results,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<ExitCode> {
    let stored = results.store(summary, manifest);
    if let Ok(missing) = &stored {
        missing.iter().for_each(|what| screen.line(&format!("warning: {what}")));
    }
    screen.clear();
    let text = if config.json {
        serde_json::to_string_pretty(summary)?
    } else {
        let report = shown(&results.path).join(crate::summary::REPORT_FILE);
        crate::table::render(summary, report.is_file().then_some(report.as_path()))
    };
    // Nobody may be there to read it any more, and the files have it.
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).ok();
    stored.with_context(|| format!("keep what was measured in {}", results.path.display()))?;
    let failed = summary.engines.iter().any(|engine| match engine.status {
        Status::Failed { .. } => true,
        Status::Unavailable { .. } => config.engines_named,
        Status::Ok | Status::Partial { .. } => false,
    });
    Ok(ExitCode::from(if interrupts.any() {
        exit::INTERRUPTED
    } else if failed {
        exit::FAILED
    } else if config.strict && !summary.is_valid() {
        exit::INVALID
    } else {
        exit::DONE
    }))
}

/// The run itself; `None` when it was interrupted before anything was measured.
fn play(
    prepared: &Prepared,
    config: &RunConfig,
    results: &Results,
    screen: &mut Screen,
    interrupts: &Interrupts,
    started: Utc,
) -> anyhow::Result<Option<(Summary, Manifest)>> {
    let base = config.dir.clone().unwrap_or_else(|| results.data());
    let machine = facts::machine(&prepared.data_parent, &config.placement, prepared.on_disk());
    let (walls, plateau) = match height(prepared, config, &base, screen, interrupts)? {
        Some(height) => height,
        None => return Ok(None),
    };
    let settings = prepared.settings(config, plateau.as_ref());
    let resolved = prepared.profile.resolve(&settings).map_err(crate::config::Usage::from_error)?;
    let sizes = prepared.sizes(config, &resolved);
    let plan = prepared.plan(&resolved, &sizes);
    prepared.fits(&resolved, &plan, &sizes)?;
    let schedule = engines::Schedule { settings, resolved: &resolved, sizes, walls: &walls };
    let engines = engines::play_all(prepared, config, &schedule, results, &base, screen, interrupts);
    if engines.iter().all(|engine| engine.measurement.is_none()) {
        if interrupts.any() {
            return Ok(None);
        }
        // Nothing to tabulate: one message says it better.
        bail!("{}", engines.iter().map(failure).collect::<Vec<_>>().join("; "));
    }
    let facts = assemble::Facts { started, machine, walls, plateau, plan, interrupted: interrupts.any() };
    Ok(Some(assemble::assemble(prepared, config, &resolved, &results.name, engines, facts)))
}

/// Why an engine has no figures.
fn failure(engine: &EngineResult) -> String {
    let name = &engine.name;
    match &engine.status {
        Status::Unavailable { why } => format!("engine {name} is unavailable: {why}"),
        Status::Failed { why } | Status::Partial { why } => format!("engine {name}: {why}"),
        Status::Ok => format!("engine {name} measured nothing"),
    }
}

/// A path as it is best shown: relative to the current directory where it lies below it.
fn shown(path: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    let relative = here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    relative.unwrap_or_else(|| path.to_path_buf())
}

/// Walls and the plateau that follows from them, or from the command line. `None`: interrupted.
fn height(
    prepared: &Prepared,
    config: &RunConfig,
    base: &Path,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<(Vec<Wall>, Option<Plateau>)>> {
    let remembered = prepared.remembered_walls(config);
    if let Peak::Fixed(messages_per_s) = config.peak {
        return Ok(Some((remembered, Some(Plateau { messages_per_s, of: None }))));
    }
    let by_wall = prepared.profile.needs_peak() || config.peak == Peak::Probe;
    if !by_wall {
        return Ok(Some((remembered, None)));
    }
    let durability = config.durability.to_string();
    let multiple = prepared.profile.of_wall().unwrap_or(walls::OF_WALL_DEFAULT);
    if config.peak != Peak::Probe
        && let Some(plateau) = walls::plateau(&remembered, &durability, multiple, true)
    {
        screen.line(&format!(
            "walls remembered from an earlier run (--peak probe measures them again):\n{}",
            listed(&remembered)
        ));
        return Ok(Some((remembered, Some(plateau))));
    }
    let Some(found) = probe::walls(prepared, config, base, screen, interrupts)? else { return Ok(None) };
    screen.line(&format!("walls, messages a second with consumers on:\n{}", listed(&found)));
    prepared.remember_walls(config, &found, screen);
    let Some(plateau) = walls::plateau(&found, &durability, multiple, false) else {
        bail!("no disk engine could be probed at {durability}: set the plateau with --peak <messages a second>");
    };
    Ok(Some((found, Some(plateau))))
}

/// Walls for people.
fn listed(walls: &[Wall]) -> String {
    let line = |wall: &Wall| {
        let bound = if wall.harness_bound { "≥ " } else { "" };
        let rate = crate::summary::format::count(wall.messages_per_s);
        format!("  {:<10} {:<12} {bound}{rate}", wall.engine, wall.durability)
    };
    walls.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints what a run would do.
fn dry_run(prepared: &Prepared, config: &RunConfig) -> anyhow::Result<ExitCode> {
    let remembered = prepared.remembered_walls(config);
    let by_wall = prepared.profile.needs_peak() || config.peak == Peak::Probe;
    let multiple = prepared.profile.of_wall().unwrap_or(walls::OF_WALL_DEFAULT);
    let plateau = match config.peak {
        Peak::Fixed(messages_per_s) => Some(Plateau { messages_per_s, of: None }),
        Peak::Open if by_wall => walls::plateau(&remembered, &config.durability.to_string(), multiple, true),
        _ => None,
    };
    let unknown = by_wall && plateau.is_none();
    let shown = plateau.or(unknown.then_some(Plateau { messages_per_s: SHOWN_PEAK, of: None }));
    let settings = prepared.settings(config, shown.as_ref());
    let resolved = prepared.profile.resolve(&settings).map_err(crate::config::Usage::from_error)?;
    let sizes = prepared.sizes(config, &resolved);
    let plan: Plan = prepared.plan(&resolved, &sizes);
    if unknown {
        let probes = walls::wanted(config.durability).len();
        println!(
            "The plateau is not known yet: a run would first probe {probes} walls, 3 s each, and set it to {multiple} times \
             the slowest at {}. Shown at {} messages a second; --peak sets it.\n",
            config.durability,
            crate::summary::format::count(SHOWN_PEAK)
        );
    }
    print!("{plan}");
    let names: Vec<&str> = config.engines.iter().map(|engine| engine.name()).collect();
    println!(
        "\nengines {}, {} durability, commit {}, layout {}, {} shard{}; {} MiB segments, {} MiB kept, data in {}",
        names.join(", "),
        config.durability,
        config.commit,
        resolved.layout,
        config.shards,
        if config.shards == 1 { "" } else { "s" },
        sizes.segment_bytes >> 20,
        sizes.retention_bytes >> 20,
        prepared.data_parent.display(),
    );
    for (engine, why) in &prepared.unavailable {
        println!("{engine} is unavailable: {why}");
    }
    prepared.fits(&resolved, &plan, &sizes)?;
    let minimum_s = plan.duration_s * config.engines.len() as f64;
    println!("about {minimum_s:.0} s of load, and up to 30 s an engine to drain a backlog");
    Ok(ExitCode::from(if config.engines_named && !prepared.unavailable.is_empty() { exit::FAILED } else { exit::DONE }))
}
