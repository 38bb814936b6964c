//! How the toy finds the end of a log.

use crate::{bug::*, toy::*};
use log_api::*;
use log_testkit::media::on_device;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The log must contain everything before this offset.
pub(crate) fn write_watermark(log: &Log, offset: Offset) -> io::Result<()> {
    replace(&log.folder, "toy-watermark", &offset.0.to_string())
}

fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = folder.join("toy-temporary");
    fs::write(&temporary, text)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Which incarnation writes which offsets.
struct Epochs(Vec<(u32, u64)>);

impl Epochs {
    fn load(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("toy-epochs")).unwrap_or_default();
        let line = |line: &str| line.split_once(' ').and_then(|(e, o)| Some((e.parse().ok()?, o.parse().ok()?)));
        Self(text.lines().filter_map(line).collect())
    }

    fn of(&self, offset: Offset) -> Option<Epoch> {
        self.0.iter().rev().find(|(_, first)| *first <= offset.0).map(|(epoch, _)| Epoch(*epoch))
    }

    fn begin<const BUG: u8>(&mut self, folder: &Path, end: Offset) -> io::Result<Epoch> {
        let last = self.0.last().map_or(0, |(epoch, _)| *epoch);
        let epoch = if BUG == EPOCH_DOES_NOT_RISE { 1 } else { last + 1 };
        // Incarnations that wrote nothing that is left are forgotten.
        self.0.retain(|(_, first)| *first < end.0);
        self.0.push((epoch, end.0));
        let text: String = self.0.iter().map(|(epoch, first)| format!("{epoch} {first}\n")).collect();
        replace(folder, "toy-epochs", &text)?;
        Ok(Epoch(epoch))
    }
}

impl<const BUG: u8> Toy<BUG> {
    pub(crate) fn recover(&self, folder: PathBuf) -> Result<(Log, Recovery), OpenError> {
        let failed = || io_error("recover", &folder);
        let mut epochs = Epochs::load(&folder);
        let watermark =
            fs::read_to_string(folder.join("toy-watermark")).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let watermark = Offset(watermark);
        let mut found: Vec<(Offset, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
            if let Some(base) = name.and_then(|name| name.parse().ok()) {
                found.push((Offset(base), path));
            }
        }
        found.sort();
        let start = found.first().map_or(Offset(0), |(base, _)| *base);
        let mut segments: Vec<Segment> = Vec::new();
        let mut cut = None;
        let mut next = start;
        for (base, path) in found {
            if base != next || cut.is_some() {
                fs::remove_file(&path).map_err(failed())?;
                continue;
            }
            let file = File::options().read(true).write(true).open(&path).map_err(failed())?;
            let mut segment = self.segment(path.clone(), file, base);
            let bytes = match BUG {
                RECOVERY_TRUSTS_THE_PAGE_CACHE | RECOVERY_DOES_NOT_FLUSH => fs::read(&path).map_err(failed())?,
                _ => on_device(&path).map_err(|error| io_error("read", &path)(io::Error::other(error)))?,
            };
            let wrong = self.walk(&mut segment, &bytes, &epochs);
            if BUG == THE_LAST_BATCH_IS_LOST_ON_REOPEN
                && let Some(lost) = segment.batches.pop()
            {
                (segment.written, segment.end) = (lost.position, lost.base);
            }
            next = segment.end;
            if let Some(what) = wrong {
                let position = segment.written;
                if next < watermark && BUG != DAMAGE_IS_CUT {
                    return Err(Damage { segment: path, position, what }.into());
                }
                cut = Some(Cut { segment: path, position, what });
            }
            if !matches!(BUG, THE_CUT_LEAVES_A_TAIL | RECOVERY_DOES_NOT_FLUSH) {
                zero(&segment.file, segment.written, self.config.segment_bytes).map_err(failed())?;
            }
            segments.push(segment);
        }
        if segments.is_empty() {
            let first = self.make_segment(&folder, Offset(0)).map_err(failed())?;
            segments.push(first);
        }
        let end = segments.last().expect("at least one").end;
        let epoch = epochs.begin::<BUG>(&folder, end).map_err(failed())?;
        let marks = Marks { start, durable: end, placed: end, end };
        let log = Log { folder, epoch, marks, segments, poison: None };
        Ok((log, Recovery { marks, epoch, cut }))
    }

    /// Takes batch after batch into the segment, until there is none; says what stands there instead.
    fn walk(&self, segment: &mut Segment, bytes: &[u8], epochs: &Epochs) -> Option<String> {
        loop {
            let rest = &bytes[segment.written as usize..];
            let header = match log_format::peek(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return rest.iter().any(|byte| *byte != 0).then(|| "no batch".to_owned()),
                Err(error) => return Some(error.to_string()),
            };
            let total = header.total_bytes();
            let Some(batch) = rest.get(..total as usize) else { return Some("a batch that is cut off".to_owned()) };
            if BUG != CHECKSUMS_ARE_SKIPPED
                && let Err(error) = log_format::verify(batch)
            {
                return Some(error.to_string());
            }
            let (base, end) = (segment.end, segment.end.plus(u64::from(header.records.unsigned_abs())));
            let expected = header.offset() == Some(base) && header.epoch() == epochs.of(base);
            if !expected && (BUG != STALE_BATCHES_ARE_ACCEPTED || header.offset() != Some(base)) {
                return Some("a batch of another place or time".to_owned());
            }
            segment.batches.push(Place { base, end, position: segment.written, bytes: total });
            segment.written += total;
            segment.end = end;
        }
    }
}
