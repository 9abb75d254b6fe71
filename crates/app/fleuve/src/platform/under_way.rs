//! Changes of the catalog that are being carried out: what the catalog has decided runs, or does not, only when views are built, and that can
//! take hours.
//!
//! Each claims the objects that it makes or changes, and names those that these read. Another change goes on beside it unless one claims
//! what the other claims or reads; then it waits. A DROP of what is being built ends the build, and so does whoever asked for it by
//! taking that back: then the change is undone. Derived state; after a crash the catalog's decisions are carried out again.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fleuve_catalog::Object;
use fleuve_engine::Engine;
use fleuve_sql::{BoundObject, Change, ObjectSet, Withdrawal};
use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

/// How often a build is told to end until it has.
const TELL_AGAIN: Duration = Duration::from_millis(50);

/// What a change makes, changes and reads.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claim {
    /// What is made or becomes another one by its own statement.
    made: BTreeSet<ObjectId>,
    /// That, what goes, and what has to follow: nobody else changes or reads any of it.
    own: BTreeSet<ObjectId>,
    /// `(namespace, name)` of these.
    names: BTreeSet<(String, String)>,
    /// What these read, and so on: it stays as it is.
    reads: BTreeSet<ObjectId>,
}

impl Claim {
    /// That of changes of `before`.
    pub(super) fn of(before: &ObjectSet, changes: &[Change]) -> Self {
        let mut claim = Self::default();
        let mut follow = vec![];
        for change in changes {
            match change {
                Change::Create(BoundObject { object, .. }) => claim.take(object),
                Change::Replace(BoundObject { object, .. }) => {
                    claim.take(object);
                    claim.goes_on_as(before, object.id);
                    follow.push(object.id);
                }
                Change::Restate(BoundObject { object, .. }) => {
                    claim.own_object(object);
                    claim.goes_on_as(before, object.id);
                }
                Change::Drop(id) => match before.object(*id) {
                    Some(object) => claim.own_object(object),
                    None => drop(claim.own.insert(*id)),
                },
                Change::Comment(object) => drop(claim.reads.insert(object.id)),
            }
        }
        claim.with_others(before, follow)
    }

    /// That of building a view anew, or of going on with an object's replacement; `running` are the objects as they run.
    pub(super) fn building(set: &ObjectSet, running: &ObjectSet, view: ObjectId) -> Self {
        let mut claim = Self::default();
        set.object(view).into_iter().for_each(|object| claim.take(object));
        claim.goes_on_as(running, view);
        claim.with_others(set, vec![view])
    }

    /// What runs until a change is carried out, and again when it is taken back, reads what it read before.
    fn goes_on_as(&mut self, before: &ObjectSet, id: ObjectId) {
        self.reads.extend(before.object(id).into_iter().flat_map(|old| &old.depends_on));
    }

    fn own_object(&mut self, object: &Object) {
        self.own.insert(object.id);
        self.names.insert((object.namespace.clone(), object.name.clone()));
        self.reads.extend(&object.depends_on);
    }

    fn take(&mut self, object: &Object) {
        self.own_object(object);
        self.made.insert(object.id);
    }

    /// What reads those that `follow`, and all that is read.
    fn with_others(mut self, set: &ObjectSet, follow: Vec<ObjectId>) -> Self {
        for object in set.dependents(follow, |_| true) {
            self.own_object(object);
        }
        let mut look_at: Vec<ObjectId> = self.reads.iter().copied().collect();
        while let Some(id) = look_at.pop() {
            let reads = set.object(id).into_iter().flat_map(|o| &o.depends_on);
            let new: Vec<ObjectId> = reads.copied().filter(|id| self.reads.insert(*id)).collect();
            look_at.extend(new);
        }
        self.reads.retain(|id| !self.own.contains(id));
        self
    }

    /// The objects that are its own.
    fn shown(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|(namespace, name)| format!("{namespace}.{name}")).collect();
        names.join(", ")
    }

    fn meets(&self, other: &Self) -> bool {
        !self.own.is_disjoint(&other.own)
            || !self.own.is_disjoint(&other.reads)
            || !self.reads.is_disjoint(&other.own)
            || !self.names.is_disjoint(&other.names)
    }
}

/// A change as it is shown.
#[derive(Debug, PartialEq)]
pub(super) struct ShownChange {
    /// What nobody else may change meanwhile.
    pub(super) objects: String,
    /// `under way`, `ending` or `waiting`.
    pub(super) state: &'static str,
    /// Of one that waits what the other has.
    pub(super) waits_for: Option<String>,
    /// By the platform's clock.
    pub(super) since_us: i64,
}

/// A change that is being carried out.
#[derive(Debug)]
pub(super) struct Work {
    claim: Claim,
    since_us: i64,
    /// Why it is to end.
    given_up: watch::Sender<Option<Error>>,
    has_ended: watch::Sender<bool>,
}

impl Work {
    fn give_up(&self, why: Error) {
        self.given_up.send_if_modified(|now| {
            let is_first = now.is_none();
            now.get_or_insert(why);
            is_first
        });
    }

    /// Ends the builds of it because what is dropped is being built; tells if so.
    pub(super) fn yields_to(&self, set: &ObjectSet, changes: &[Change]) -> bool {
        let dropped = changes.iter().rev().find_map(|change| match change {
            Change::Drop(id) if self.claim.made.contains(id) => set.object(*id),
            _ => None,
        });
        let Some(Object { kind, name, .. }) = dropped else { return false };
        self.give_up(Error::new(ErrorKind::Retry, format!("{kind} \"{name}\" was dropped while it was being built")));
        true
    }

    /// Returns when it is done, or taken back.
    pub(super) async fn ended(&self) {
        // It says so when it goes.
        drop(self.has_ended.subscribe().wait_for(|ended| *ended).await);
    }
}

/// All that is being carried out, and what waits for it.
#[derive(Default)]
pub(super) struct UnderWay {
    works: Mutex<Vec<Arc<Work>>>,
    waiting: Mutex<Vec<Arc<ShownChange>>>,
}

/// A change is shown as waiting until this goes.
pub(super) struct Waiting<'a>(&'a UnderWay, Arc<ShownChange>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().retain(|shown| !Arc::ptr_eq(shown, &self.1));
    }
}

impl UnderWay {
    /// What has to end before a change with this claim can begin.
    pub(super) fn met_by(&self, claim: &Claim) -> Vec<Arc<Work>> {
        self.works.lock().iter().filter(|work| work.claim.meets(claim)).cloned().collect()
    }

    /// A change with this claim waits for the end of another one.
    pub(super) fn waits(&self, claim: &Claim, other: &Work, now_us: i64) -> Waiting<'_> {
        let (objects, waits_for) = (claim.shown(), Some(other.claim.shown()));
        let shown = Arc::new(ShownChange { objects, state: "waiting", waits_for, since_us: now_us });
        self.waiting.lock().push(shown.clone());
        Waiting(self, shown)
    }

    /// All of them, each kind in the order in which they came.
    pub(super) fn shown(&self) -> Vec<Arc<ShownChange>> {
        let of = |work: &Arc<Work>| {
            let state = if work.given_up.borrow().is_some() { "ending" } else { "under way" };
            let (objects, since_us) = (work.claim.shown(), work.since_us);
            Arc::new(ShownChange { objects, state, waits_for: None, since_us })
        };
        let mut all: Vec<_> = self.works.lock().iter().map(of).collect();
        all.extend(self.waiting.lock().iter().cloned());
        all
    }

    /// Begins a change that meets no other.
    pub(super) fn begin(&self, claim: Claim, withdrawal: Withdrawal, now_us: i64) -> Turn<'_> {
        let (given_up, has_ended) = (watch::channel(None).0, watch::channel(false).0);
        let work = Arc::new(Work { claim, since_us: now_us, given_up, has_ended });
        self.works.lock().push(work.clone());
        Turn { all: self, work, withdrawal }
    }
}

/// A change has its turn until this goes.
pub(super) struct Turn<'a> {
    all: &'a UnderWay,
    work: Arc<Work>,
    withdrawal: Withdrawal,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.all.works.lock().retain(|work| !Arc::ptr_eq(work, &self.work));
        self.work.has_ended.send_replace(true);
    }
}

/// What a change ends with that was withdrawn.
pub(super) fn withdrawn() -> Error {
    Error::new(ErrorKind::Retry, "it was canceled before it was done; nothing has changed")
}

impl Turn<'_> {
    /// # Errors
    /// When the change is to end.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.work.given_up.borrow() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Returns why it is to end, once it is.
    async fn is_to_end(&self) -> Error {
        let mut given_up = self.work.given_up.subscribe();
        tokio::select! {
            biased;
            Ok(why) = given_up.wait_for(Option::is_some) => if let Some(why) = &*why { return why.clone() },
            () = self.withdrawal.comes() => {}
        }
        self.work.give_up(withdrawn());
        withdrawn()
    }

    /// Waits for the build of a view, which ends before its time when the change is to end.
    ///
    /// # Errors
    /// That of the build; why it was ended.
    pub(super) async fn built<T>(
        &self,
        engine: &Engine,
        view: ObjectId,
        build: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.check()?;
        let mut build = pin!(build);
        let why = tokio::select! {
            biased;
            built = &mut build => return built,
            why = self.is_to_end() => why,
        };
        loop {
            // It may not have begun yet.
            engine.end_build(view, why.clone()).await?;
            if let Ok(built) = tokio::time::timeout(TELL_AGAIN, &mut build).await {
                return built;
            }
        }
    }
}
