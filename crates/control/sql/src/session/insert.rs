//! `INSERT INTO stream`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SetExpr, Value};
use fleuve_types::{Error, ErrorKind, ObjectId, Result, is_pseudo_column, sql_type_name};
use futures::StreamExt;

use super::query::Planned;
use super::{Outcome, Session, values};
use crate::bind::{check_expressions, missing, refused_rows};
use crate::errors::Where;
use crate::literals::assigned;
use crate::parse::Name;
use crate::rewrite::{place_of, spelled};
use crate::suggest::nearest;
use crate::{Spec, StreamSpec};

/// Most bytes of rows that one `INSERT` takes.
const MAX_INSERT_BYTES: usize = 256 << 20;

/// Where the columns of an `INSERT` go.
pub(super) struct Target {
    id: ObjectId,
    schema: SchemaRef,
    spec: StreamSpec,
    /// For each column of the stream, the column of the source that fills it.
    from: Vec<Option<usize>>,
    /// How many columns the source has.
    given: usize,
}

impl Session {
    pub(super) async fn insert(
        &self,
        into: &Name,
        columns: &[Ident],
        source: &Query,
        parameters: Option<ParamValues>,
        place: Where<'_>,
    ) -> Result<Outcome> {
        let (target, planned) = self.plan_rows(into, columns, source, place).await?;
        let planned = planned.with_parameters(parameters, place)?;
        target.check(&planned.schema(), place)?;
        let Outcome::Rows { mut rows, mut notices, .. } = planned.rows(place).await? else {
            return Err(Error::bug("a query gave no rows"));
        };
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = rows.next().await {
            let batch = target.shape(&batch?).map_err(|e| e.at(place.at.clone()))?;
            bytes += batch.get_array_memory_size();
            if bytes > MAX_INSERT_BYTES {
                let message = format!("the rows have more than {} MB", MAX_INSERT_BYTES >> 20);
                return Err(Error::new(ErrorKind::Limit, message).at(place.at.clone()).hint("insert them in parts"));
            }
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        if batches.is_empty() {
            return Ok(Outcome::Done { tag: "INSERT 0 0".into(), notices });
        }
        let refused = target.refused(&batches);
        let count = self.backend.insert(target.id, batches).await?;
        let dead =
            |(check, n)| format!("{n} of {count} rows went to the dead letters of {}: CHECK ({check})", into.name);
        notices.extend(refused.into_iter().map(dead));
        Ok(Outcome::Done { tag: format!("INSERT 0 {count}"), notices })
    }

    /// The query for the rows of an `INSERT`, and where its columns go.
    pub(super) async fn plan_rows(
        &self,
        into: &Name,
        columns: &[Ident],
        source: &Query,
        place: Where<'_>,
    ) -> Result<(Target, Planned)> {
        let target = self.target(into, columns, source, place)?;
        let typed = values::typed(source, &target.types());
        let planned = self.plan(typed.as_ref().unwrap_or(source), place).await?;
        Ok((target, planned))
    }

    /// The types of parameters that stand alone as a value: those of the columns they go to.
    pub(super) fn insert_parameter_types(
        &self,
        into: &Name,
        columns: &[Ident],
        source: &Query,
        place: Where<'_>,
        count: usize,
    ) -> Result<Vec<Option<DataType>>> {
        let target = self.target(into, columns, source, place)?;
        let mut types = vec![None; count];
        let SetExpr::Values(values) = source.body.as_ref() else { return Ok(types) };
        for row in &values.rows {
            for (i, expr) in row.iter().enumerate() {
                let Some(number) = parameter(expr) else { continue };
                let column = target.from.iter().position(|f| *f == Some(i));
                if let (Some(slot), Some(column)) = (types.get_mut(number - 1), column) {
                    *slot = Some(target.schema.field(column).data_type().clone());
                }
            }
        }
        Ok(types)
    }

    fn target(&self, into: &Name, columns: &[Ident], source: &Query, place: Where<'_>) -> Result<Target> {
        let objects = self.backend.objects();
        let Some(object) = objects.get(into.namespace(), &into.name) else {
            return Err(missing(&objects, into, "stream", |s| matches!(s, Spec::Stream(_))));
        };
        let Spec::Stream(spec) = &object.spec else {
            return Err(Error::input(format!(
                "\"{}\" is {}, and only streams take rows",
                into.name,
                object.object.kind.with_article()
            ))
            .at(into.at.clone()));
        };
        let (schema, spec) = (&spec.schema, spec.clone());
        let width = schema.fields().len();
        if columns.is_empty() {
            // As PostgreSQL has it: fewer values than columns leave the last ones NULL.
            let given = match source.body.as_ref() {
                SetExpr::Values(v) => v.rows.first().map_or(width, |row| row.len()),
                _ => width,
            };
            if given > width {
                return Err(Error::input(format!(
                    "there are {given} values for the {width} columns of \"{}\"",
                    into.name
                ))
                .at(place.at.clone()));
            }
            let from = (0..width).map(|i| (i < given).then_some(i)).collect();
            return Ok(Target { id: object.object.id, schema: schema.clone(), spec, from, given });
        }
        let mut from = vec![None; width];
        for (i, ident) in columns.iter().enumerate() {
            let name = spelled(ident);
            let Some((at, _)) = schema.column_with_name(&name) else {
                let error = if is_pseudo_column(&name) {
                    Error::input(format!("\"{name}\" is made by the log; it cannot be given"))
                } else {
                    Error::not_found(format!("stream \"{}\" has no column \"{name}\"", into.name))
                };
                let names = schema.fields().iter().map(|f| f.name().as_str());
                let error = error.at(place_of(ident));
                return Err(match nearest(&name, names) {
                    Some(near) => error.hint(format!("did you mean \"{near}\"?")),
                    None => error,
                });
            };
            if from[at].replace(i).is_some() {
                return Err(Error::input(format!("column \"{name}\" is named twice")).at(place_of(ident)));
            }
        }
        Ok(Target { id: object.object.id, schema: schema.clone(), spec, from, given: columns.len() })
    }
}

impl Target {
    /// The type of the stream's column for each column of the source.
    fn types(&self) -> Vec<Option<&DataType>> {
        let mut types = vec![None; self.given];
        for (field, from) in self.schema.fields().iter().zip(&self.from) {
            if let Some(slot) = from.and_then(|i| types.get_mut(i)) {
                *slot = Some(field.data_type());
            }
        }
        types
    }

    /// Whether the source's columns can go where they should.
    fn check(&self, source: &SchemaRef, place: Where<'_>) -> Result<()> {
        let fail = |message: String| Err(Error::input(message).at(place.at.clone()));
        if source.fields().len() != self.given {
            return fail(format!("there are {} values for {} columns", source.fields().len(), self.given));
        }
        for (field, from) in self.schema.fields().iter().zip(&self.from) {
            match from {
                None if !field.is_nullable() => {
                    return fail(format!("column \"{}\" is NOT NULL and gets no value", field.name()));
                }
                None => {}
                Some(i) => {
                    let given = source.field(*i).data_type();
                    if !assignable(given, field.data_type()) {
                        return fail(format!(
                            "column \"{}\" is {}, and its value is {}",
                            field.name(),
                            sql_type_name(field.data_type()),
                            sql_type_name(given)
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// How many rows each CHECK will make dead letters: of a row, the first that is false or cannot be computed.
    fn refused(&self, batches: &[RecordBatch]) -> Vec<(String, usize)> {
        // A check that cannot be computed is told by whoever reads the stream.
        let Ok(checks) = check_expressions(&self.spec) else { return vec![] };
        let mut counts = vec![0; checks.len()];
        for batch in batches {
            let mut passes = vec![true; batch.num_rows()];
            for (check, count) in checks.iter().zip(&mut counts) {
                for (row, _) in refused_rows(check, batch).unwrap_or_default() {
                    *count += usize::from(std::mem::take(&mut passes[row]));
                }
            }
        }
        self.spec.checks.iter().cloned().zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// The source's rows as the stream's.
    fn shape(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.from.len());
        for (field, from) in self.schema.fields().iter().zip(&self.from) {
            let column = match from {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(i) => {
                    let told = |e| {
                        let e = crate::errors::of_datafusion(&e);
                        Error::input(format!("column \"{}\": {}", field.name(), e.message))
                    };
                    let given = assigned(batch.column(*i), field.data_type()).map_err(told)?;
                    cast_with_options(&given, field.data_type(), &options).map_err(|e| told(e.into()))?
                }
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::input(format!("column \"{}\" is NOT NULL and gets NULL", field.name())));
            }
            columns.push(column);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|e| Error::bug(e.to_string()))
    }
}

fn parameter(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Placeholder(text) = &value.value else { return None };
    text.strip_prefix('$').and_then(|n| n.parse().ok()).filter(|n| *n > 0)
}

/// What may be stored where, as PostgreSQL's assignment casts have it; a text literal is anything.
fn assignable(from: &DataType, to: &DataType) -> bool {
    let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_bytes = |t: &DataType| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    match (from, to) {
        (DataType::Null, _) => true,
        (a, b) if a == b => true,
        (a, b) if a.is_numeric() && b.is_numeric() => true,
        (a, b) if is_text(a) || is_text(b) => can_cast_types(a, b),
        (a, b) if is_time(a) && is_time(b) => true,
        (a, b) if is_bytes(a) && is_bytes(b) => true,
        (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_) | DataType::Time64(_)) => true,
        (
            DataType::List(a) | DataType::LargeList(a) | DataType::FixedSizeList(a, _),
            DataType::List(b) | DataType::LargeList(b),
        ) => assignable(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| assignable(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}
