//! Everything that is fixed before a run touches the disk: the profile, what can run here, where data go, what fits.

use super::{cache, facts, screen::Screen, walls};
use crate::calibrate::{Ceilings, remembered};
use crate::child::{job::Sizes, play::batch_bytes};
use crate::config::{RunConfig, Usage, results_root};
use crate::cost::{
    device::Device,
    kernel::Memory,
    machine::{self, free_bytes},
};
use crate::load::recorder::Recorder;
use crate::profile::{Plan, Profile, Resolved, Settings, SettingsError, SizeLaw};
use crate::summary::{Plateau, Wall};
use anyhow::{Context, bail};
use broker::{EngineKind, Layout};
use log_api::Availability;
use std::path::{Path, PathBuf};

/// Share of the available memory that what a run writes down and the reference model may fill.
const MEMORY_SHARE_MAX: f64 = 0.7;

/// A run that can begin.
pub struct Prepared {
    /// The profile as given: name or file.
    pub given: String,
    /// The profile.
    pub profile: Profile,
    /// Engines that can run, in the order asked for.
    pub available: Vec<EngineKind>,
    /// Engines that were asked for and cannot run here, and why.
    pub unavailable: Vec<(EngineKind, String)>,
    /// `results` of the checkout or the current directory.
    pub results_root: PathBuf,
    /// The nearest folder to the data directory that exists already: it tells the file system and the device.
    pub data_parent: PathBuf,
}

impl Prepared {
    /// Reads the profile and looks at the machine.
    ///
    /// # Errors
    /// [`crate::config::Usage`] for a profile that is none; no directory to write to.
    pub fn new(given: &str, config: &RunConfig) -> anyhow::Result<Self> {
        let profile = Profile::load(given).map_err(Usage::from_error)?;
        // What cannot be is told before anything is probed; only the height may still be open.
        match profile.resolve(&settings(config, None)) {
            Ok(_) | Err(SettingsError::PeakNeeded { .. }) => {}
            Err(error) => return Err(Usage::from_error(error)),
        }
        let results_root = results_root()?;
        let data = config.dir.clone().or_else(|| config.out.clone()).unwrap_or_else(|| results_root.join("local"));
        let data_parent = nearest_existing(&data)?;
        let mut available = Vec::new();
        let mut unavailable = Vec::new();
        for engine in &config.engines {
            match engine.availability(&data_parent) {
                Availability::Available => available.push(*engine),
                Availability::Unavailable(why) => unavailable.push((*engine, why)),
            }
        }
        Ok(Self { given: given.to_owned(), profile, available, unavailable, results_root, data_parent })
    }

    /// An engine with files takes part.
    #[must_use]
    pub fn on_disk(&self) -> bool {
        self.available.iter().any(|engine| EngineKind::DISK.contains(engine))
    }

    /// What the profile leaves open.
    #[must_use]
    pub fn settings(&self, config: &RunConfig, plateau: Option<&Plateau>) -> Settings {
        settings(config, plateau.map(|plateau| plateau.messages_per_s))
    }

    /// Sizes of engine and broker.
    #[must_use]
    pub fn sizes(&self, config: &RunConfig, resolved: &Resolved) -> Sizes {
        let hints = (resolved.storage.segment_bytes, resolved.storage.retention_bytes);
        let largest = match resolved.messages.bytes {
            SizeLaw::Fixed { bytes } => bytes,
            SizeLaw::Lognormal { max, .. } => max,
        };
        let batch = batch_bytes(resolved.messages.batch, largest as usize) as u64;
        let free = free_bytes(&self.data_parent).unwrap_or(u64::MAX);
        config.sizes.resolve(hints, resolved.logs(), batch, free)
    }

    /// The arithmetic of the run.
    #[must_use]
    pub fn plan(&self, resolved: &Resolved, sizes: &Sizes) -> Plan {
        Plan::new(resolved, Some(sizes.segment_bytes), Some(sizes.retention_bytes))
    }

    /// Refuses what does not fit the disk, or the memory.
    ///
    /// # Errors
    /// It does not fit: what is needed, what is there, what to change.
    pub fn fits(&self, resolved: &Resolved, plan: &Plan, sizes: &Sizes) -> anyhow::Result<()> {
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        let may_use = Memory::sample().available_bytes as f64 * MEMORY_SHARE_MAX;
        let recorded = Recorder::bytes_max(resolved.intervals() as u64, plan.messages.ceil() as u64) as f64;
        if recorded > may_use {
            bail!(
                "the latencies of {} intervals would take up to {:.1} GiB, and {:.1} GiB may be used here: play it faster with --speed",
                resolved.intervals(),
                gib(recorded),
                gib(may_use)
            );
        }
        if self.on_disk()
            && let Some(free) = free_bytes(&self.data_parent)
        {
            plan.fits(free).with_context(|| format!("{} is too small", self.data_parent.display()))?;
        }
        if self.available.contains(&EngineKind::Memory) {
            let needed = plan.log_bytes.min(2.0 * sizes.retention_bytes as f64);
            if needed + recorded > may_use {
                bail!(
                    "the memory engine would keep {:.1} GiB and may use {:.1} GiB here: lower --retention-bytes, --peak or --rate",
                    gib(needed),
                    gib((may_use - recorded).max(0.0))
                );
            }
        }
        Ok(())
    }

    /// Which partitions share a log.
    #[must_use]
    pub fn layout(&self, config: &RunConfig) -> Layout {
        config.layout.unwrap_or(self.profile.partitions.layout)
    }

    fn walls_key(&self, config: &RunConfig) -> walls::Key {
        let device = Device::of(&self.data_parent).ok().flatten().map_or_else(|| "none".to_owned(), |d| d.name);
        walls::Key {
            machine: format!("{} {} {}", machine::machine_id(), machine::cpu_model(), facts::build_kind()),
            device: format!("{device} {}", machine::file_system(&self.data_parent)),
            profile: self.profile.sha256.clone(),
            shards: config.shards,
            choices: format!(
                "{} {} {:?} {:?} {:?}",
                config.commit,
                self.layout(config),
                config.send,
                config.placement,
                config.sizes
            ),
        }
    }

    /// The ceilings that `highwater calibrate` remembered for this machine and device.
    #[must_use]
    pub fn remembered_ceilings(&self) -> Option<Ceilings> {
        remembered::recall(&cache::dir()?, &remembered::Key::of(&self.data_parent))
    }

    /// Walls that are remembered for this run.
    #[must_use]
    pub fn remembered_walls(&self, config: &RunConfig) -> Vec<Wall> {
        cache::dir().map(|dir| walls::recall(&dir, &self.walls_key(config))).unwrap_or_default()
    }

    /// Remembers walls; that it cannot is worth a line, not the run.
    pub fn remember_walls(&self, config: &RunConfig, found: &[Wall], screen: &mut Screen) {
        let Some(dir) = cache::dir() else { return };
        if let Err(error) = walls::remember(&dir, &self.walls_key(config), found) {
            screen.line(&format!("the walls could not be remembered in {}: {error}", dir.display()));
        }
    }
}

fn settings(config: &RunConfig, peak: Option<f64>) -> Settings {
    Settings {
        peak,
        rate: config.rate,
        speed: config.speed,
        seed: config.seed,
        shards: config.shards,
        layout: config.layout,
    }
}

fn nearest_existing(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    let existing = absolute.ancestors().find(|folder| folder.exists()).context("find a folder that exists")?;
    if !existing.is_dir() {
        bail!("{} is a file where a directory is needed", existing.display());
    }
    Ok(existing.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    #[test]
    fn walls_are_of_the_sizes_that_they_were_measured_with() {
        let config = RunConfig::new(&Options::default(), None).unwrap();
        let mut other = RunConfig::new(&Options::default(), None).unwrap();
        let prepared = Prepared::new("steady", &config).unwrap();
        assert_eq!(prepared.walls_key(&config), prepared.walls_key(&other));
        other.sizes.inflight = Some(1 << 20);
        assert_ne!(prepared.walls_key(&config), prepared.walls_key(&other));
    }
}
