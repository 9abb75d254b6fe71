//! What a replacement of a view does to those who have its answer: the views below, sinks, subscriptions. And which records a view lacks
//! that is built anew from a log that holds less than it did.

use fleuve_catalog::{Object, ObjectKind};
use fleuve_types::Keeps;

use super::Session;
use super::replaced::{Rebuilt, name_of};
use super::show::shown;
use crate::bind::{Draft, columns, same_columns, writes_the_same};
use crate::{BoundObject, Change, IndexSpec, InputToRead, ObjectSet, SinkMode, Spec};

/// The views and indexes that run and that a list of changes replaces, in order.
pub(super) fn replaced_by(changes: &[Change], before: &ObjectSet) -> Vec<BoundObject> {
    let replaced = |change: &Change| match change {
        Change::Replace(b) if matches!(b.spec, Spec::View(_) | Spec::Index(_)) => Some(b.clone()),
        _ => None,
    };
    changes.iter().filter_map(replaced).filter(|b| before.by_id(b.object.id).is_some()).collect()
}

/// Records of an input that are not there to be read any more, in words; nothing if it lacks none.
pub(super) fn gone(input: &InputToRead) -> Option<String> {
    let InputToRead { name, rows, gone, .. } = input;
    let all = rows + gone;
    (*gone > 0).then(|| {
        format!("of stream {name} {rows} of {all} records are left, and what came of the others will be missing")
    })
}

impl Rebuilt<'_> {
    /// Who is given what of the difference between the answers of the first view, by title. It is replaced.
    pub(super) fn handed(&self, before: &ObjectSet, after: &ObjectSet) -> Vec<(&'static str, Vec<String>)> {
        let Some(root) = self.views.first() else { return vec![] };
        let id = root.object.id;
        let old = before.by_id(id).and_then(|b| columns(&b.spec));
        let is_same = old.zip(columns(&root.spec)).is_some_and(|(old, new)| same_columns(&old, &new));
        let goes_on = |b: &&BoundObject| {
            matches!(self.of(b).map(|r| &r.keeps), Some(Keeps::All | Keeps::AllUnlessRowsGo))
                || is_same
                || !b.object.depends_on.contains(&id)
        };
        let views = self.views.iter().skip(1).filter(goes_on).map(|b| format!("view {}", name_of(b)));
        let sinks = after.by_name.values().filter_map(|bound| {
            let Spec::Sink(sink) = &bound.spec else { return None };
            let was = before.by_id(bound.object.id)?;
            let own = format!("sink {}", name_of(bound));
            if !self.views.iter().any(|b| b.object.id == sink.from) {
                return None;
            }
            Some(match sink.mode {
                _ if sink.from != id || (is_same && writes_the_same(&was.spec, &bound.spec)) => own,
                SinkMode::Upsert => {
                    format!("{own}: a tombstone for each key that is gone, and each record that is another one now")
                }
                SinkMode::Changes => {
                    format!("{own}: each row of before goes, with the columns that it had, and each of now comes")
                }
            })
        });
        let mut given: Vec<String> = views.chain(sinks).collect();
        if is_same {
            given.push("subscribers".into());
        }
        let mut sections = vec![];
        if !given.is_empty() {
            sections.push(("Given the difference between the old and the new answer", given));
        }
        if !is_same {
            sections.push(("Ended", vec![format!("subscriptions to {}, as its columns change", name_of(root))]));
        }
        sections
    }
}

impl Session {
    /// What views and indexes lack that a step builds anew although they run: records that the log does not hold any more.
    pub(super) async fn losses(&self, draft: &Draft) -> Vec<String> {
        self.built_anew(draft).await.into_iter().flat_map(|built| built.lacks).collect()
    }

    /// The views and indexes that a step builds anew although they run.
    pub(super) async fn built_anew(&self, draft: &Draft) -> Vec<BuiltAnew> {
        let replaced = replaced_by(&draft.changes, &draft.from);
        if replaced.is_empty() {
            return vec![];
        }
        // What cannot be planned is told by whoever carries it out.
        let Ok(told) = self.backend.explain_replacements(&draft.objects, &replaced).await else { return vec![] };
        let mut out = vec![];
        for bound in replaced {
            let (Spec::View(view) | Spec::Index(IndexSpec { view, .. })) = &bound.spec else { continue };
            let (when, is_sure) = match told.iter().find(|r| r.view == bound.object.id).map(|r| &r.keeps) {
                Some(Keeps::All | Keeps::Some(_)) => continue,
                Some(Keeps::AllUnlessRowsGo) => ("is built anew if rows go of what it reads", false),
                Some(Keeps::None(_)) | None => ("is built anew", true),
            };
            let own = format!("{} {} {when}", bound.object.kind, name_of(&bound));
            let lacking: Vec<String> = self.backend.inputs_to_read(view).iter().filter_map(gone).collect();
            let below = if lacking.is_empty() { String::new() } else { lacks_below(&draft.from, &bound) };
            let lacks = lacking.iter().map(|what| format!("{own}: {what}{below}")).collect();
            out.push(BuiltAnew { bound, is_sure, lacks });
        }
        out
    }
}

/// A view or index that is built from its inputs.
pub(super) struct BuiltAnew {
    pub(super) bound: BoundObject,
    /// Whatever rows come or go meanwhile.
    pub(super) is_sure: bool,
    /// What it lacks afterwards, in words.
    pub(super) lacks: Vec<String>,
}

/// Who loses with an object what that loses, in words.
fn lacks_below(objects: &ObjectSet, bound: &BoundObject) -> String {
    let shows = |o: &&Object| matches!(o.kind, ObjectKind::View | ObjectKind::Sink);
    let below = objects.dependents([bound.object.id], |o| o.kind != ObjectKind::Stream);
    let names: Vec<String> =
        below.into_iter().filter(shows).map(|o| format!("{} {}", o.kind, shown(&o.namespace, &o.name))).collect();
    if names.is_empty() { String::new() } else { format!(", also from {}", names.join(", ")) }
}
