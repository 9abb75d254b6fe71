//! Binding `CREATE INDEX`.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fleuve_types::{Error, ErrorKind, Location, ObjectId, Result};

use super::{columns, missing, plan_view};
use crate::parse::{CreateIndex, Name, Parsed, Statement, quoted};
use crate::suggest::nearest;
use crate::{IndexSpec, ObjectSet, SYSTEM_NAMESPACE, Spec};

/// Most columns that an index is by.
const MAX_COLUMNS: usize = 32;

/// The names of the columns of what an index is of.
fn columns_of(objects: &ObjectSet, on: &Name) -> Result<Vec<String>> {
    let is_readable = |s: &Spec| matches!(s, Spec::Stream(_) | Spec::View(_));
    if matches!(on.namespace(), SYSTEM_NAMESPACE | "information_schema" | "pg_catalog") {
        let error = Error::unsupported(format!("system tables, as those of \"{}\", have no indexes", on.namespace()));
        return Err(error.at(on.at.clone()).hint("an index is of a stream or view"));
    }
    let Some(object) = objects.get(on.namespace(), &on.name) else {
        return Err(missing(objects, on, "stream or view", is_readable));
    };
    let Some(schema) = columns(&object.spec) else {
        let message =
            format!("\"{}\" is {}; an index is of a stream or view", on.name, object.object.kind.with_article());
        return Err(Error::input(message).at(on.at.clone()));
    };
    Ok(schema.fields().iter().map(|f| f.name().clone()).collect())
}

/// The other indexes that a view could look the same up in: by the same columns of the same, in whatever order.
pub(crate) fn alike(objects: &ObjectSet, id: ObjectId) -> Vec<String> {
    let Some(Spec::Index(index)) = objects.by_id(id).map(|o| &o.spec) else { return vec![] };
    let by = |index: &IndexSpec| index.columns.iter().cloned().collect::<BTreeSet<String>>();
    let is_alike = |spec: &Spec| matches!(spec, Spec::Index(other) if other.on == index.on && by(other) == by(index));
    let others = objects.by_name.values().filter(|o| o.object.id != id && is_alike(&o.spec));
    others.map(|o| o.object.name.clone()).collect()
}

/// Spells out what a `CREATE INDEX` leaves open: the columns that it holds besides, which are all, and a name that is free if it
/// `is_new`.
///
/// # Errors
/// When what it is of is not there.
pub(crate) fn whole(objects: &ObjectSet, parsed: &Parsed, is_new: bool) -> Result<Parsed> {
    let Statement::CreateIndex(create) = &parsed.statement else { return Ok(parsed.clone()) };
    let mut create = create.clone();
    if create.include.is_none() {
        let is_by = |name: &String| create.columns.iter().any(|(c, _)| c == name);
        let others = columns_of(objects, &create.on)?.into_iter().filter(|name| !is_by(name));
        create.include = Some(others.map(|name| (name, create.on.at.clone())).collect());
    }
    let is_taken = |name: &str| objects.get(create.name.namespace(), name).is_some();
    if is_new && !create.is_named && is_taken(&create.name.name) {
        let stem = create.name.name.clone();
        let free = (1..=objects.by_name.len() + 1).map(|n| format!("{stem}{n}")).find(|name| !is_taken(name));
        create.name.name = free.unwrap_or(stem);
    }
    Ok(Parsed { statement: Statement::CreateIndex(create), ..parsed.clone() })
}

/// Binds `CREATE INDEX`: it holds its columns and those that the statement includes.
pub(crate) fn bind_index(objects: &ObjectSet, create: &CreateIndex) -> Result<IndexSpec> {
    let all = columns_of(objects, &create.on)?;
    let mut seen = BTreeSet::new();
    let included = create.include.iter().flatten();
    for (column, at) in create.columns.iter().chain(included.clone()) {
        check(&all, create, column, at)?;
        if !seen.insert(column.as_str()) {
            let message = format!("column \"{column}\" is named twice");
            return Err(Error::input(message).at(at.clone()).hint("an index holds each column once"));
        }
    }
    if create.columns.len() > MAX_COLUMNS {
        let message = format!("an index is by at most {MAX_COLUMNS} columns");
        return Err(Error::new(ErrorKind::Limit, message).at(create.name.at.clone()));
    }
    // In the order in which they stand there, so that nothing is done to the rows.
    let held: Vec<&String> = all.iter().filter(|c| seen.contains(c.as_str())).collect();
    let list: Vec<String> = held.iter().map(|c| quoted(c)).collect();
    let view = plan_view(objects, &format!("SELECT {} FROM {}", list.join(", "), create.on))?;
    let by = create.columns.iter().filter_map(|(c, _)| held.iter().position(|h| *h == c)).collect();
    let on = (create.on.namespace().to_string(), create.on.name.clone());
    Ok(IndexSpec { on, columns: create.columns.iter().map(|(c, _)| c.clone()).collect(), by, view })
}

fn check(all: &[String], create: &CreateIndex, column: &str, at: &Location) -> Result<()> {
    if all.iter().any(|c| c == column) {
        return Ok(());
    }
    let error = Error::not_found(format!("\"{}\" has no column \"{column}\"", create.on.name)).at(at.clone());
    Err(match nearest(column, all.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None if fleuve_types::is_pseudo_column(column) => {
            error.hint("an index holds no columns that are seen only when they are named")
        }
        None => error,
    })
}
