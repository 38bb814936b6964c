//! Puts a run's parts together: the summary, which everything that is shown reads, and the manifest, which may explain it.

use super::{facts, prepare::Prepared, utc::Utc};
use crate::calibrate::{
    Ceilings,
    binding::{self, Choices},
};
use crate::config::RunConfig;
use crate::cost::{
    device::Device,
    machine::{self, Mount},
};
use crate::profile::{Plan, Resolved, Role};
use crate::summary::{
    Clock, EngineResult, Machine, Manifest, Objective, Phase, PhaseRole, Plateau, Run, RunState, SCHEMA_VERSION,
    Summary, Verdict, Wall,
};
use std::collections::BTreeMap;

/// What a run knows beside its engines' results.
pub struct Facts {
    /// When it started.
    pub started: Utc,
    /// Where it ran.
    pub machine: Machine,
    /// Known walls.
    pub walls: Vec<Wall>,
    /// Height of the flood.
    pub plateau: Option<Plateau>,
    /// The arithmetic of its schedule.
    pub plan: Plan,
    /// It was interrupted.
    pub interrupted: bool,
}

/// The summary and the manifest of a run.
#[must_use]
pub fn assemble(
    prepared: &Prepared,
    config: &RunConfig,
    resolved: &Resolved,
    name: &str,
    mut engines: Vec<EngineResult>,
    facts: Facts,
) -> (Summary, Manifest) {
    let build = facts::Build::find();
    let seconds = |ns: u64| ns as f64 / 1e9;
    let plateau_phase = resolved.phase_with(Role::Plateau).map_or(&resolved.phases[0], |(_, phase)| phase);
    let command = command(prepared, config, resolved, facts.plateau.as_ref());
    let ceilings = prepared.remembered_ceilings().filter(|_| prepared.on_disk());
    let mut notes = Vec::new();
    match &ceilings {
        Some(ceilings) => share_ceilings(ceilings, config, resolved, &mut engines),
        None if prepared.on_disk() => notes.push("ceilings: run highwater calibrate".to_owned()),
        None => {}
    }
    let Facts { started, machine, walls, plateau, plan, interrupted } = facts;
    let summary = Summary {
        schema_version: SCHEMA_VERSION,
        run: Run {
            id: name.to_owned(),
            profile: resolved.profile.clone(),
            title: resolved.title.clone(),
            speed: resolved.speed,
            durability: config.durability.to_string(),
            commit: config.commit.to_string(),
            layout: resolved.layout.to_string(),
            plateau,
            rate: resolved.rate,
            seed: resolved.seed,
            shards: resolved.shards,
            message_bytes_mean: plan.value_bytes / plan.messages.max(1.0),
            messages: plan.messages.round() as u64,
            payload_bytes: plan.log_bytes.round() as u64,
            command: command.clone(),
            started: started.rfc3339(),
            state: if interrupted { RunState::Interrupted } else { RunState::Completed },
            build: build.label(),
        },
        validity: facts::verdicts(&prepared.data_parent, &machine, prepared.on_disk(), config.shards),
        machine,
        walls,
        clock: Clock {
            interval_s: seconds(resolved.interval_ns()),
            duration_s: seconds(resolved.duration_ns),
            mark: resolved.mark.clone(),
            mark_s: seconds(resolved.mark_ns),
            plateau_start_s: seconds(plateau_phase.start_ns),
            plateau_end_s: seconds(plateau_phase.end_ns),
        },
        phases: resolved
            .phases
            .iter()
            .map(|phase| Phase {
                name: phase.name.clone(),
                role: match phase.role {
                    Role::Calm => PhaseRole::Calm,
                    Role::Plateau => PhaseRole::Plateau,
                    Role::Rise | Role::Decay | Role::Other => PhaseRole::Other,
                },
                start_s: seconds(phase.start_ns),
                end_s: seconds(phase.end_ns),
            })
            .collect(),
        offered_per_s: resolved.offered_series(),
        objectives: resolved
            .objectives_for(config.durability)
            .map(|objective| Objective {
                within_ns: objective.within_ns,
                share: objective.share,
                source: objective.source.clone(),
            })
            .collect(),
        engines,
        notes,
    };
    let manifest = Manifest { ceilings, ..manifest(prepared, config, resolved, &summary, build, command) };
    (summary, manifest)
}

/// Says of each row how near it came to what the machine can do.
fn share_ceilings(ceilings: &Ceilings, config: &RunConfig, resolved: &Resolved, engines: &mut [EngineResult]) {
    let choices = Choices {
        durability: config.durability,
        commit: config.commit,
        logs_a_shard: resolved.logs().div_ceil(config.shards),
        shards: config.shards,
    };
    for engine in engines {
        let shares = binding::shares(ceilings, &choices, engine);
        if let Some(measured) = &mut engine.measurement {
            measured.ceilings = shares;
        }
    }
}

fn manifest(
    prepared: &Prepared,
    config: &RunConfig,
    resolved: &Resolved,
    summary: &Summary,
    build: facts::Build,
    command: String,
) -> Manifest {
    let device = Device::of(&prepared.data_parent).ok().flatten();
    let sizes = prepared.sizes(config, resolved);
    let named = |engine: &EngineResult| {
        let holds = engine.measurement.as_ref().map(|measured| measured.attestation.iter().all(|proof| proof.holds));
        let effective = match holds {
            Some(true) => engine.name.clone(),
            Some(false) => format!("{} (not attested)", engine.name),
            None => "none".to_owned(),
        };
        (engine.name.clone(), effective)
    };
    let mut validity = summary.validity.clone();
    for engine in &summary.engines {
        let own = engine.measurement.iter().flat_map(|measured| &measured.validity);
        validity.extend(
            own.map(|verdict| Verdict { gate: format!("{}: {}", engine.name, verdict.gate), ..verdict.clone() }),
        );
    }
    Manifest {
        schema_version: SCHEMA_VERSION,
        run: summary.run.id.clone(),
        started: summary.run.started.clone(),
        command,
        profile_sha256: prepared.profile.sha256.clone(),
        schedule_sha256: crate::schedule::hash(resolved),
        seed: resolved.seed,
        config: serde_json::json!({
            "profile": prepared.given,
            "engine": config.engines.iter().map(|engine| engine.name()).collect::<Vec<_>>(),
            "durability": summary.run.durability,
            "commit": summary.run.commit,
            "layout": summary.run.layout,
            "send": config.send.map(|path| path.name()),
            "stages": config.stages,
            "shards": config.shards,
            "speed": resolved.speed,
            "rate": resolved.rate,
            "peak": summary.run.plateau.as_ref().map(|plateau| plateau.messages_per_s),
            "seed": resolved.seed,
            "dir": config.dir.as_ref().map(|dir| dir.display().to_string()),
            "partitions": resolved.partitions,
            "sizes": sizes,
        }),
        commit: build.commit,
        dirty: build.dirty,
        toolchain: facts::toolchain(),
        build: facts::build_kind().to_owned(),
        machine: summary.machine.clone(),
        mount_options: Mount::of(&prepared.data_parent).map(|mount| mount.options),
        scheduler: device.as_ref().and_then(Device::scheduler),
        write_cache: device.as_ref().and_then(Device::write_cache),
        governor: machine::governor(),
        mitigations: machine::mitigations(),
        sysctls: machine::sysctls(),
        clock_source: machine::clock_source(),
        limits: machine::limits(),
        ceilings: None,
        effective_engines: summary.engines.iter().map(named).collect::<BTreeMap<_, _>>(),
        validity,
    }
}

/// The command that repeats a run, with every choice that decides its figures resolved.
fn command(prepared: &Prepared, config: &RunConfig, resolved: &Resolved, plateau: Option<&Plateau>) -> String {
    let engines: Vec<&str> = config.engines.iter().map(|engine| engine.name()).collect();
    let mut words =
        vec![format!("highwater run {}", quoted(&prepared.given)), format!("--engine {}", engines.join(","))];
    words.push(format!("--durability {}", config.durability));
    words.push(format!("--commit {}", config.commit));
    words.push(format!("--layout {}", resolved.layout));
    words.extend(config.send.map(|path| format!("--send {path}")));
    words.extend(config.stages.then(|| "--stages".to_owned()));
    words.push(format!("--shards {}", config.shards));
    words.extend(config.given.iter().cloned());
    words.extend(plateau.map(|plateau| format!("--peak {}", plateau.messages_per_s)));
    words.extend(config.rate.map(|rate| format!("--rate {rate}")));
    words.push(format!("--speed {}", resolved.speed));
    words.push(format!("--seed {}", resolved.seed));
    words.extend(config.dir.as_ref().map(|dir| format!("--dir {}", quoted(&dir.display().to_string()))));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:,".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
