//! What a child tells of a finished load: a wall, or an engine's whole result.

use super::{
    costs::{self, Spent},
    job::{Job, Probed},
    measure,
    play::Loaded,
    verdicts,
};
use crate::load::generator::End;
use crate::profile::Resolved;
use crate::summary::{Content, EngineResult, Measurement, PhaseResult, Status, Verdict};
use anyhow::bail;
use broker::{Durability, EngineKind, NodeReport};
use log_api::SendPath;

/// A load that has ended, and a node that has stopped.
pub(super) struct Finished<'a> {
    pub(super) job: &'a Job,
    pub(super) resolved: &'a Resolved,
    pub(super) engine: EngineKind,
    /// `None` for an engine that gives nothing back.
    pub(super) send: Option<SendPath>,
    pub(super) loaded: &'a Loaded,
    pub(super) report: &'a NodeReport,
    pub(super) spent: &'a Spent,
}

impl Finished<'_> {
    /// The wall that a probe found, without its first `settle_ms`.
    pub(super) fn probed(&self, settle_ms: u64) -> anyhow::Result<Probed> {
        if let Some(failure) = self.failure() {
            bail!("{failure}");
        }
        if let Some(problem) = self.loaded.problems.first() {
            bail!("{problem}");
        }
        let played = &self.loaded.played;
        let interval_ns = self.resolved.interval_ns();
        let End::Stopped(stopped_ns) = played.end else { bail!("the probe's schedule ended early") };
        let first = (settle_ms * 1_000_000).div_ceil(interval_ns) as usize;
        let last = ((stopped_ns / interval_ns) as usize).min(played.recorder.achieved.len());
        if first >= last {
            bail!("nothing was acknowledged after the first {settle_ms} ms");
        }
        let seconds = ((last - first) as u64 * interval_ns) as f64 / 1e9;
        let messages: u64 = played.recorder.achieved[first..last].iter().sum();
        let busy_ns: u64 = played.busy_ns.iter().take(last).skip(first).sum();
        Ok(Probed { messages_per_s: messages as f64 / seconds, generator_busy: busy_ns as f64 / 1e9 / seconds })
    }

    /// The engine's row.
    pub(super) fn result(&self) -> EngineResult {
        let Self { job, resolved, engine, send, loaded, report, spent } = *self;
        let Loaded { played, findings, .. } = loaded;
        let interval_s = resolved.interval_ns() as f64 / 1e9;
        let phases = measure::phases(resolved, &played.recorder, loaded.tails);
        let total = measure::total(resolved, &played.recorder, &phases);
        let series = measure::series(&played.recorder, &played.end, resolved.messages.batch);
        let durability = job.durability.parse().expect("the node was started with it");
        let objectives = resolved.objectives_for(durability);
        let wanted: Vec<(u64, f64)> = objectives.map(|objective| (objective.within_ns, objective.share)).collect();
        let generator = measure::generator(resolved, played);
        let attestation = costs::attestation(engine, send, loaded.tails, resolved.layout, report);
        let validity = vec![
            verdicts::lateness(&total, generator.taken),
            verdicts::generator(&generator),
            verdicts::achieved(job.wall, &played.recorder, &series),
            verdicts::arrivals(resolved, &phases, &played.end),
            verdicts::attestation(&attestation),
            self.content_verdict(&total),
        ];
        let mut notes = costs::notes(report, spent, job.helpers_share());
        if durability == Durability::Durable && !engine.capabilities().durable {
            notes.push(format!("{engine} keeps nothing on stable storage: its durable acknowledgement says nothing"));
        }
        notes.extend(self.caught_up());
        if findings.skipped > 0 {
            notes.push(format!("{} messages were trimmed before a consumer reached them", findings.skipped));
        }
        EngineResult {
            name: job.engine.clone(),
            status: self.status(),
            send: send.map(|path| path.name().to_owned()).unwrap_or_default(),
            order: job.order,
            measurement: Some(Measurement {
                backlog: measure::backlog(&series, interval_s),
                dry: measure::dry(&series, interval_s, played),
                objectives: measure::objectives(&wanted, &played.recorder, &series, interval_s),
                throughput: measure::throughput(resolved, &phases, &series),
                generator,
                costs: costs::costs(engine, send, resolved.consumers.tail, report, spent),
                plateau_use: loaded.plateau_use,
                ceilings: Vec::new(),
                attestation,
                phases,
                total,
                series,
                content: self.content(),
                validity,
                notes,
            }),
        }
    }

    /// What the catch-up consumers got, which is what the producers' latency beside them is to be judged by.
    fn caught_up(&self) -> Option<String> {
        let phase =
            &self.resolved.phases[self.resolved.consumers.catch_up.filter(|_| self.loaded.catch_ups > 0)?.phase];
        let seconds = (phase.end_ns - phase.start_ns) as f64 / 1e9;
        let (bytes, passes) = self.loaded.caught_up;
        let rate = bytes as f64 / 1e9 / seconds;
        Some(format!("catch-up consumers received {rate:.2} GB/s, the history {passes} times to its end"))
    }

    fn failure(&self) -> Option<String> {
        self.report.shards.iter().find_map(|shard| shard.failure.clone())
    }

    fn status(&self) -> Status {
        let played = &self.loaded.played;
        if let Some(why) = self.failure() {
            return Status::Failed { why };
        }
        let failed = played.tally.refused + played.tally.poisoned;
        if failed > 0 {
            return Status::Failed { why: format!("{failed} messages were refused or not kept") };
        }
        match played.end {
            End::Stopped(ns) => {
                let duration_s = self.resolved.duration_ns as f64 / 1e9;
                Status::Partial { why: format!("stopped at {:.1} s of {duration_s:.1} s", ns as f64 / 1e9) }
            }
            End::Complete | End::NotReceived | End::NotDry => Status::Ok,
        }
    }

    fn content(&self) -> Content {
        let found = &self.loaded.findings;
        Content {
            tail_consumers: self.loaded.tails,
            catch_up_consumers: self.loaded.catch_ups,
            verified_messages: found.verified + found.older,
            lost: found.lost,
            doubled: found.doubled,
            reordered: found.reordered,
            damaged: found.damaged,
        }
    }

    fn content_verdict(&self, total: &PhaseResult) -> Verdict {
        let Loaded { played, findings, problems, tails, catch_ups, .. } = self.loaded;
        let trimmed: u64 = self.report.shards.iter().map(|shard| shard.stats.trimmed_messages).sum();
        // Each partition has as many tail consumers, and each catch-up consumer reads one of them.
        let readers = u64::from(self.resolved.consumers.tail) + u64::from(*catch_ups);
        verdicts::content(&verdicts::Received {
            end: &played.end,
            consumers: tails + catch_ups,
            findings,
            problems,
            given_up: trimmed * readers,
            unreceived: played.unreceived,
            left: total.offered_messages - total.acknowledged_messages,
        })
    }
}
