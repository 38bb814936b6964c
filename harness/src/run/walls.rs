//! Walls: what each engine sustains. Measured once for a machine, device, profile, durability and shards, then remembered.

use super::cache;
use crate::summary::{Plateau, PlateauOf, Wall};
use broker::{Durability, EngineKind};
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

/// Of the null engine's wall: a flood above it would measure the harness.
const NULL_SHARE_MAX: f64 = 0.8;
/// What the plateau is of the slowest wall when the profile does not say.
pub const OF_WALL_DEFAULT: f64 = 1.5;
/// Version of the remembered file.
const VERSION: u32 = 1;
/// What the remembered files are called.
const KIND: &str = "walls";

/// What walls were measured for. Anything else that changes them (a new build, another disk on the same name) is told by `--peak probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The machine's identity.
    pub machine: String,
    /// Device under the data directory, with its file system.
    pub device: String,
    /// SHA-256 of the profile.
    pub profile: String,
    /// Shards.
    pub shards: u32,
    /// Commit policy, send path and cores: another choice has other walls.
    pub choices: String,
}

/// Remembered walls of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    walls: Vec<Wall>,
}

/// The walls remembered for a key; empty if there are none, or the file is of another version or for another key.
#[must_use]
pub fn recall(dir: &Path, key: &Key) -> Vec<Wall> {
    let remembered: Option<Remembered> = cache::recall(dir, KIND, key);
    remembered.filter(|remembered| remembered.version == VERSION).map(|remembered| remembered.walls).unwrap_or_default()
}

/// Remembers walls, whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn remember(dir: &Path, key: &Key, walls: &[Wall]) -> io::Result<()> {
    cache::remember(dir, KIND, key, &Remembered { version: VERSION, walls: walls.to_vec() })
}

/// What is to be probed: every disk engine at `durable` and `none`, and at the run's own durability if that is neither; the null
/// engine once.
#[must_use]
pub fn wanted(durability: Durability) -> Vec<(EngineKind, Durability)> {
    let mut durabilities = vec![Durability::Durable, Durability::None];
    if !durabilities.contains(&durability) {
        durabilities.push(durability);
    }
    let disk = durabilities.into_iter().flat_map(|durability| EngineKind::DISK.map(|engine| (engine, durability)));
    std::iter::once((EngineKind::Null, Durability::None)).chain(disk).collect()
}

/// The plateau that follows from the walls: `multiple` times the slowest disk engine at `durability`, to two digits, at most 80 % of
/// the null engine's. `None` when no disk engine has a wall at this durability.
#[must_use]
pub fn plateau(walls: &[Wall], durability: &str, multiple: f64, remembered: bool) -> Option<Plateau> {
    let is_disk = |wall: &&Wall| EngineKind::DISK.iter().any(|engine| engine.name() == wall.engine);
    let at = walls.iter().filter(|wall| wall.durability == durability).filter(is_disk);
    let slowest = at.min_by(|a, b| a.messages_per_s.total_cmp(&b.messages_per_s))?;
    let null = walls.iter().find(|wall| wall.engine == EngineKind::Null.name());
    let cap = null.map_or(f64::INFINITY, |null| null.messages_per_s * NULL_SHARE_MAX);
    let capped = slowest.messages_per_s * multiple > cap;
    let height = if capped { two_digits_below(cap) } else { two_digits(slowest.messages_per_s * multiple) };
    let of = PlateauOf {
        multiple: if capped { height / slowest.messages_per_s } else { multiple },
        engine: slowest.engine.clone(),
        durability: durability.to_owned(),
        capped,
        remembered,
    };
    (height > 0.0).then_some(Plateau { messages_per_s: height, of: Some(of) })
}

fn step(value: f64) -> f64 {
    10f64.powi(value.log10().floor() as i32 - 1)
}

/// To two digits, the nearest.
fn two_digits(value: f64) -> f64 {
    if value > 0.0 { (value / step(value)).round() * step(value) } else { 0.0 }
}

/// To two digits, not above.
fn two_digits_below(value: f64) -> f64 {
    if value > 0.0 { (value / step(value)).floor() * step(value) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(engine: &str, durability: &str, messages_per_s: f64) -> Wall {
        Wall { engine: engine.to_owned(), durability: durability.to_owned(), messages_per_s, harness_bound: false }
    }

    fn walls() -> Vec<Wall> {
        vec![
            wall("null", "none", 1_500_000.0),
            wall("mmap", "durable", 123_456.0),
            wall("direct", "durable", 400_000.0),
            wall("pagecache", "durable", 200_000.0),
            wall("mmap", "none", 1_000_000.0),
            wall("direct", "none", 900_000.0),
            wall("pagecache", "none", 950_000.0),
            wall("memory", "none", 10.0),
        ]
    }

    #[test]
    fn the_plateau_is_a_multiple_of_the_slowest_wall_to_two_digits() {
        let plateau = plateau(&walls(), "durable", 1.5, false).unwrap();
        assert_eq!(plateau.messages_per_s, 190_000.0, "185,184 to two digits");
        let of = plateau.of.unwrap();
        assert_eq!((of.engine.as_str(), of.multiple, of.capped), ("mmap", 1.5, false));
    }

    #[test]
    fn the_null_engine_caps_it() {
        let plateau = plateau(&walls(), "none", 1.5, true).unwrap();
        assert_eq!(plateau.messages_per_s, 1_200_000.0, "80 % of 1.5 M, where 1.5 times 900,000 is more");
        let of = plateau.of.unwrap();
        assert!(of.capped && of.remembered && (of.multiple - 1.333).abs() < 0.001);
    }

    #[test]
    fn without_a_wall_there_is_no_plateau() {
        assert_eq!(plateau(&walls(), "interval:5", 1.5, false), None);
    }

    #[test]
    fn rounding_keeps_two_digits_of_any_size() {
        let cases = [(185_184.0, 190_000.0), (99.6, 100.0), (1.26, 1.3), (7.04e8, 7.0e8), (0.0, 0.0)];
        for (value, rounded) in cases {
            assert!((two_digits(value) - rounded).abs() < rounded * 1e-9 + 1e-12, "{value}: {}", two_digits(value));
        }
        assert!((two_digits_below(1_299_999.0) - 1_200_000.0).abs() < 1.0);
    }

    #[test]
    fn every_disk_engine_is_probed_at_both_ends_and_at_the_runs_own_durability() {
        assert_eq!(wanted(Durability::Durable).len(), 7);
        let interval = Durability::Interval(std::time::Duration::from_millis(5));
        assert_eq!(wanted(interval).len(), 10);
        assert!(wanted(interval).contains(&(EngineKind::Direct, interval)));
    }

    #[test]
    fn walls_are_remembered_for_their_key_alone() {
        let dir = std::env::temp_dir().join(format!("highwater-walls-{}", std::process::id()));
        let key = Key {
            machine: "m".to_owned(),
            device: "vda".to_owned(),
            profile: "abc".to_owned(),
            shards: 1,
            choices: String::new(),
        };
        assert!(recall(&dir, &key).is_empty());
        remember(&dir, &key, &walls()).unwrap();
        assert_eq!(recall(&dir, &key), walls());
        assert!(recall(&dir, &Key { shards: 2, ..key.clone() }).is_empty());
        std::fs::write(cache::path(&dir, KIND, &key), "garbage").unwrap();
        assert!(recall(&dir, &key).is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
