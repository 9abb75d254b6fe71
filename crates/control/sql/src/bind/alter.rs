//! Other columns of a stream: one more, a wider type, one less. Decides whether what reads the stream goes on as it is. And other views
//! ([`views`]).

#[cfg(test)]
mod tests;
mod views;
mod wildcards;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::physical_expr::utils::collect_columns;
use fleuve_catalog::{Object, ObjectKind};
use fleuve_types::{Error, Location, Result, is_pseudo_column, sql_type_name};

use super::draft::Draft;
use super::same::{same_columns, same_view};
use super::stream::check_expressions;
use super::{bind_spec, is_dead_letters, owner_of_dead_letters, still_depends_on};
use crate::parse::{self, ColumnSpec, CreateStream, Name, ObjectWord, Parsed, Statement, StreamChange};
use crate::{BoundObject, Change, IndexSpec, ObjectSet, Spec, StreamSpec};

/// What becomes of what reads or writes a stream whose columns change.
pub(crate) struct Altered {
    /// The columns, in words.
    pub(crate) columns: Vec<String>,
    /// Whether some come.
    pub(crate) adds: bool,
    /// Who goes on, and by which text if it is another one now.
    pub(crate) goes_on: Vec<(Object, Option<String>)>,
}

impl Altered {
    /// What whoever changed the stream is told of views that go on by another text.
    pub(crate) fn notices(&self) -> Vec<String> {
        let how = match self.adds {
            true => "goes on without the new columns in its *",
            false => "goes on; its * no longer names the columns that go",
        };
        let reworded = self.goes_on.iter().filter(|(_, text)| text.is_some());
        reworded.map(|(object, _)| format!("{} \"{}\" {how}", object.kind, object.name)).collect()
    }
}

impl Draft {
    /// Changes a stream's columns. What reads it keeps its plan, and with it its state; where that cannot be, the change is refused.
    pub(crate) fn alter_stream(&mut self, name: &Name, changes: &[StreamChange]) -> Result<Altered> {
        let old = self.find(ObjectWord::Stream, name)?;
        let parsed = super::statement_of(&old.object)?;
        let Statement::CreateStream(mut create) = parsed.statement else {
            return Err(Error::bug("a stream is declared by another statement"));
        };
        for change in changes {
            refuse_watermark(&old.spec, change)?;
            refuse_checked(&old.spec, change)?;
            changed(&mut create, change, name)?;
        }
        let sql = create.to_string();
        let again = Parsed { edition: parsed.edition, ..parse::parse_one(&sql)? };
        let spec = bind_spec(&self.objects, &again).map_err(|e| {
            // Its place is one in the text that came out.
            Error { location: None, ..e }.at(name.at.clone())
        })?;
        self.alter_to(&old, sql, spec, name)
    }

    /// Gives a stream the columns of `spec`.
    pub(super) fn alter_to(&mut self, old: &BoundObject, sql: String, spec: Spec, name: &Name) -> Result<Altered> {
        if let Some(owner) = owner_of_dead_letters(&self.objects, &old.object) {
            return Err(Error::input(format!(
                "\"{}\" holds the dead letters of {} \"{}\": its columns are given",
                name.name, owner.kind, owner.name
            ))
            .at(name.at.clone()));
        }
        let (Spec::Stream(before), Spec::Stream(after)) = (&old.spec, &spec) else {
            return Err(Error::bug("a stream becomes something else"));
        };
        let difference = Difference::of(before, after).map_err(|e| e.at(name.at.clone()))?;
        let kept = |(column, _): &(String, String)| after.schema.column_with_name(column).is_some();
        let object = Object {
            sql,
            version: old.object.version + 1,
            column_comments: old.object.column_comments.iter().filter(|c| kept(c)).cloned().collect(),
            ..old.object.clone()
        };
        let mut objects = self.objects.clone();
        let stream = BoundObject { object, spec: spec.clone() };
        let key = (stream.object.namespace.clone(), stream.object.name.clone());
        objects.by_name.insert(key, Arc::new(stream.clone()));
        let readers = Readers::of(&objects, stream.object.id, &difference);
        if !readers.broken.is_empty() {
            let message =
                format!("\"{}\" cannot change like this, because of {}", name.name, readers.broken.join("; "));
            // A column that is only wider is read by another plan, and nothing else can be put into its place before.
            let hint = if difference.widened.is_empty() {
                "replace these first by ones that do not read the column (`fleuve apply` of a project changes both in one go), or drop them and create them again afterwards"
            } else {
                "drop these, change the stream, and create them again: they are built over the wider column then"
            };
            return Err(Error::input(message).at(name.at.clone()).hint(hint));
        }
        let mut goes_on = vec![];
        self.put(stream.clone());
        self.changes.push(Change::Replace(stream));
        for (bound, is_reworded) in readers.views {
            goes_on.push((bound.object.clone(), is_reworded.then(|| bound.object.sql.clone())));
            self.put(bound.clone());
            self.changes.push(Change::Restate(bound));
        }
        goes_on.extend(readers.others.into_iter().map(|o| (o, None)));
        Ok(Altered { columns: difference.words(), adds: !difference.added.is_empty(), goes_on })
    }
}

/// A watermark does not go alone, and not with its column.
fn refuse_watermark(spec: &Spec, change: &StreamChange) -> Result<()> {
    let (Spec::Stream(StreamSpec { watermark: Some(watermark), .. }), StreamChange::Drop(column, at)) = (spec, change)
    else {
        return Ok(());
    };
    if watermark.column != *column {
        return Ok(());
    }
    Err(Error::input(format!("\"{column}\" is the column of the stream's watermark, so it cannot go"))
        .at(at.clone())
        .hint("a stream's watermark stays as it is: make a stream of another name without it"))
}

/// A column does not go while a CHECK reads it.
fn refuse_checked(spec: &Spec, change: &StreamChange) -> Result<()> {
    let (Spec::Stream(stream), StreamChange::Drop(column, at)) = (spec, change) else { return Ok(()) };
    for (check, text) in check_expressions(stream)?.iter().zip(&stream.checks) {
        if collect_columns(check).iter().any(|c| c.name() == column) {
            return Err(Error::input(format!(
                "\"{column}\" is a column of the stream's CHECK ({text}), so it cannot go"
            ))
            .at(at.clone())
            .hint("a stream's checks stay as they are: make a stream of another name without it"));
        }
    }
    Ok(())
}

/// The statement of the stream after the change.
fn changed(create: &mut CreateStream, change: &StreamChange, name: &Name) -> Result<()> {
    let Some(columns) = &mut create.columns else {
        let message = format!("the columns of \"{}\" are those of its format", name.name);
        return Err(Error::unsupported(message).at(name.at.clone()));
    };
    let place = |columns: &[ColumnSpec], column: &str, at: &Location| {
        columns.iter().position(|c| c.name == column).ok_or_else(|| {
            let error = Error::not_found(format!("\"{}\" has no column \"{column}\"", name.name)).at(at.clone());
            match crate::suggest::nearest(column, columns.iter().map(|c| c.name.as_str())) {
                Some(near) => error.hint(format!("did you mean \"{near}\"?")),
                None => error,
            }
        })
    };
    match change {
        StreamChange::Add(column) => {
            if columns.iter().any(|c| c.name == column.name) || is_pseudo_column(&column.name) {
                let message = format!("\"{}\" has a column \"{}\" already", name.name, column.name);
                return Err(Error::input(message).at(column.at.clone()));
            }
            columns.push(column.clone());
        }
        StreamChange::Type(column) => {
            let at = place(columns, &column.name, &column.at)?;
            columns[at].data_type = column.data_type.clone();
        }
        StreamChange::Drop(column, at) => {
            let place = place(columns, column, at)?;
            if columns.len() == 1 {
                return Err(Error::input("a stream has at least one column").at(at.clone()));
            }
            columns.remove(place);
        }
    }
    Ok(())
}

/// What is different between the columns of a stream before and after.
struct Difference {
    added: Vec<String>,
    dropped: Vec<String>,
    /// With the types before and after.
    widened: Vec<(String, DataType, DataType)>,
}

impl Difference {
    /// # Errors
    /// What the records that are there, or new ones, could not be read by.
    fn of(before: &StreamSpec, after: &StreamSpec) -> Result<Self> {
        let (old, new) = (&before.schema, &after.schema);
        let names = |of: &Schema, in_other: &Schema, wanted: bool| -> Vec<String> {
            let names = of.fields().iter().map(|f| f.name().clone());
            names.filter(|n| in_other.column_with_name(n).is_some() == wanted).collect()
        };
        if names(old, new, true) != names(new, old, true) {
            return Err(Error::unsupported("the columns of a stream cannot change places"));
        }
        let (added, dropped) = (names(new, old, false), names(old, new, false));
        let by_name = matches!(before.format.as_str(), "json" | "avro");
        let as_many = added.is_empty() && dropped.is_empty();
        if !by_name && !as_many {
            return Err(Error::unsupported(format!(
                "a record of format {} has a value for each column, in their order: with more or fewer columns those that are there could not be read",
                before.format
            ))
            .hint("make a stream of another name with these columns"));
        }
        for column in &added {
            if new.column_with_name(column).is_some_and(|(_, f)| !f.is_nullable()) {
                return Err(Error::input(format!(
                    "column \"{column}\" is NULL in the records that are there: it cannot be NOT NULL"
                )));
            }
        }
        let mut widened = vec![];
        for field in old.fields() {
            let Some((_, to)) = new.column_with_name(field.name()) else { continue };
            if field.is_nullable() != to.is_nullable() {
                return Err(Error::unsupported(format!("NOT NULL of column \"{}\" cannot change", field.name())));
            }
            if field.data_type() == to.data_type() {
                continue;
            }
            if !is_wider(field.data_type(), to.data_type()) {
                let (from, to) = (precise_name(field.data_type()), precise_name(to.data_type()));
                return Err(Error::unsupported(format!("column \"{}\" of type {from} cannot become {to}", field.name()))
                    .hint("a type can become wider: SMALLINT to INT to BIGINT, REAL to DOUBLE PRECISION, DECIMAL with more digits before or after the point"));
            }
            widened.push((field.name().clone(), field.data_type().clone(), to.data_type().clone()));
        }
        Ok(Self { added, dropped, widened })
    }

    fn words(&self) -> Vec<String> {
        let mut out: Vec<String> = vec![];
        out.extend(self.added.iter().map(|c| {
            format!("{c} comes; a record from before shows what it holds of that name if that fits, else NULL")
        }));
        out.extend(
            self.widened
                .iter()
                .map(|(c, from, to)| format!("{c} becomes {} (was {})", sql_type_name(to), sql_type_name(from))),
        );
        out.extend(self.dropped.iter().map(|c| format!("{c} goes; the records keep what they hold of it")));
        out
    }
}

/// A type with the digits of its seconds, where they are not six.
fn precise_name(data_type: &DataType) -> String {
    let (DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit)) = data_type else {
        return sql_type_name(data_type);
    };
    let digits = match unit {
        TimeUnit::Second => "(0)",
        TimeUnit::Millisecond => "(3)",
        TimeUnit::Microsecond => "",
        TimeUnit::Nanosecond => "(9)",
    };
    let name = sql_type_name(data_type);
    let (word, zone) = name.split_once(' ').map_or((name.as_str(), String::new()), |(w, z)| (w, format!(" {z}")));
    format!("{word}{digits}{zone}")
}

/// True if every value of the one type is a value of the other.
fn is_wider(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64};
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) => true,
        (Decimal128(p, s), Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        _ => false,
    }
}

/// What reads or writes a stream, bound again over its new columns.
#[derive(Default)]
struct Readers {
    /// Views that go on, and whether their text is another one.
    views: Vec<(BoundObject, bool)>,
    others: Vec<Object>,
    /// What cannot be as it was, and why.
    broken: Vec<String>,
}

impl Readers {
    fn of(objects: &ObjectSet, stream: fleuve_types::ObjectId, difference: &Difference) -> Self {
        let mut out = Self::default();
        for bound in objects.by_name.values().filter(|b| b.object.depends_on.contains(&stream)) {
            if is_dead_letters(objects, &bound.object) {
                continue;
            }
            let again =
                super::statement_of(&bound.object).map_err(|e| e.message).and_then(|parsed| match &bound.spec {
                    Spec::View(_) => kept(objects, bound, &parsed, difference).map(Some),
                    Spec::Index(before) => {
                        index_kept(objects, bound, before, &parsed).map(|index| Some((index, false)))
                    }
                    _ => bind_spec(objects, &parsed).map(|_| None).map_err(|e| e.message),
                });
            match again {
                Ok(Some(view)) => out.views.push(view),
                Ok(None) => out.others.push(bound.object.clone()),
                Err(why) => {
                    let kind = if bound.object.kind == ObjectKind::View { "view" } else { bound.object.kind.as_str() };
                    out.broken.push(format!("{kind} {} ({why})", bound.object.name));
                }
            }
        }
        out
    }
}

/// An index over the new columns, if it holds what it held.
fn index_kept(
    objects: &ObjectSet,
    bound: &BoundObject,
    before: &IndexSpec,
    parsed: &Parsed,
) -> std::result::Result<BoundObject, String> {
    match bind_spec(objects, parsed) {
        Ok(Spec::Index(after)) if same_view(&before.view, &after.view) => {
            Ok(BoundObject { object: bound.object.clone(), spec: Spec::Index(after) })
        }
        Ok(_) => Err("it holds a column that changes".into()),
        Err(e) => Err(e.message),
    }
}

/// A view's statement whose `*` leave out columns that go later, so that it has the columns that it will have then.
pub(super) fn leaving_out((objects, then): (&ObjectSet, &ObjectSet), parsed: &Parsed, columns: &[&String]) -> Parsed {
    let Ok(Spec::View(wanted)) = bind_spec(then, parsed) else { return parsed.clone() };
    let is_as_wanted = |spec: &Spec| matches!(spec, Spec::View(v) if same_columns(&v.schema, &wanted.schema));
    let is_wanted = |parsed: &Parsed| bind_spec(objects, parsed).is_ok_and(|spec| is_as_wanted(&spec));
    let mut out = parsed.clone();
    for (column, number) in columns.iter().flat_map(|column| (0..wildcards::MAX).map(move |n| (column, n))) {
        let Statement::CreateView(view) = &out.statement else { break };
        let mut tried = view.clone();
        if is_wanted(&out) || !wildcards::leave_out(&mut tried.query, number, column) {
            continue;
        }
        let Ok(again) = parse::parse_one(&tried.to_string()) else { continue };
        let again = Parsed { edition: parsed.edition, at: parsed.at.clone(), ..again };
        // Another one may have no such column.
        if bind_spec(objects, &again).is_ok() {
            out = again;
        }
    }
    if is_wanted(&out) { out } else { parsed.clone() }
}

/// A view with the plan that it had, over the new columns, and whether that takes another text.
fn kept(
    objects: &ObjectSet,
    bound: &BoundObject,
    parsed: &Parsed,
    difference: &Difference,
) -> std::result::Result<(BoundObject, bool), String> {
    let Spec::View(before) = &bound.spec else { return Err("it is no view".into()) };
    let as_before = |parsed: &Parsed| match bind_spec(objects, parsed) {
        Ok(Spec::View(after)) if same_view(before, &after) => Ok(Spec::View(after)),
        Ok(_) => Err("it would be another query".to_string()),
        Err(e) => Err(e.message),
    };
    let with = |sql: String, spec: Spec, is_reworded: bool| {
        let depends_on = still_depends_on(objects, &bound.object, &spec);
        let object = Object { sql, depends_on, ..bound.object.clone() };
        (BoundObject { object, spec }, is_reworded)
    };
    let reason = match as_before(parsed) {
        Ok(spec) => return Ok(with(bound.object.sql.clone(), spec, false)),
        Err(reason) => reason,
    };
    let Statement::CreateView(view) = &parsed.statement else { return Err(reason) };
    // A `*` goes on to mean what it meant.
    let mut candidate = view.clone();
    let gone: BTreeSet<&str> = difference.dropped.iter().map(String::as_str).collect();
    wildcards::forget(&mut candidate.query, &gone);
    let read = |candidate: &parse::CreateView| {
        let sql = candidate.to_string();
        let again = parse::parse_one(&sql).ok()?;
        Some((sql, Parsed { edition: parsed.edition, ..again }))
    };
    for column in &difference.added {
        for number in 0..wildcards::MAX {
            let mut tried = candidate.clone();
            if !wildcards::leave_out(&mut tried.query, number, column) {
                break;
            }
            // Another one may have no such column.
            if read(&tried).is_some_and(|(_, parsed)| bind_spec(objects, &parsed).is_ok()) {
                candidate = tried;
            }
        }
        // One that is found has no table there any more: the next one has its number then.
        let mut number = 0;
        for _ in 0..wildcards::MAX {
            let mut tried = candidate.clone();
            if !wildcards::leave_out_of_as_of(&mut tried.query, number, column, objects) {
                break;
            }
            match read(&tried) {
                Some((_, parsed)) if bind_spec(objects, &parsed).is_ok() => candidate = tried,
                _ => number += 1,
            }
        }
    }
    match read(&candidate).map(|(sql, parsed)| (as_before(&parsed), sql)) {
        Some((Ok(spec), sql)) => Ok(with(sql, spec, true)),
        _ => Err(reason),
    }
}
