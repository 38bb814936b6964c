//! Reads: a range for `sendfile`, or the ring into a block.

use crate::{log::Log, residency::resident};
use log_api::{Chunk, Counters, Offset, Piece, Read, ReadError, SendPath};
use log_segment::{Hold, Loaded, Plan, damage, verify_read};

/// Bytes of a read, held where they are.
#[derive(Clone)]
pub struct Pin(Loaded);

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Log {
    pub(crate) async fn read(&self, read: Read) -> Result<Chunk<Pin>, ReadError> {
        let (start, end) = {
            let segments = self.disk.segments.borrow();
            (segments.start(), segments.end())
        };
        if read.from < start || read.from > end {
            return Err(self.disk.out_of_range(read.from));
        }
        // What is still in the gather buffer is not in the file. A block holds one read; only a single batch may be larger.
        let bytes_max = read.bytes_max.min(self.shared.host.loader.block_bytes() as u64);
        let read = Read { until: read.until.min(self.placed()), bytes_max, ..read };
        if read.until <= read.from {
            return Ok(Chunk::empty(read.from));
        }
        let planned = self.disk.segments.borrow().plan(&read);
        let Some(planned) = planned else { return Ok(Chunk::empty(read.from)) };
        let plan = if planned.exact { planned } else { self.narrow(planned, &read).await? };
        if plan.bytes() == 0 {
            // The batch that holds `from` reaches beyond `until`.
            return Ok(Chunk::empty(read.from));
        }
        let piece = match self.shared.host.config.send {
            SendPath::Sendfile => self.range(&plan, read.from)?,
            SendPath::Copy => {
                let bytes = self.load(&plan, read.from).await?;
                verify_read(&self.disk.dir(), &plan, bytes.as_ref())?;
                Piece::Pin(Pin(bytes))
            }
        };
        Ok(Chunk { base: plan.start.offset, next: plan.end.offset, bytes: plan.bytes(), pieces: vec![piece] })
    }

    /// Finds the exact batches by their headers.
    async fn narrow(&self, plan: Plan, read: &Read) -> Result<Plan, ReadError> {
        let bytes = self.load(&plan, read.from).await?;
        let narrowed = plan
            .narrow(bytes.as_ref(), read)
            .ok_or_else(|| damage(&self.disk.dir(), &plan, 0, "no batch stands where one should"))?;
        self.disk.segments.borrow().remember(&narrowed);
        Ok(narrowed)
    }

    /// The plan's bytes in memory, through the ring: from the page cache at once, from the device by a kernel worker. A trim may have given
    /// the segment up while the plan was made exact.
    async fn load(&self, plan: &Plan, asked: Offset) -> Result<Loaded, ReadError> {
        // The lease keeps the file while it is read.
        let (file, _lease) = {
            let segments = self.disk.segments.borrow();
            let segment = segments.get(plan.segment).ok_or_else(|| self.disk.out_of_range(asked))?;
            (segment.handle.file().ring().clone(), segments.lease(plan.segment))
        };
        let range = plan.start.position..plan.end.position;
        self.count(resident(file.file(), &range), plan);
        let bytes = self.shared.host.loader.load(&file, range).await?;
        if let Loaded::Assembled(bytes) = &bytes {
            Counters::add(&self.shared.host.counters.copied_bytes, bytes.len() as u64);
        }
        Ok(bytes)
    }

    /// The plan as a range to send.
    fn range(&self, plan: &Plan, asked: Offset) -> Result<Piece<Pin>, ReadError> {
        let segments = self.disk.segments.borrow();
        let segment = segments.get(plan.segment).ok_or_else(|| self.disk.out_of_range(asked))?;
        let range = plan.start.position..plan.end.position;
        let hot = resident(segment.handle.file().ring().file(), &range);
        self.count(hot, plan);
        let lease = segments.lease(plan.segment).expect("the segment is there");
        Ok(Piece::File(segment.handle.file().range(range, hot, lease)?))
    }

    /// Counts a read and the question whether it is resident.
    fn count(&self, hot: bool, plan: &Plan) {
        let counters = &self.shared.host.counters;
        Counters::add(&counters.system_calls, 1);
        if hot {
            Counters::add(&counters.read_hits, 1);
        } else {
            Counters::add(&counters.read_misses, 1);
            Counters::add(&counters.read_bytes, plan.bytes());
        }
    }
}
