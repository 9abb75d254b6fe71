//! What a list of commands does to the catalog: a pure function. Derived state only.

use std::collections::{BTreeMap, BTreeSet};

use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use crate::{Object, ObjectKind};

/// Most objects in one environment.
pub const MAX_OBJECTS: usize = 100_000;
/// Most commands in one call.
pub const MAX_COMMANDS: usize = 10_000;
/// Longest name of an object or namespace, in bytes (a Kafka topic's limit).
pub const MAX_NAME_BYTES: usize = 249;
/// Longest statement text, in bytes.
pub const MAX_SQL_BYTES: usize = 1 << 20;

/// One change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A new object under a new id. Its version becomes 1, whatever it says.
    Create(Object),
    /// The object of this id gets this definition: statement, dependencies and comments. Kind, name and time of creation
    /// must stay or are kept; the version becomes the old one plus one, whatever it says.
    Replace(Object),
    /// The object of this id gets this statement, which means the same as the one that it has: its version stays.
    Restate(Object),
    /// The object goes. Nothing may depend on it when all commands of the list are done.
    Drop(ObjectId),
    /// Only the comments of this object change; all else in it is ignored.
    Comment(Object),
}

/// A definition that took another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// As it was.
    pub before: Object,
    /// As it is now.
    pub after: Object,
}

/// What a list of commands came to. Each object is in at most one of the lists, in its final form; one that was
/// created and dropped by the same list is in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New objects, in the order they were first named.
    pub created: Vec<Object>,
    /// Objects with a new definition.
    pub replaced: Vec<Replaced>,
    /// Objects that are gone.
    pub dropped: Vec<Object>,
    /// Objects of which only comments changed, or the wording of the statement.
    pub commented: Vec<Object>,
}

impl Changes {
    /// True when nothing is different afterwards.
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.replaced.is_empty() && self.dropped.is_empty() && self.commented.is_empty()
    }
}

/// All objects of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    objects: BTreeMap<ObjectId, Object>,
    names: BTreeMap<(String, String), ObjectId>,
}

impl State {
    /// The state that holds `objects`.
    ///
    /// # Errors
    /// A bug if two share an id or a name.
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Result<Self> {
        let mut state = Self::default();
        for object in objects {
            let (id, name) = (object.id, full_name(&object));
            let taken = state.names.insert((object.namespace.clone(), object.name.clone()), id);
            if taken.is_some() || state.objects.insert(id, object).is_some() {
                return Err(Error::bug(format!("the catalog holds {name} ({id}) twice")));
            }
        }
        Ok(state)
    }

    /// The object of that id.
    pub fn get(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(&id)
    }

    /// The object of that name.
    pub fn named(&self, namespace: &str, name: &str) -> Option<&Object> {
        self.names.get(&(namespace.to_string(), name.to_string())).and_then(|id| self.objects.get(id))
    }

    /// All objects, by id.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// This state with `changes` made.
    #[must_use]
    pub fn with(mut self, changes: &Changes) -> Self {
        for object in &changes.dropped {
            self.remove(object.id);
        }
        let kept = changes.replaced.iter().map(|r| &r.after).chain(&changes.created).chain(&changes.commented);
        for object in kept {
            self.insert(object.clone());
        }
        self
    }

    fn insert(&mut self, object: Object) {
        self.names.insert((object.namespace.clone(), object.name.clone()), object.id);
        self.objects.insert(object.id, object);
    }

    fn remove(&mut self, id: ObjectId) -> Option<Object> {
        let object = self.objects.remove(&id)?;
        self.names.remove(&(object.namespace.clone(), object.name.clone()));
        Some(object)
    }
}

/// What `commands`, taken in order, do to `state`; nothing is done when one of them can't be.
///
/// # Errors
/// - `AlreadyExists`: a name or id is taken.
/// - `NotFound`: an id to replace, drop or comment on is unknown, or a dependency is.
/// - `Input`: a drop leaves dependants (the message names them), a name or text is empty or too long, the kind or name of a
///   replaced object differs, or dependencies would form a cycle.
/// - `Limit`: too many commands or objects.
pub fn decide(state: &State, commands: &[Command]) -> Result<Changes> {
    if commands.len() > MAX_COMMANDS {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("{} changes at once; the limit is {MAX_COMMANDS}", commands.len()),
        ));
    }
    let mut next = state.clone();
    let (mut touched, mut seen) = (Vec::new(), BTreeSet::new());
    let mut dropped: BTreeMap<ObjectId, Object> = BTreeMap::new();
    for command in commands {
        let id = match command {
            Command::Create(object) => {
                if dropped.contains_key(&object.id) {
                    return Err(Error::bug(format!("id {} was dropped and can't be used again", object.id)));
                }
                create(&mut next, object)?
            }
            Command::Replace(object) => replace(&mut next, object)?,
            Command::Restate(object) => restate(&mut next, object)?,
            Command::Drop(id) => {
                let object = next.remove(*id).ok_or_else(|| unknown(*id, "drop"))?;
                dropped.insert(*id, object);
                *id
            }
            Command::Comment(object) => comment(&mut next, object)?,
        };
        if seen.insert(id) {
            touched.push(id);
        }
    }
    check_dependencies(&next, &touched, &dropped)?;
    if next.objects.len() > MAX_OBJECTS {
        return Err(Error::new(ErrorKind::Limit, format!("the limit of {MAX_OBJECTS} objects is reached")));
    }
    Ok(difference(state, &next, &touched))
}

fn create(state: &mut State, object: &Object) -> Result<ObjectId> {
    check_text(object)?;
    if let Some(other) = state.get(object.id) {
        let message = format!("the id {} already belongs to {}", object.id, described(other));
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    if let Some(other) = state.named(&object.namespace, &object.name) {
        let message = format!("{} already exists", described(other));
        return Err(Error::new(ErrorKind::AlreadyExists, message).hint("drop it first, or take another name"));
    }
    state.insert(Object { version: 1, ..object.clone() });
    Ok(object.id)
}

fn replace(state: &mut State, object: &Object) -> Result<ObjectId> {
    check_text(object)?;
    let old = state.get(object.id).ok_or_else(|| unknown(object.id, "replace"))?;
    if old.kind != object.kind || old.namespace != object.namespace || old.name != object.name {
        return Err(Error::input(format!("{} can't be replaced by {}", described(old), described(object)))
            .hint("only an object of the same kind and name takes its place; drop it first"));
    }
    let version = old.version.checked_add(1).ok_or_else(|| {
        Error::new(ErrorKind::Limit, format!("{} was replaced {} times; drop and create it", described(old), u32::MAX))
    })?;
    let created_ms = old.created_ms;
    state.insert(Object { version, created_ms, ..object.clone() });
    Ok(object.id)
}

fn restate(state: &mut State, object: &Object) -> Result<ObjectId> {
    let old = state.objects.get_mut(&object.id).ok_or_else(|| unknown(object.id, "restate"))?;
    (old.sql, old.edition) = (object.sql.clone(), object.edition);
    check_text(old)?;
    Ok(object.id)
}

fn comment(state: &mut State, object: &Object) -> Result<ObjectId> {
    let old = state.objects.get_mut(&object.id).ok_or_else(|| unknown(object.id, "comment on"))?;
    old.comment = object.comment.clone();
    old.column_comments = object.column_comments.clone();
    check_text(old)?;
    Ok(object.id)
}

fn check_text(object: &Object) -> Result<()> {
    for (what, text) in [("name", &object.name), ("namespace", &object.namespace)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(Error::input(format!(
                "the {what} of {} has {} bytes; it needs 1 to {MAX_NAME_BYTES}",
                described(object),
                text.len()
            )));
        }
    }
    let comments = object.comment.iter().chain(object.column_comments.iter().flat_map(|(name, text)| [name, text]));
    let comments_bytes: usize = comments.map(String::len).sum();
    for (what, bytes) in [("statement", object.sql.len()), ("comments", comments_bytes)] {
        if bytes > MAX_SQL_BYTES {
            let message =
                format!("the {what} of {} is {bytes} bytes long; the limit is {MAX_SQL_BYTES}", described(object));
            return Err(Error::new(ErrorKind::Limit, message));
        }
    }
    Ok(())
}

/// Only touched objects can have a new unknown dependency or stand on a new cycle; every object can have lost one.
fn check_dependencies(next: &State, touched: &[ObjectId], dropped: &BTreeMap<ObjectId, Object>) -> Result<()> {
    let mut dependants: BTreeMap<ObjectId, Vec<&Object>> = BTreeMap::new();
    if !dropped.is_empty() {
        for object in next.objects() {
            for id in object.depends_on.iter().filter(|id| dropped.contains_key(id)) {
                dependants.entry(*id).or_default().push(object);
            }
        }
    }
    if let Some((id, by)) = dependants.first_key_value() {
        let mut by: Vec<String> = by.iter().map(|o| described(o)).collect();
        by.sort();
        by.dedup();
        return Err(Error::input(format!("can't drop {}: {} on it", described(&dropped[id]), depend(&by)))
            .hint("drop what depends on it first, or use CASCADE"));
    }
    for object in touched.iter().filter_map(|id| next.get(*id)) {
        if let Some(id) = object.depends_on.iter().find(|id| next.get(**id).is_none()) {
            let message = format!("{} depends on the unknown object {id}", described(object));
            return Err(Error::not_found(message).hint("it may have been dropped meanwhile; try again"));
        }
        if let Some(other) = reaches_itself(next, object) {
            let message = if other.id == object.id {
                format!("{} would depend on itself", described(object))
            } else {
                format!("{} would depend on itself through {}", described(object), described(other))
            };
            return Err(Error::input(message));
        }
    }
    Ok(())
}

/// The dependency of `object` from which a way leads back to it.
fn reaches_itself<'a>(state: &'a State, object: &Object) -> Option<&'a Object> {
    let mut seen = BTreeSet::new();
    for first in &object.depends_on {
        let mut todo = vec![*first];
        while let Some(id) = todo.pop() {
            if id == object.id {
                return state.get(*first);
            }
            if seen.insert(id) {
                todo.extend(state.get(id).iter().flat_map(|o| &o.depends_on));
            }
        }
    }
    None
}

fn difference(before: &State, after: &State, touched: &[ObjectId]) -> Changes {
    let mut changes = Changes::default();
    for id in touched {
        match (before.get(*id), after.get(*id)) {
            (None, Some(new)) => changes.created.push(new.clone()),
            (Some(old), None) => changes.dropped.push(old.clone()),
            (Some(old), Some(new)) if old.version != new.version => {
                changes.replaced.push(Replaced { before: old.clone(), after: new.clone() });
            }
            (Some(old), Some(new)) if old != new => changes.commented.push(new.clone()),
            _ => {}
        }
    }
    changes
}

fn unknown(id: ObjectId, verb: &str) -> Error {
    Error::not_found(format!("no object has the id {id}; there is nothing to {verb}"))
}

fn full_name(object: &Object) -> String {
    format!("{}.{}", object.namespace, object.name)
}

/// `view "v"`, or `view "ops.v"` outside of the default namespace.
fn described(object: &Object) -> String {
    let kind: ObjectKind = object.kind;
    match object.namespace.as_str() {
        "public" => format!("{kind} \"{}\"", object.name),
        _ => format!("{kind} \"{}\"", full_name(object)),
    }
}

fn depend(by: &[String]) -> String {
    const SHOWN: usize = 10;
    match by {
        [one] => format!("{one} depends"),
        many if many.len() <= SHOWN => format!("{} depend", many.join(", ")),
        many => format!("{} and {} more depend", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

#[cfg(test)]
mod tests;
