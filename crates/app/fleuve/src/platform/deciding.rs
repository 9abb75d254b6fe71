//! When a change may begin: what it would meet has ended by then. See [`super::under_way`].

use std::sync::Arc;

use fleuve_sql::{Change, ObjectSet, Unapplied, Withdrawal};
use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::Platform;
use super::under_way::{Claim, withdrawn};

/// Changes that are being decided, while no others are.
pub(super) struct Deciding<'a> {
    pub(super) one: tokio::sync::MutexGuard<'a, ()>,
    pub(super) before: Arc<ObjectSet>,
    pub(super) changes: Vec<Change>,
}

impl Platform {
    /// Waits until nothing is carried out any more that the changes would meet. What they drop is not built to the end: if that was all of it,
    /// nothing is left to do.
    pub(super) async fn decide<'a>(
        &'a self,
        from: &Arc<ObjectSet>,
        mut changes: Vec<Change>,
        withdrawal: &Withdrawal,
    ) -> Result<Option<Deciding<'a>>, Unapplied> {
        let (mut from, mut has_ended_one) = (from.clone(), false);
        loop {
            let one = self.changing.lock().await;
            let before = self.object_set();
            if !Arc::ptr_eq(&from, &before) {
                let left = if has_ended_one { left_to_drop(&before, &changes) } else { None };
                changes = left.ok_or(Unapplied::Outdated)?;
                from = before.clone();
                if changes.is_empty() {
                    return Ok(None);
                }
            }
            let mut claim = Claim::of(&before, &changes);
            let mut met = self.under_way.met_by(&claim);
            if met.is_empty() {
                let changes = self.with_indexes(&before, changes.clone())?;
                claim = Claim::of(&before, &changes);
                met = self.under_way.met_by(&claim);
                if met.is_empty() {
                    return Ok(Some(Deciding { one, before, changes }));
                }
            }
            drop(one);
            for other in &met {
                has_ended_one |= other.yields_to(&before, &changes);
            }
            let Some(first) = met.first() else { continue };
            let _waiting = self.under_way.waits(&claim, first, self.clock.now_us());
            tokio::select! {
                biased;
                () = first.ended() => {}
                () = withdrawal.comes() => {
                    let ends = || Error::new(ErrorKind::Retry, "it was canceled; what was being built ends all the same");
                    return Err(Unapplied::all(if has_ended_one { ends() } else { withdrawn() }));
                }
            }
        }
    }

    /// Builds a view that failed anew.
    pub(super) async fn resume(&self, view: ObjectId, withdrawal: Withdrawal) -> Result<()> {
        let turn = loop {
            let one = self.changing.lock().await;
            let set = self.object_set();
            let claim = Claim::building(&set, &set, view);
            let met = self.under_way.met_by(&claim);
            let now_us = self.clock.now_us();
            let Some(first) = met.first() else { break self.under_way.begin(claim, withdrawal, now_us) };
            drop(one);
            let _waiting = self.under_way.waits(&claim, first, now_us);
            tokio::select! {
                biased;
                () = first.ended() => {}
                () = withdrawal.comes() => return Err(withdrawn()),
            }
        };
        turn.built(&self.engine, view, self.engine.resume_view(view)).await
    }
}

/// Of drops what is still there to go, if nothing else depends on it. `None` of other changes.
fn left_to_drop(set: &ObjectSet, changes: &[Change]) -> Option<Vec<Change>> {
    let dropped = |change: &Change| if let Change::Drop(id) = change { Some(*id) } else { None };
    let all: Vec<ObjectId> = changes.iter().map(dropped).collect::<Option<_>>()?;
    let left: Vec<ObjectId> = all.into_iter().filter(|id| set.object(*id).is_some()).collect();
    let is_whole = set.dependents(left.iter().copied(), |_| true).is_empty();
    is_whole.then(|| left.into_iter().map(Change::Drop).collect())
}
