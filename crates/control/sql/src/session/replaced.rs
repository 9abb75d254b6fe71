//! What `EXPLAIN` says of a change of a view besides its circuits: what becomes of its state, of the views below and of its options.

use std::collections::BTreeSet;

use fleuve_types::{Keeps, KeptState, Replacement};

use super::handed::gone;
use super::show::shown;
use crate::bind::{Declared, columns};
use crate::options::{OPTIONS, OptionOf};
use crate::parse::{CreateView, OnError, OptionEntry, option, size_bytes};
use crate::{BoundObject, InputToRead, ObjectSet};

/// Views of which a step makes or replaces one after the other, with what the engine says of those that run.
pub(super) struct Rebuilt<'a> {
    pub(super) views: &'a [BoundObject],
    pub(super) replaced: &'a [Replacement],
}

pub(super) fn name_of(bound: &BoundObject) -> String {
    shown(&bound.object.namespace, &bound.object.name)
}

/// What becomes of a view, with what becomes of its state.
pub(super) fn with_state(what: String, name: &str, declared: Declared, replaced: Option<&Replacement>) -> String {
    if declared != Declared::Replaced {
        return what;
    }
    match replaced.map(|r| &r.keeps) {
        Some(Keeps::All) => {
            format!("{name} goes on as it is: its operators stay the same. All state is kept, nothing is read.")
        }
        Some(Keeps::Some(KeptState { state_rows, state_bytes, .. })) => {
            format!("{what} {state_rows} rows of state are kept, {state_bytes} bytes.")
        }
        Some(Keeps::AllUnlessRowsGo) => format!("{what} All state is kept if no row goes of what it reads."),
        Some(Keeps::None(why)) => format!("{what} No state is kept: {why}."),
        None => format!("{what} No state is kept."),
    }
}

impl Rebuilt<'_> {
    pub(super) fn of(&self, bound: &BoundObject) -> Option<&Replacement> {
        self.replaced.iter().find(|r| r.view == bound.object.id)
    }

    fn is_kept(&self, bound: &BoundObject) -> bool {
        self.of(bound).is_some_and(|r| r.keeps == Keeps::All)
    }

    /// What becomes of a view that reads one of these, and why.
    pub(super) fn below(&self, bound: &BoundObject, before: &ObjectSet) -> String {
        let reads = |b: &&BoundObject| bound.object.depends_on.contains(&b.object.id);
        let read: Vec<&BoundObject> = self.views.iter().filter(reads).collect();
        let names = |of: Vec<&BoundObject>| of.into_iter().map(name_of).collect::<Vec<_>>().join(", ");
        let own = format!("{}, which reads {},", name_of(bound), names(read.clone()));
        let why = match self.of(bound).map(|r| &r.keeps) {
            Some(Keeps::All) => return format!("{own} goes on as it is, and is given the difference."),
            Some(Keeps::AllUnlessRowsGo) => {
                return format!(
                    "{own} goes on as it is and is given the difference if no row goes; else it is built anew."
                );
            }
            Some(Keeps::Some(KeptState { state_rows, state_bytes, .. })) => {
                return format!("{own} is built anew, too. {state_rows} rows of state are kept, {state_bytes} bytes.");
            }
            Some(Keeps::None(why)) => why.as_str(),
            None => "its input is another one",
        };
        let has_others = |b: &&BoundObject| {
            let old = before.by_id(b.object.id);
            old.is_some_and(|old| columns(&old.spec).as_deref() != columns(&b.spec).as_deref())
        };
        let changed: Vec<&BoundObject> = read.into_iter().filter(has_others).collect();
        if changed.is_empty() {
            return format!("{own} is built anew, too: {why}.");
        }
        format!("{own} is built anew, too: the columns of {} change.", names(changed))
    }

    /// What building a view reads of an input, which may change in the same step.
    pub(super) fn to_read(&self, input: &InputToRead) -> String {
        let InputToRead { id, name, rows, bytes, .. } = input;
        match bytes {
            Some(bytes) => {
                let read = format!("{name}: {rows} records, {bytes} bytes of the log");
                gone(input).map_or(read.clone(), |gone| format!("{read}; {gone}"))
            }
            None if self.views.iter().any(|b| b.object.id == *id && !self.is_kept(b)) => {
                format!("{name}: all rows of its new answer; its present one has {rows}")
            }
            None => format!("{name}: {rows} rows of a view"),
        }
    }
}

/// The options that a view had otherwise before.
pub(super) fn changed_options(before: &CreateView, after: &CreateView) -> Vec<String> {
    let keys: BTreeSet<&String> = before.options.iter().chain(&after.options).map(|o| &o.key).collect();
    let bytes = |entry: Option<&OptionEntry>| entry.and_then(|o| size_bytes(&o.value.text()));
    let text = |key: &str, entry: Option<&OptionEntry>| match entry {
        Some(entry) => entry.value.to_string(),
        None => {
            let default = OPTIONS.iter().find(|o| o.of == OptionOf::View && o.key == key);
            default.map_or_else(|| "its default".to_string(), |o| format!("its default ({})", o.default))
        }
    };
    let line = |key: &String| {
        let (old, new) = (option(&before.options, key), option(&after.options, key));
        let is_same = old.map(|o| &o.value) == new.map(|o| &o.value) || (old.is_some() && bytes(old) == bytes(new));
        (!is_same).then(|| format!("{key}: from {} to {}", text(key, old), text(key, new)))
    };
    let error = |create: &CreateView| match create.on_error {
        OnError::Stop => "STOP",
        OnError::Skip => "SKIP TO DEAD LETTER",
    };
    let emit = |create: &CreateView| if create.emit_on_close { "ON WINDOW CLOSE" } else { "at each epoch" };
    let clause = |what: &str, of: &dyn Fn(&CreateView) -> &'static str| {
        let (old, new) = (of(before), of(after));
        (old != new).then(|| format!("{what}: from {old} to {new}"))
    };
    keys.into_iter().filter_map(line).chain(clause("ON ERROR", &error)).chain(clause("EMIT", &emit)).collect()
}
