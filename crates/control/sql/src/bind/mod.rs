//! From a statement to what it means, given the objects there are. Binding decides; it changes nothing.

mod again;
mod alter;
mod as_of;
mod clock;
mod copies;
mod draft;
mod going;
mod index;
mod key;
mod names;
mod quantified;
mod same;
mod several;
mod sink;
mod spans;
mod stream;
mod types;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleuve_catalog::Object;
use fleuve_types::{Error, ObjectId, Result};
use rayon::prelude::*;

pub(crate) use clock::at_time;
pub(crate) use draft::{Declared, Draft, columns, declaration};
pub(crate) use going::Going;
pub(crate) use index::{alike, whole};
pub use key::view_key;
pub use names::check_stream_name;
pub use same::{same_columns, same_view};
pub(crate) use sink::{missing, notices as notices_of_sink, writes_the_same};
pub use stream::{DEAD_SUFFIX, check_expressions, refused_rows};
pub use view::plan_view;
pub(crate) use view::to_plan;

use crate::errors::Where;
use crate::parse::{self, Parsed, Statement};
use crate::{BoundObject, ObjectSet, Spec, UnusableObject};

/// Binds one `CREATE` against the objects it may refer to.
///
/// # Errors
/// Everything that can be wrong with it, with its place; not whether its name is free.
pub(crate) fn bind_spec(objects: &ObjectSet, parsed: &Parsed) -> Result<Spec> {
    match &parsed.statement {
        Statement::CreateStream(create) => stream::bind_stream(create, parsed.edition).map(Spec::Stream),
        Statement::CreateSource(create) => sink::bind_source(objects, create).map(Spec::Source),
        Statement::CreateSink(create) => sink::bind_sink(objects, create).map(Spec::Sink),
        Statement::CreateIndex(create) => index::bind_index(objects, create).map(Spec::Index),
        Statement::CreateView(create) => {
            let place = Where { text: &parsed.text, at: &parsed.at };
            view::bind_view(objects, create, place, parsed.edition).map(Spec::View)
        }
        _ => Err(Error::bug("only CREATE is bound to an object")),
    }
}

/// The statement of an object, to be bound by the rules that it was made by.
pub(crate) fn statement_of(object: &Object) -> Result<Parsed> {
    Ok(Parsed { edition: object.edition, ..parse::parse_one(&object.sql)? })
}

/// The objects that a bound object reads or writes.
pub(crate) fn depends_on(spec: &Spec) -> Vec<ObjectId> {
    let mut ids: Vec<ObjectId> = match spec {
        Spec::Stream(_) => vec![],
        Spec::Source(source) => vec![source.into],
        Spec::View(view) => view.inputs.values().copied().collect(),
        Spec::Sink(sink) => vec![sink.from, sink.into],
        Spec::Index(index) => index.view.inputs.values().copied().collect(),
    };
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// As [`depends_on`] of an object that goes on by another plan of the same query: with the indexes that it uses.
pub(crate) fn still_depends_on(objects: &ObjectSet, before: &Object, spec: &Spec) -> Vec<ObjectId> {
    let is_index = |id: &ObjectId| objects.by_id(*id).is_some_and(|o| matches!(o.spec, Spec::Index(_)));
    let mut ids = depends_on(spec);
    ids.extend(before.depends_on.iter().copied().filter(is_index));
    ids
}

/// True for the dead-letter stream of another stream.
pub(crate) fn is_dead_letters(objects: &ObjectSet, object: &Object) -> bool {
    owner_of_dead_letters(objects, object).is_some()
}

/// The stream whose dead letters a stream holds.
pub(crate) fn owner_of_dead_letters<'a>(objects: &'a ObjectSet, object: &Object) -> Option<&'a Object> {
    let name = object.name.strip_suffix(DEAD_SUFFIX)?;
    let owner = match objects.get(&object.namespace, name) {
        Some(bound) => &bound.object,
        None => &objects.unusable(&object.namespace, name)?.object,
    };
    object.depends_on.contains(&owner.id).then_some(owner)
}

/// Binds what the catalog keeps, at start. An object that cannot be bound (any more) does not stop the others: it is among the unusable
/// ones of the set, and so is what depends on it.
///
/// # Errors
/// Two objects of one name.
pub fn bind_all(objects: Vec<Object>) -> Result<ObjectSet> {
    let mut names = BTreeSet::new();
    for object in &objects {
        if !names.insert((object.namespace.clone(), object.name.clone())) {
            return Err(Error::bug(format!("the catalog has two objects {}.{}", object.namespace, object.name)));
        }
    }
    let mut set = ObjectSet::default();
    let mut waiting: BTreeMap<ObjectId, Object> = objects.into_iter().map(|o| (o.id, o)).collect();
    while !waiting.is_empty() {
        let ready: Vec<ObjectId> = waiting
            .values()
            .filter(|o| !o.depends_on.iter().any(|d| *d != o.id && waiting.contains_key(d)))
            .map(|o| o.id)
            .collect();
        // What only waits for itself in a circle is bound anyway, so that it gets its error.
        let ready = if ready.is_empty() { waiting.keys().copied().take(1).collect() } else { ready };
        let ready: Vec<Object> = ready.into_iter().filter_map(|id| waiting.remove(&id)).collect();
        // They do not read each other, so they can be bound side by side.
        let bound: Vec<Result<Spec>> = ready.par_iter().map(|object| rebind(&set, object)).collect();
        for (object, spec) in ready.into_iter().zip(bound) {
            let key = (object.namespace.clone(), object.name.clone());
            match spec {
                Ok(spec) => drop(set.by_name.insert(key, Arc::new(BoundObject { object, spec }))),
                Err(error) => drop(set.unusable.insert(key, Arc::new(UnusableObject { object, error }))),
            }
        }
    }
    Ok(set)
}

/// Why each object of a set cannot be used, as the set is now.
pub fn explain_unusable(set: &mut ObjectSet) {
    for (key, unusable) in set.unusable.clone() {
        if let Err(error) = rebind(set, &unusable.object) {
            let object = unusable.object.clone();
            set.unusable.insert(key, Arc::new(UnusableObject { object, error }));
        }
    }
}

fn rebind(set: &ObjectSet, object: &Object) -> Result<Spec> {
    let parsed = statement_of(object)?;
    let spec = bind_spec(set, &parsed)?;
    if spec.kind() != object.kind {
        return Err(Error::bug(format!("the statement of {} {} makes a {}", object.kind, object.name, spec.kind())));
    }
    Ok(spec)
}
