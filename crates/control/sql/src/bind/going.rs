//! Columns of a stream that go in a step in which what reads them is declared otherwise: the stream first gets what comes, then its readers
//! change, and when they run the columns go.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleuve_catalog::ObjectKind;
use fleuve_types::Result;

use super::alter::leaving_out;
use super::draft::{Draft, declaration};
use super::{bind_spec, whole};
use crate::parse::{self, ColumnSpec, CreateStream, Name, Parsed, Statement};
use crate::{BoundObject, ObjectSet, Spec};

/// A stream whose columns go.
pub(crate) struct Going {
    /// As it is declared.
    pub(crate) parsed: Parsed,
    /// `(namespace, name)`.
    of: (String, String),
    columns: Vec<String>,
    /// What it is then.
    spec: Spec,
}

fn key_of(name: &Name) -> (String, String) {
    (name.namespace().to_string(), name.name.clone())
}

/// The columns of a stream with those that go still among them, each after the one that it stood behind.
fn with_going(before: &[ColumnSpec], after: &[ColumnSpec]) -> Vec<ColumnSpec> {
    let mut out = after.to_vec();
    for (n, column) in before.iter().enumerate() {
        let place = |name: &str| out.iter().position(|c| c.name == name);
        if place(&column.name).is_none() {
            let behind = before[..n].iter().rev().find_map(|c| place(&c.name));
            out.insert(behind.map_or(0, |at| at + 1), column.clone());
        }
    }
    out
}

impl Draft {
    /// Gives a stream the columns that come, and leaves those that go for the end of the step, if what reads it is still to be declared.
    /// False if nothing has to wait.
    pub(super) fn keep_for_readers(&mut self, old: &BoundObject, parsed: &Parsed, name: &Name) -> Result<bool> {
        let (Statement::CreateStream(after), Statement::CreateStream(before)) =
            (&parsed.statement, super::statement_of(&old.object)?.statement)
        else {
            return Ok(false);
        };
        let (Some(new), Some(old_columns)) = (&after.columns, &before.columns) else { return Ok(false) };
        let goes = |c: &&ColumnSpec| !new.iter().any(|n| n.name == c.name);
        let columns: Vec<String> = old_columns.iter().filter(goes).map(|c| c.name.clone()).collect();
        let readers = self.objects.dependents([old.object.id], |o| !super::is_dead_letters(&self.objects, o));
        let is_later = readers.iter().any(|o| self.later.contains(&(o.namespace.clone(), o.name.clone())));
        if columns.is_empty() || !is_later {
            return Ok(false);
        }
        let create = CreateStream { columns: Some(with_going(old_columns, new)), ..after.clone() };
        let sql = create.to_string();
        let spec = bind_spec(&self.objects, &Parsed { edition: parsed.edition, ..parse::parse_one(&sql)? })?;
        let has_more = match (&old.spec, &spec) {
            (Spec::Stream(old), Spec::Stream(new)) => old.schema != new.schema,
            _ => false,
        };
        if has_more {
            self.alter_to(old, sql, spec, name)?;
        }
        let spec = bind_spec(&self.objects, parsed)?;
        self.going.push(Going { parsed: parsed.clone(), of: key_of(name), columns, spec });
        Ok(true)
    }

    /// Spells out what a statement leaves open, as it is meant over the streams at the end of the step.
    pub(super) fn whole(&self, parsed: &Parsed, is_new: bool) -> Result<Parsed> {
        let mut out = whole(&self.objects, parsed, is_new)?;
        out.edition = self.edition_of(&out);
        match (&mut out.statement, &parsed.statement) {
            (Statement::CreateIndex(index), Statement::CreateIndex(given)) if given.include.is_none() => {
                let of = key_of(&index.on);
                let going: BTreeSet<&String> =
                    self.going.iter().filter(|g| g.of == of).flat_map(|g| &g.columns).collect();
                if let Some(held) = &mut index.include {
                    held.retain(|(column, _)| !going.contains(column));
                }
            }
            (Statement::CreateView(_), _) if !self.going.is_empty() => {
                let columns: Vec<&String> = self.going.iter().flat_map(|g| &g.columns).collect();
                out = leaving_out((&self.objects, &self.at_the_end()), &out, &columns);
            }
            _ => {}
        }
        Ok(out)
    }

    /// The rules that a statement goes by: those of the object that it declares word for word, whatever becomes of its `*` after that. A stream
    /// keeps its own in other words, too, as its checks stay.
    fn edition_of(&self, parsed: &Parsed) -> u32 {
        let Some((name, kind, sql)) = declaration(parsed) else { return parsed.edition };
        let unusable = || self.objects.unusable(name.namespace(), &name.name).map(|u| &u.object);
        let old = self.objects.get(name.namespace(), &name.name).map(|b| &b.object).or_else(unusable);
        match old {
            Some(old) if old.kind == kind && (kind == ObjectKind::Stream || old.sql == sql) => old.edition,
            _ => parsed.edition,
        }
    }

    /// The objects, with the streams as they are when their columns are gone.
    fn at_the_end(&self) -> ObjectSet {
        let mut objects = self.objects.clone();
        for Going { of, spec, .. } in &self.going {
            if let Some(bound) = objects.by_name.get_mut(of) {
                *bound = Arc::new(BoundObject { object: bound.object.clone(), spec: spec.clone() });
            }
        }
        objects
    }
}
