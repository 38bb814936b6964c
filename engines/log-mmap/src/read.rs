//! Reads: the mapping in place, a range for `sendfile`, or the ring for what is not in memory.

use crate::{log::Log, mapping::Mapping};
use log_api::{Chunk, Counters, Offset, Piece, Read, ReadError, SendPath};
use log_segment::{Loaded, Plan, damage, verify_read};
use std::{ops::Range, rc::Rc};

/// Bytes of a read, held where they are.
#[derive(Clone)]
pub struct Pin(Held);

#[derive(Clone)]
enum Held {
    /// Log bytes in the mapping.
    Mapped(Rc<Mapping>, Range<usize>),
    /// Bytes that the ring read.
    Loaded(Loaded),
}

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(mapping, range) => mapping.bytes(range.clone()),
            Held::Loaded(bytes) => bytes.as_ref(),
        }
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
        // A block holds one read; only a single batch may be larger.
        let bytes_max = read.bytes_max.min(self.host.loader.block_bytes() as u64);
        let read = Read { until: read.until.min(end), bytes_max, ..read };
        let planned = self.disk.segments.borrow().plan(&read);
        let Some(planned) = planned else { return Ok(Chunk::empty(read.from)) };
        let plan = if planned.exact { planned } else { self.narrow(planned, &read).await? };
        if plan.bytes() == 0 {
            // The batch that holds `from` reaches beyond `until`.
            return Ok(Chunk::empty(read.from));
        }
        let piece = match self.host.config.send {
            SendPath::Sendfile => self.range(&plan, read.from)?,
            SendPath::Copy => Piece::Pin(self.pin(&plan, read.from, true).await?),
        };
        Ok(Chunk { base: plan.start.offset, next: plan.end.offset, bytes: plan.bytes(), pieces: vec![piece] })
    }

    /// Finds the exact batches by their headers.
    async fn narrow(&self, plan: Plan, read: &Read) -> Result<Plan, ReadError> {
        let bytes = self.pin(&plan, read.from, false).await?;
        let narrowed = plan
            .narrow(bytes.as_ref(), read)
            .ok_or_else(|| damage(&self.disk.dir(), &plan, 0, "no batch stands where one should"))?;
        self.disk.segments.borrow().remember(&narrowed);
        Ok(narrowed)
    }

    /// The plan's bytes in memory: in the mapping if they are resident, else read through the ring and verified. What was appended in this
    /// life was verified before it was appended. A trim may have given the segment up while the plan was made exact.
    async fn pin(&self, plan: &Plan, asked: Offset, verify: bool) -> Result<Pin, ReadError> {
        let range = range_of(plan);
        // The lease keeps the file while it is read.
        let (mapping, file, _lease) = {
            let segments = self.disk.segments.borrow();
            let segment = segments.get(plan.segment).ok_or_else(|| self.disk.out_of_range(asked))?;
            (segment.handle.mapping.clone(), segment.handle.file.ring().clone(), segments.lease(plan.segment))
        };
        let counters = &self.host.counters;
        if let Some(mapping) = mapping {
            Counters::add(&counters.system_calls, 1);
            if mapping.resident(range.clone()) {
                Counters::add(&counters.read_hits, 1);
                return Ok(Pin(Held::Mapped(mapping, range)));
            }
        }
        Counters::add(&counters.read_misses, 1);
        Counters::add(&counters.read_bytes, plan.bytes());
        let bytes = self.host.loader.load(&file, plan.start.position..plan.end.position).await?;
        if let Loaded::Assembled(bytes) = &bytes {
            Counters::add(&counters.copied_bytes, bytes.len() as u64);
        }
        if verify {
            verify_read(&self.disk.dir(), plan, bytes.as_ref())?;
        }
        Ok(Pin(Held::Loaded(bytes)))
    }

    /// The plan as a range to send.
    fn range(&self, plan: &Plan, asked: Offset) -> Result<Piece<Pin>, ReadError> {
        let segments = self.disk.segments.borrow();
        let segment = segments.get(plan.segment).ok_or_else(|| self.disk.out_of_range(asked))?;
        let counters = &self.host.counters;
        let resident = segment.handle.mapping.as_ref().is_some_and(|mapping| {
            Counters::add(&counters.system_calls, 1);
            mapping.resident(range_of(plan))
        });
        Counters::add(if resident { &counters.read_hits } else { &counters.read_misses }, 1);
        let lease = segments.lease(plan.segment).expect("the segment is there");
        Ok(Piece::File(segment.handle.file.range(plan.start.position..plan.end.position, resident, lease)?))
    }
}

fn range_of(plan: &Plan) -> Range<usize> {
    let byte = |position: u64| usize::try_from(position).expect("a mapped segment fits the address space");
    byte(plan.start.position)..byte(plan.end.position)
}
