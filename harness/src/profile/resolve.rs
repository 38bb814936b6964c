//! A profile with the choices of a run: rates in messages a second, times on the run's clock.

use super::curve::Piece;
use super::model::{
    ArrivalLaw, Consumers, DurabilityClass, Messages, Objective, PartitionCount, Phase, Profile, Role, Scale, Skew,
    Storage, in_words,
};
use broker::Layout;
use serde::Serialize;

/// The choices of a run that a profile leaves open. `None` is the profile's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// `--peak`: messages a second at the highest rate of the plateau.
    pub peak: Option<f64>,
    /// `--rate`: factor on a profile's own rates; excludes `peak`.
    pub rate: Option<f64>,
    /// `--speed`: how many times faster the curve is played, at unchanged rates.
    pub speed: Option<f64>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// Shards of the broker; 0 counts as 1.
    pub shards: u32,
    /// `--layout`.
    pub layout: Option<Layout>,
}

/// A setting that does not fit the profile.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// `--peak` is needed: the profile is a shape without a height.
    #[error(
        "{profile} gives a shape without a height: set the plateau with --peak <messages a second>, or let it be probed"
    )]
    PeakNeeded {
        /// The profile.
        profile: String,
    },
    /// `--rate` on a profile without rates of its own.
    #[error(
        "--rate multiplies a profile's own rates and {profile} has none: set its plateau with --peak <messages a second>"
    )]
    RateOnShape {
        /// The profile.
        profile: String,
    },
    /// Both given.
    #[error("--rate and --peak exclude each other: one multiplies the profile's rates, the other sets its plateau")]
    RateAndPeak,
    /// Not a usable number.
    #[error("--{key} is {found}; expected {expected}")]
    Number {
        /// `peak`, `rate`, `speed`.
        key: &'static str,
        /// What was given.
        found: String,
        /// What could be.
        expected: String,
    },
}

/// A phase on the run's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolvedPhase {
    /// Name.
    pub name: String,
    /// What it is to the table.
    pub role: Role,
    /// Begin, from the run's.
    pub start_ns: u64,
    /// End (exclusive).
    pub end_ns: u64,
}

/// Everything that fixes a schedule but the random numbers: a profile, a height, a speed, a number of shards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resolved {
    /// Name of the profile.
    pub profile: String,
    /// Its title.
    pub title: String,
    /// How many times faster the curve is played.
    pub speed: f64,
    /// Seed of the schedule.
    pub seed: u64,
    /// Highest rate of the plateau phase in messages a second.
    pub plateau_per_s: f64,
    /// What multiplied the profile's own rates.
    pub rate: f64,
    /// Shards of the broker.
    pub shards: u32,
    /// Phases in order, without gaps, from 0 to `duration_ns`.
    pub phases: Vec<ResolvedPhase>,
    /// The curve in order, without gaps.
    pub pieces: Vec<Piece>,
    /// End of the schedule.
    pub duration_ns: u64,
    /// What time is told from.
    pub mark: String,
    /// When that is.
    pub mark_ns: u64,
    /// How arrivals fall inside the curve.
    pub arrivals: ArrivalLaw,
    /// What a message is.
    pub messages: Messages,
    /// Number of partitions, over all shards.
    pub partitions: u32,
    /// How unevenly they are used.
    pub skew: Skew,
    /// Which of them share a log.
    #[serde(serialize_with = "in_words")]
    pub layout: Layout,
    /// Who reads.
    pub consumers: Consumers,
    /// What counts as good enough.
    pub objectives: Vec<Objective>,
    /// Sizes on disk.
    pub storage: Storage,
}

/// The highest rate that can be asked for: one message a nanosecond, the clock's grain.
pub const RATE_MAX: f64 = 1e9;
/// The shortest run in seconds of the run's clock: one interval of the series.
pub const RUN_S_MIN: f64 = 0.1;
/// The longest run in seconds of the run's clock: a week.
pub const RUN_S_MAX: f64 = 7.0 * 86_400.0;
/// The shortest phase in seconds of the run's clock: a thousand grains of it.
pub const PHASE_S_MIN: f64 = 1e-6;
/// Runs shorter than this are recorded in intervals of 100 ms, others of 1 s.
const SHORT_RUN_NS: u64 = 120_000_000_000;

impl Profile {
    /// Whether `--peak` (or a probe) sets its height; otherwise it has rates of its own.
    #[must_use]
    pub fn needs_peak(&self) -> bool {
        matches!(self.scale, Scale::Relative { .. })
    }

    /// What the plateau is a multiple of the slowest wall when no `--peak` is given; `None` for a profile with rates of its own.
    #[must_use]
    pub fn of_wall(&self) -> Option<f64> {
        match self.scale {
            Scale::Relative { of_wall } => Some(of_wall),
            Scale::Absolute => None,
        }
    }

    /// The profile as a run plays it.
    ///
    /// # Errors
    /// A setting is not a positive number, does not fit the profile, or makes a run that is too short, too long or too fast.
    pub fn resolve(&self, settings: &Settings) -> Result<Resolved, SettingsError> {
        let number = |key, value: Option<f64>, expected: &str| match value {
            Some(v) if !(v.is_finite() && v > 0.0) => {
                Err(SettingsError::Number { key, found: v.to_string(), expected: expected.to_owned() })
            }
            value => Ok(value),
        };
        let speed = number("speed", settings.speed, "a number above 0")?.unwrap_or(self.speed);
        let peak = number("peak", settings.peak, "messages a second above 0, e.g. 200k")?;
        let rate = number("rate", settings.rate, "a factor above 0")?;
        let plateau = self.plateau_as_written();
        let factor = match (self.needs_peak(), peak, rate) {
            (_, Some(_), Some(_)) => return Err(SettingsError::RateAndPeak),
            (_, Some(peak), None) => peak / plateau,
            (true, None, Some(_)) => return Err(SettingsError::RateOnShape { profile: self.name.clone() }),
            (true, None, None) => return Err(SettingsError::PeakNeeded { profile: self.name.clone() }),
            (false, None, rate) => rate.unwrap_or(1.0),
        };
        let highest = factor * self.phases.iter().map(Phase::highest).fold(0.0, f64::max);
        if highest > RATE_MAX {
            let (key, found) = match (peak, rate) {
                (Some(peak), _) => ("peak", peak),
                (None, rate) => ("rate", rate.unwrap_or(1.0)),
            };
            let expected = format!("a rate of at most {RATE_MAX:e} messages a second at the curve's highest point");
            return Err(SettingsError::Number { key, found: found.to_string(), expected });
        }
        let length_s: f64 = self.phases.iter().map(|phase| phase.duration_s).sum();
        let shortest_s = self.phases.iter().map(|phase| phase.duration_s).fold(f64::INFINITY, f64::min);
        if shortest_s / speed < PHASE_S_MIN {
            let expected =
                format!("at most {:.0}, so that the shortest phase lasts a microsecond", shortest_s / PHASE_S_MIN);
            return Err(SettingsError::Number { key: "speed", found: speed.to_string(), expected });
        }
        if !(RUN_S_MIN..=RUN_S_MAX).contains(&(length_s / speed)) {
            let expected = format!(
                "between {:.3} and {:.0}, so that the {length_s} s of the curve take between {RUN_S_MIN} s and a week",
                length_s / RUN_S_MAX,
                length_s / RUN_S_MIN
            );
            return Err(SettingsError::Number { key: "speed", found: speed.to_string(), expected });
        }
        Ok(self.at(factor, speed, settings))
    }

    /// A run at one constant rate with this profile's messages, partitions and consumers: what a probe offers.
    ///
    /// # Errors
    /// `messages_per_s` or `seconds` is not a positive number or out of bounds.
    pub fn resolve_constant(
        &self,
        settings: &Settings,
        messages_per_s: f64,
        seconds: f64,
    ) -> Result<Resolved, SettingsError> {
        let shape = super::curve::Shape::Constant { rate: messages_per_s };
        let phase = Phase {
            name: "probe".to_owned(),
            role: Role::Plateau,
            duration_s: seconds,
            pieces: vec![(seconds, shape)],
        };
        let consumers = Consumers { catch_up: None, ..self.consumers };
        let constant = Self { scale: Scale::Absolute, phases: vec![phase], consumers, speed: 1.0, ..self.clone() };
        let constant = Self { mark: super::model::Mark { name: "start".to_owned(), phase: 0 }, ..constant };
        constant.resolve(&Settings { peak: Some(messages_per_s), rate: None, speed: None, ..*settings })
    }

    fn plateau_as_written(&self) -> f64 {
        let plateau = self.phases.iter().find(|phase| phase.role == Role::Plateau);
        plateau.expect("a profile has a plateau: checked when it is read").highest()
    }

    fn at(&self, factor: f64, speed: f64, settings: &Settings) -> Resolved {
        let to_ns = |s: f64| (s * 1e9).round() as u64;
        let mut pieces = Vec::new();
        let mut phases = Vec::new();
        let mut length_s = 0.0;
        for (index, phase) in self.phases.iter().enumerate() {
            let start_ns = to_ns(length_s / speed);
            let mut within_s = 0.0;
            for (duration_s, shape) in &phase.pieces {
                pieces.push(Piece {
                    start_s: (length_s + within_s) / speed,
                    duration_s: duration_s / speed,
                    phase: index as u16,
                    shape: shape.scaled(factor, speed),
                });
                within_s += duration_s;
            }
            length_s += phase.duration_s;
            let end_ns = to_ns(length_s / speed);
            phases.push(ResolvedPhase { name: phase.name.clone(), role: phase.role, start_ns, end_ns });
        }
        let shards = settings.shards.max(1);
        Resolved {
            profile: self.name.clone(),
            title: self.title.clone(),
            speed,
            seed: settings.seed.unwrap_or(self.seed),
            plateau_per_s: self.plateau_as_written() * factor,
            rate: settings.rate.unwrap_or(1.0),
            shards,
            duration_ns: to_ns(length_s / speed),
            mark: self.mark.name.clone(),
            mark_ns: phases[self.mark.phase].start_ns,
            phases,
            pieces,
            arrivals: self.arrivals,
            messages: self.messages,
            partitions: match self.partitions.count {
                PartitionCount::InAll(count) => count,
                PartitionCount::PerShard(count) => count * shards,
            },
            skew: self.partitions.skew,
            layout: settings.layout.unwrap_or(self.partitions.layout),
            consumers: self.consumers,
            objectives: self.objectives.clone(),
            storage: self.storage,
        }
    }
}

impl Phase {
    /// The highest rate of the phase, as written.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.pieces.iter().map(|(duration_s, shape)| shape.highest(*duration_s)).fold(0.0, f64::max)
    }
}

impl Resolved {
    /// Logs that the partitions lie in.
    #[must_use]
    pub fn logs(&self) -> u32 {
        self.layout.logs(self.partitions, self.shards)
    }

    /// Length of an interval of the series: 100 ms in runs under two minutes, else 1 s.
    #[must_use]
    pub fn interval_ns(&self) -> u64 {
        if self.duration_ns < SHORT_RUN_NS { 100_000_000 } else { 1_000_000_000 }
    }

    /// Intervals of the whole schedule, the last one possibly cut short.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.duration_ns.div_ceil(self.interval_ns()) as usize
    }

    /// The phase that an intended arrival belongs to; the last one after the end.
    #[must_use]
    pub fn phase_at(&self, at_ns: u64) -> u16 {
        let after = self.phases.partition_point(|phase| phase.start_ns <= at_ns);
        (after.max(1) - 1) as u16
    }

    /// The phase with this role.
    #[must_use]
    pub fn phase_with(&self, role: Role) -> Option<(u16, &ResolvedPhase)> {
        let index = self.phases.iter().position(|phase| phase.role == role)?;
        Some((index as u16, &self.phases[index]))
    }

    /// The objectives that are meant for a durability.
    pub fn objectives_for(&self, durability: broker::Durability) -> impl Iterator<Item = &Objective> {
        let class = DurabilityClass::from(durability);
        self.objectives.iter().filter(move |objective| objective.durability.contains(&class))
    }

    /// Messages a second offered at an instant; 0 outside the schedule.
    #[must_use]
    pub fn offered(&self, at_s: f64) -> f64 {
        let Some(piece) = self.piece_at(at_s) else { return 0.0 };
        if at_s > piece.start_s + piece.duration_s {
            return 0.0;
        }
        piece.shape.rate(at_s - piece.start_s, piece.duration_s)
    }

    /// Messages that the curve offers from the beginning to an instant: the integral of the rate.
    #[must_use]
    pub fn messages_until(&self, at_s: f64) -> f64 {
        let mut messages = 0.0;
        for piece in self.pieces.iter().take_while(|piece| piece.start_s < at_s) {
            messages += piece.integral((at_s - piece.start_s).min(piece.duration_s));
        }
        messages
    }

    /// Messages of the whole schedule, as the integral has it. A Poisson schedule holds this many within its square root.
    #[must_use]
    pub fn messages_expected(&self) -> f64 {
        self.pieces.iter().map(Piece::total).sum()
    }

    /// Mean offered rate of each interval in messages a second (for `summary.json` and plots).
    #[must_use]
    pub fn offered_series(&self) -> Vec<f64> {
        let interval_s = self.interval_ns() as f64 / 1e9;
        let end_s = self.duration_ns as f64 / 1e9;
        let bounds = (1..=self.intervals()).map(|n| (n as f64 * interval_s).min(end_s));
        self.steps(bounds.collect()).into_iter().map(|(messages, length_s)| messages / length_s).collect()
    }

    /// Messages and length between 0 and the first bound, the first and the second, and so on.
    pub(crate) fn steps(&self, bounds: Vec<f64>) -> Vec<(f64, f64)> {
        let mut from_s = 0.0;
        let mut piece = 0;
        let mut steps = Vec::with_capacity(bounds.len());
        for bound in bounds {
            let mut messages = 0.0;
            let mut at = from_s;
            while at < bound && piece < self.pieces.len() {
                let this = &self.pieces[piece];
                let piece_end = this.start_s + this.duration_s;
                let until = piece_end.min(bound);
                let local = |t: f64| this.integral((t - this.start_s).clamp(0.0, this.duration_s));
                messages += (local(until) - local(at)).max(0.0);
                at = until;
                if piece_end <= bound {
                    piece += 1;
                }
            }
            steps.push((messages, bound - from_s));
            from_s = bound;
        }
        steps
    }

    fn piece_at(&self, at_s: f64) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.start_s <= at_s);
        after.checked_sub(1).map(|index| &self.pieces[index])
    }
}
