//! `highwater calibrate`: what this machine can do in a directory, whatever writes there. The ceilings that results are a share of.
//!
//! What lives here: one file a family of ceilings ([`memory`], [`mapped`], [`buffered`], [`direct`], [`flush`], [`loopback`]), each a plain
//! loop without engine, broker or runtime; measuring them in interleaved rounds; the model ([`Ceilings`]), its table, and remembering it.
//! What never does: an engine's code in a ceiling. A ceiling that looks low is first suspected itself.

pub mod binding;
pub mod buffered;
pub mod case;
pub mod ceilings;
pub mod check;
mod clock;
pub mod direct;
pub mod disk_ring;
pub mod engines;
pub mod fio;
pub mod flush;
pub mod lab;
pub mod loopback;
pub mod mapped;
pub mod memory;
pub mod place;
pub mod remembered;
pub mod rounds;
pub mod sockets;
pub mod table;

pub use case::{Case, Unit};
pub use ceilings::{Ceilings, Figure, Sample};

use crate::config::{Placement, Usage, folder_of};
use crate::cost::{device::Device, machine};
use crate::run::{cache, exit, facts, interrupt::Interrupts, screen::Screen, settle, utc::Utc};
use anyhow::Context;
use lab::Lab;
use place::Place;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// The largest block of any case.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Samples of each case.
const ROUNDS: u32 = 3;

/// Options of `calibrate`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The directory whose disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Cores: the first for the other end of connections, the second is measured [default: all that are allowed]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cpus: Option<Vec<usize>>,
    /// Measure the disk cases by fio as well, and end with status 1 if one of ours lies more than 10 % under fio's
    #[arg(long)]
    pub check_fio: bool,
    /// Measure each engine beside the ceiling of its mechanism instead, and say which goals are met; minutes
    #[arg(long, conflicts_with = "check_fio")]
    pub engines: bool,
    /// With --engines: only cases whose engine and name contain these words, as in "direct durable"
    #[arg(long, value_name = "NAME", requires = "engines")]
    pub case: Option<String>,
    /// With --engines: also those that write for longer than memory lasts
    #[arg(long, requires = "engines")]
    pub long: bool,
    /// Write JSON to FILE beside the table; without FILE, JSON to standard output instead of it
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

impl Options {
    fn placement(&self) -> anyhow::Result<Placement> {
        let placed = Placement::new(self.cpus.as_deref(), None, &machine::allowed_cpus(), 1);
        placed.map_err(|why| Usage::from_error(format!("--cpus: {why}")))
    }

    /// Before minutes are spent on what could not be kept.
    fn check_json(&self) -> anyhow::Result<()> {
        let Some(file) = self.json.as_deref().filter(|file| *file != Path::new("-")) else { return Ok(()) };
        let folder = folder_of(file);
        let what = match (folder.is_dir(), file.is_dir()) {
            (true, false) => return Ok(()),
            (true, true) => "is a directory; name a file in it".to_owned(),
            (false, _) => format!("there is no directory {}; make it, or name another file", folder.display()),
        };
        Err(Usage::from_error(format!("--json {}: {what}", file.display())))
    }
}

/// The command.
///
/// # Errors
/// [`Usage`] for options that cannot be; a directory that cannot be measured; an operation that fails.
pub fn calibrate(options: &Options) -> anyhow::Result<ExitCode> {
    let placement = options.placement()?;
    options.check_json()?;
    if options.engines {
        return calibrate_engines(options, &placement);
    }
    let place = Place::new(&options.dir, lab::DISK_BYTES)?;
    let fio = options.check_fio.then(fio::version).transpose()?;
    let interrupts = Interrupts::listen()?;
    let mut screen = Screen::default();
    warn_of_page_reporting(&mut screen);
    let interrupted = || {
        eprintln!("interrupted: nothing was kept");
        Ok(ExitCode::from(exit::INTERRUPTED))
    };
    // Before this thread is pinned to the core that is measured, which would leave that as the only one it may use.
    let key = remembered::Key::of(place.dir());
    let Some(ceilings) = measure(&place, &placement, &mut screen, &interrupts)? else { return interrupted() };
    let check = match fio {
        Some(version) => match check::check(version, &place, &mut screen, &interrupts)? {
            Some(check) => Some(check),
            None => return interrupted(),
        },
        None => None,
    };
    screen.clear();
    if let Some(cache) = cache::dir()
        && let Err(error) = remembered::remember(&cache, &key, &ceilings)
    {
        screen.line(&format!("the ceilings could not be remembered in {}: {error}", cache.display()));
    }
    let compared = check.as_ref().map(|check| format!("\n{}", check.table())).unwrap_or_default();
    let below = check.as_ref().is_some_and(|check| !check.passed);
    let table = table::render(&ceilings) + &compared;
    print(&table, &Report { ceilings, fio: check }, options.json.as_deref())?;
    Ok(ExitCode::from(if below { exit::FAILED } else { exit::DONE }))
}

/// `calibrate --engines`: status 1 if a case failed; a goal that is missed is a result.
fn calibrate_engines(options: &Options, placement: &Placement) -> anyhow::Result<ExitCode> {
    let cases = engines::chosen(engines::cases(), options.case.as_deref(), options.long)?;
    let place = Place::new(&options.dir, lab::DISK_BYTES + engines::LOG_BYTES)?;
    let interrupts = Interrupts::listen()?;
    let mut screen = Screen::default();
    warn_of_page_reporting(&mut screen);
    settle::settle(place.dir(), &mut screen, &interrupts);
    let Some(table) = engines::measure(&cases, &place, placement, &mut screen, &interrupts)? else {
        eprintln!("interrupted: nothing was kept");
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    print(&table.render(), &table, options.json.as_deref())?;
    let failed = table.rows.iter().any(|row| row.failed.is_some());
    Ok(ExitCode::from(if failed { exit::FAILED } else { exit::DONE }))
}

/// What allocates memory in a window is measured with the host's memory management otherwise: 3.4 GB/s of fresh page cache here without, 0.5 to 2 with.
fn warn_of_page_reporting(screen: &mut Screen) {
    let Some(order) = machine::page_reporting() else { return };
    let (file, off) = (machine::PAGE_REPORTING, machine::PAGE_ORDER_MAX + 1);
    screen.line(&format!(
        "warning: this kernel hands free memory back to its host, and to take it again is slow: what allocates memory varies. While you measure, let \
         the host not ask for it, or as root, if the kernel takes it: echo {off} > {file} (it is {order} now)"
    ));
}

/// What `--json` tells.
#[derive(serde::Serialize)]
struct Report {
    #[serde(flatten)]
    ceilings: Ceilings,
    /// Under `--check-fio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fio: Option<check::Check>,
}

/// The table, or JSON to standard output, or both with a file.
fn print(table: &str, value: &impl serde::Serialize, json: Option<&Path>) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match json {
        Some(file) if file == Path::new("-") => writeln!(out, "{}", serde_json::to_string_pretty(value)?)?,
        Some(file) => {
            write!(out, "{table}")?;
            let text = serde_json::to_string_pretty(value)?;
            std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
        }
        None => write!(out, "{table}")?,
    }
    Ok(())
}

/// Measures every case. `None`: interrupted.
fn measure(
    place: &Place,
    placement: &Placement,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Ceilings>> {
    settle::settle(place.dir(), screen, interrupts);
    let (started, begun) = (Utc::now(), Instant::now());
    screen.moving("files", "making files to measure with");
    let core = placement.shards.first().copied();
    loopback::pin(core).context("run on the shard's core")?;
    let mut lab = Lab::new(place, placement)?;
    let figures = rounds::measure(&Case::all(), ROUNDS, |case| lab.measure(case), screen, interrupts)?;
    let device = Device::of(place.dir()).ok().flatten();
    Ok(figures.map(|figures| Ceilings {
        version: ceilings::VERSION,
        measured: started.rfc3339(),
        took_s: begun.elapsed().as_secs_f64(),
        file_system: machine::file_system(place.dir()),
        device: device.map_or_else(|| "no device".to_owned(), |device| device.label()),
        kernel: machine::kernel(),
        cpu: machine::cpu_model(),
        build: facts::build_kind().to_owned(),
        shard_core: core,
        peer_core: placement.generator,
        figures,
    }))
}
