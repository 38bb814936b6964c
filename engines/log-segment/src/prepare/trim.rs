//! Segments that were given up, on their way to be the next ones.

use super::{Inner, Preparer, Recycled};
use crate::{
    Dead, Keeper, Medium, Reuse, SEAL_LINGER, files::FileError, keeper::Successor, make::refit, names::prepared_path,
};
use futures_lite::future::or;
use log_api::Offset;
use shard_ring::{Event, Wait, sleep, spawn_local};
use std::{
    cell::Cell,
    future::Future,
    io,
    rc::{Rc, Weak},
};

/// Work for the helper.
pub(super) struct Trim<K> {
    keeper: Keeper,
    start: Offset,
    /// First offsets of what was given up, oldest first.
    segments: Vec<Offset>,
    /// Those of them that will be written again, as they are or else as blocks.
    successors: Vec<Successor<Option<K>>>,
}

impl<M: Medium> Preparer<M> {
    /// Does what [`Keeper::trim`] does, but makes the next segments of the newest of those given up, as far as they are lacking and as `reuse`
    /// allows, instead of unlinking them. What is overwritten as it is must not be on its way to a reader: the lease of each read sees to
    /// that, but not for pages that are sent by reference, unless they are overwritten past the page cache.
    ///
    /// In a log that does not flush, this takes place up to a second later, together with what is given up until then, if nobody waits for a
    /// segment: on a device with a cache each of its flushes is one of all that was written, and a burst need not wait for that.
    ///
    /// # Errors
    /// What the system said, unless it is done later: then it is [`Keeper::failure`]. A segment that could not be recycled is unlinked, and is no
    /// error.
    pub fn trim<F: 'static>(
        &self,
        keeper: &Keeper,
        dead: Dead<F>,
        reuse: impl FnMut(F) -> Reuse<M::Kept> + 'static,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let inner = &self.0;
        let trim = inner.plan(keeper, dead, reuse);
        let lingers = !inner.config.durable && inner.may_linger();
        let trimmed = if lingers {
            inner.gather(trim);
            None
        } else {
            // In the order in which they were given up.
            inner.trim_gathered();
            Some(inner.trim(trim))
        };
        async move {
            match trimmed {
                Some(trimmed) => Ok(trimmed.await?),
                None => Ok(()),
            }
        }
    }

    /// What comes back is not needed soon: the next roll finds a segment, and the one after it.
    #[must_use]
    pub fn may_linger(&self) -> bool {
        self.0.may_linger()
    }

    /// Ends when that is not so any more.
    pub fn hurried(&self) -> Wait {
        self.0.hurry.wait()
    }
}

impl<M: Medium> Inner<M> {
    /// What becomes of segments that were given up.
    fn plan<F>(&self, keeper: &Keeper, dead: Dead<F>, mut reuse: impl FnMut(F) -> Reuse<M::Kept>) -> Trim<M::Kept> {
        let state = &self.state;
        // One more than is prepared ahead: with it, a roll leaves enough, and no zeros are written before the next trim.
        let under_way = state.ready.borrow().len() + state.recycling.get() + state.spares.borrow().len();
        let lacking = (self.wanted() + 1).saturating_sub(under_way);
        // What is overwritten as it is costs nothing but its place to be kept, for bursts; others would keep their memory, too.
        let kept = if self.bursts_with_zeros() { self.target() + 1 } else { 0 };
        let as_it_is_max = kept.saturating_sub(under_way + state.blanks.borrow().len()).max(lacking);
        let segments: Vec<Offset> = dead.segments.iter().map(|(base, _)| *base).collect();
        let mut reused = Vec::new();
        for (base, handle) in dead.segments.into_iter().rev() {
            match if reused.len() < as_it_is_max { reuse(handle) } else { Reuse::Not } {
                Reuse::AsIs(kept) => reused.push((base, Some(kept))),
                Reuse::Blocks if reused.len() < lacking => reused.push((base, None)),
                Reuse::Blocks | Reuse::Not => {}
            }
        }
        // Oldest first, as they will be used: recovery takes the order of the numbers for the order of use.
        let named = reused.into_iter().rev().map(|(base, kept)| {
            let path = prepared_path(&self.config.dir, state.next_number());
            Successor { base, path, kept }
        });
        let successors: Vec<_> = named.collect();
        state.recycling.set(state.recycling.get() + successors.len());
        // Of the others only the blocks come back, which are filled with zeros first.
        let as_it_is = successors.iter().any(|successor| successor.kept.is_some());
        state.given_up.set(state.given_up.get() || as_it_is);
        Trim { keeper: keeper.clone(), start: dead.start, segments, successors }
    }

    /// Has the helper do it. It is done even if nobody waits.
    fn trim(self: &Rc<Self>, trim: Trim<M::Kept>) -> impl Future<Output = Result<(), FileError>> + 'static {
        let (config, medium, state) = (self.config.clone(), self.medium.clone(), self.state.clone());
        let Trim { keeper, start, segments, successors } = trim;
        let count = successors.len();
        let trimmed = keeper.trim_into(start, segments, successors, move |files, path, kept| match kept {
            Some(kept) => Recycled::Ready(refit(files, &config, &medium, path, kept)),
            None => Recycled::Spare(path),
        });
        let outcome = Rc::new((Cell::new(None), Event::new()));
        let (reported, preparer) = (outcome.clone(), Rc::downgrade(self));
        // A task of its own: the segments are not lost if nobody waits.
        spawn_local(async move {
            let trimmed = trimmed.await;
            state.recycling.set(state.recycling.get() - count);
            let trimmed = trimmed.map(|recycled| recycled.into_iter().for_each(|one| state.recycled(one)));
            reported.0.set(Some(trimmed));
            reported.1.notify_all();
            if let Some(preparer) = preparer.upgrade() {
                // What did not come back after all is made, and what came back as blocks is filled.
                preparer.start();
            }
        });
        async move {
            loop {
                let ended = outcome.1.wait();
                if let Some(trimmed) = outcome.0.take() {
                    return trimmed;
                }
                ended.await;
            }
        }
    }

    /// See [`Preparer::may_linger`].
    pub(super) fn may_linger(&self) -> bool {
        let state = &self.state;
        state.ready.borrow().len() > 1 && !state.full.get() && !state.stopped.get()
    }

    /// Puts it off.
    fn gather(self: &Rc<Self>, trim: Trim<M::Kept>) {
        if let Some(gathered) = &mut *self.gathered.borrow_mut() {
            gathered.start = trim.start;
            gathered.segments.extend(trim.segments);
            gathered.successors.extend(trim.successors);
            return;
        }
        self.gathered.replace(Some(trim));
        spawn_local(Self::trim_later(Rc::downgrade(self), self.hurry.wait()));
    }

    /// A dropped engine does not wait for what only waits itself.
    async fn trim_later(preparer: Weak<Self>, hurried: Wait) {
        or(hurried, sleep(SEAL_LINGER)).await;
        if let Some(preparer) = preparer.upgrade() {
            preparer.trim_gathered();
        }
    }

    /// Does what was put off.
    pub(super) fn trim_gathered(self: &Rc<Self>) {
        let Some(gathered) = self.gathered.take() else { return };
        let keeper = gathered.keeper.clone();
        let trimmed = self.trim(gathered);
        spawn_local(async move { keeper.note(trimmed.await) });
    }
}
