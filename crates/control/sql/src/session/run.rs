//! One statement, from what it says to its outcome.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::ParamValues;
use datafusion::sql::sqlparser::ast::Query;
use fleuve_types::{Error, ErrorKind, Result, sql_type_name};

use super::crash::guarded;
use super::explain::EXPLAIN_COLUMNS;
use super::show::{DESCRIBE_COLUMNS, show_columns, text_schema};
use super::{Outcome, Session, place_of};
use crate::bind::{Draft, alike, columns, declaration, missing};
use crate::errors::Where;
use crate::parse::{ExplainTarget, Name, ObjectWord, Parsed, Statement};
use crate::rewrite::with_elements;
use crate::{Change, ObjectSet, Spec, StreamSpec, Unapplied};

/// Most times that a statement is bound because others change the objects meanwhile: each time somebody else's has gone through.
pub(super) const MOST_TRIES: usize = 100;

const OUTDATED: &str = "others changed the objects again and again";

/// What was bound does not hold any more: it has to be bound again.
pub(super) fn outdated() -> Error {
    Error::new(ErrorKind::Retry, OUTDATED).hint("try again")
}

pub(super) fn is_outdated(error: &Error) -> bool {
    error.kind == ErrorKind::Retry && error.message == OUTDATED
}

/// Adds the statement's place to an error that has none.
fn located(parsed: &Parsed) -> impl Fn(Error) -> Error {
    |e| if e.location.is_some() { e } else { e.at(parsed.at.clone()) }
}

fn done(tag: impl Into<String>) -> Outcome {
    Outcome::Done { tag: tag.into(), notices: vec![] }
}

impl Session {
    /// The columns of a statement's answer, and what is known of its parameters' types.
    pub(super) async fn describe(&self, parsed: &Parsed) -> Result<(Option<SchemaRef>, Vec<Option<DataType>>)> {
        guarded(Box::pin(self.describe_statement(parsed))).await
    }

    async fn describe_statement(&self, parsed: &Parsed) -> Result<(Option<SchemaRef>, Vec<Option<DataType>>)> {
        let place = place_of(parsed);
        let count = parsed.parameters;
        let none = vec![None; count];
        Ok(match &parsed.statement {
            Statement::Query(query) => {
                let planned = self.plan(query, place).await?;
                let mut types = planned.parameter_types(count)?;
                self.add_list_types(&mut types, query, place).await;
                (Some(planned.settled_schema()), types)
            }
            Statement::Insert { into, columns, source } => {
                let of_columns = self.insert_parameter_types(into, columns, source, place, count)?;
                let planned = self.plan_rows(into, columns, source, place).await?.1;
                let of_plan = planned.parameter_types(count)?;
                (None, of_columns.into_iter().zip(of_plan).map(|(a, b)| a.or(b)).collect())
            }
            Statement::Explain(_, ExplainTarget::Row(_)) => (Some(crate::lineage::answer_schema()), none),
            Statement::Explain(_, target) => {
                let types = match target {
                    ExplainTarget::Query(query, _) => self.plan(query, place).await?.parameter_types(count)?,
                    ExplainTarget::View(_)
                    | ExplainTarget::Row(_)
                    | ExplainTarget::Replace(_)
                    | ExplainTarget::AlterView(..)
                    | ExplainTarget::Alter(..) => none,
                };
                (Some(text_schema(&EXPLAIN_COLUMNS)), types)
            }
            Statement::Show(show) => (Some(text_schema(&show_columns(show))), none),
            Statement::Describe(_) => (Some(text_schema(&DESCRIBE_COLUMNS)), none),
            Statement::Subscribe(name) => {
                let objects = self.backend.objects();
                (Some(subscription_schema(&readable(&objects, name)?.1)), none)
            }
            _ => (None, none),
        })
    }

    /// The types of the parameters that are lists, as in `x = ANY ($1)`: lists of what `x` is.
    async fn add_list_types(&self, types: &mut [Option<DataType>], query: &Query, place: Where<'_>) {
        let Some((single, numbers)) = with_elements(query) else { return };
        let elements = match self.plan(&single, place).await {
            Ok(planned) => planned.parameter_types(types.len()).unwrap_or_default(),
            Err(_) => vec![],
        };
        for at in numbers.into_iter().filter_map(|number| number.checked_sub(1)) {
            let element = elements.get(at).cloned().flatten().unwrap_or(DataType::Utf8);
            if let Some(unknown @ None) = types.get_mut(at) {
                *unknown = Some(DataType::List(Arc::new(Field::new_list_field(element, true))));
            }
        }
    }

    /// Runs a statement up to its first rows.
    pub(super) async fn run_parsed(&self, parsed: &Parsed, parameters: Option<ParamValues>) -> Result<Outcome> {
        for _ in 0..MOST_TRIES {
            // Boxed: it is large, and would lie on the stack several times.
            match guarded(Box::pin(self.run_statement(parsed, parameters.clone()))).await {
                Err(e) if is_outdated(&e) => {}
                outcome => return outcome,
            }
        }
        Err(located(parsed)(outdated()))
    }

    async fn run_statement(&self, parsed: &Parsed, parameters: Option<ParamValues>) -> Result<Outcome> {
        let given = match &parameters {
            Some(ParamValues::List(list)) => list.len(),
            Some(ParamValues::Map(map)) => map.len(),
            None => 0,
        };
        let takes_parameters = matches!(
            parsed.statement,
            Statement::Query(_) | Statement::Insert { .. } | Statement::Explain(_, ExplainTarget::Query(..))
        );
        if takes_parameters && given < parsed.parameters {
            let message = format!("the statement has {} parameters and {given} values", parsed.parameters);
            return Err(Error::input(message).at(parsed.at.clone()));
        }
        let parameters = parameters.filter(|_| parsed.parameters > 0);
        let place = place_of(parsed);
        match &parsed.statement {
            Statement::Query(query) => {
                self.plan(query, place).await?.with_parameters(parameters, place)?.rows(place).await
            }
            Statement::Insert { into, columns, source } => self.insert(into, columns, source, parameters, place).await,
            Statement::CreateStream(_)
            | Statement::CreateSource(_)
            | Statement::CreateView(_)
            | Statement::CreateSink(_)
            | Statement::CreateIndex(_) => self.create(parsed).await,
            Statement::Drop { word, if_exists, names, cascade } => {
                self.drop_objects(*word, *if_exists, names, *cascade).await.map_err(located(parsed))
            }
            Statement::Resume(word, name) => {
                let draft = Draft::new(&self.backend.objects(), self.clock.clone());
                let view = draft.find(*word, name)?;
                self.backend.resume(view.object.id, self.withdrawal()).await.map_err(located(parsed))?;
                Ok(done(if *word == ObjectWord::Index { "ALTER INDEX" } else { "ALTER MATERIALIZED VIEW" }))
            }
            Statement::AlterView { name, change } => {
                let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
                let altered = draft.altered_view(name, change, parsed)?;
                draft.declare(&altered).map_err(located(parsed))?;
                let mut notices = draft.notices();
                notices.extend(self.losses(&draft).await);
                self.carry_out(draft).await.map_err(located(parsed))?;
                Ok(Outcome::Done { tag: "ALTER MATERIALIZED VIEW".into(), notices })
            }
            Statement::AlterStream { name, changes } => {
                let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
                let altered = draft.alter_stream(name, changes).map_err(located(parsed))?;
                let notices = altered.notices();
                self.carry_out(draft).await.map_err(located(parsed))?;
                Ok(Outcome::Done { tag: "ALTER STREAM".into(), notices })
            }
            Statement::AdvanceWatermark { name, to: (text, at) } => {
                let draft = Draft::new(&self.backend.objects(), self.clock.clone());
                let stream = draft.find(ObjectWord::Stream, name)?;
                let watermark = event_time(&stream.spec, text).map_err(|e| e.at(at.clone()))?;
                self.backend.advance_watermark(stream.object.id, watermark).await.map_err(located(parsed))?;
                Ok(done("ALTER STREAM"))
            }
            Statement::Comment { target, text } => {
                let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
                draft.comment(target, text.as_ref())?;
                self.carry_out(draft).await.map_err(located(parsed))?;
                Ok(done("COMMENT"))
            }
            Statement::Show(show) => self.show(show).map_err(located(parsed)),
            Statement::Describe(name) => self.describe_object(name),
            Statement::Explain(mode, ExplainTarget::Query(query, on_close)) => {
                self.explain_query((*mode, *on_close), query, parameters, place).await
            }
            Statement::Explain(mode, ExplainTarget::View(name)) => self.explain_view(*mode, name, place).await,
            Statement::Explain(_, ExplainTarget::Row(row)) => self.explain_row(row, place).await,
            Statement::Explain(_, ExplainTarget::Replace(view)) => {
                self.explain_replace(view, parsed).await.map_err(located(parsed))
            }
            Statement::Explain(_, ExplainTarget::AlterView(name, change)) => {
                let altered =
                    Draft::new(&self.backend.objects(), self.clock.clone()).altered_view(name, change, parsed)?;
                let Statement::CreateView(view) = &altered.statement else {
                    return Err(Error::bug("only a view is altered like this"));
                };
                self.explain_replace(view, &altered).await.map_err(located(parsed))
            }
            Statement::Explain(_, ExplainTarget::Alter(name, changes)) => {
                self.explain_alter(name, changes).map_err(located(parsed))
            }
            Statement::Subscribe(name) => {
                let objects = self.backend.objects();
                let (id, _) = readable(&objects, name)?;
                self.backend.subscribe(id).await.map(Outcome::Changes).map_err(located(parsed))
            }
            Statement::Set { name, value } => {
                match value {
                    Some(value) if !self.settings.set(name, value) => {
                        return Err(Error::new(ErrorKind::Limit, "too many or too long settings").at(parsed.at.clone()));
                    }
                    Some(_) => {}
                    None => self.settings.reset(Some(name)),
                }
                Ok(done("SET"))
            }
            Statement::Reset(name) => {
                self.settings.reset(name.as_deref());
                Ok(done("RESET"))
            }
            Statement::Acknowledge(tag) => {
                if tag.starts_with("DISCARD ALL") {
                    self.settings.reset(None);
                }
                Ok(done(tag.clone()))
            }
        }
    }

    async fn carry_out(&self, draft: Draft) -> Result<()> {
        if draft.changes.is_empty() {
            return Ok(());
        }
        self.backend.apply(&draft.from, draft.changes, self.withdrawal()).await.map_err(|e| match e {
            Unapplied::Outdated => outdated(),
            Unapplied::Failed { error, .. } => *error,
        })
    }

    async fn create(&self, parsed: &Parsed) -> Result<Outcome> {
        let (name, kind, _) = declaration(parsed).ok_or_else(|| Error::bug("only CREATE creates"))?;
        let (tag, if_not_exists, or_replace) = match &parsed.statement {
            Statement::CreateStream(c) => ("CREATE STREAM", c.if_not_exists, false),
            Statement::CreateSource(c) => ("CREATE SOURCE", c.if_not_exists, false),
            Statement::CreateSink(c) => ("CREATE SINK", c.if_not_exists, false),
            Statement::CreateIndex(c) => ("CREATE INDEX", c.if_not_exists, false),
            Statement::CreateView(c) => ("CREATE MATERIALIZED VIEW", c.if_not_exists, c.or_replace),
            _ => return Err(Error::bug("only CREATE creates")),
        };
        let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
        let exists = draft.objects.get(name.namespace(), &name.name).cloned();
        if let Some(old) = exists.filter(|_| if_not_exists) {
            let notice = format!("{} \"{}\" exists already, skipping", old.object.kind, name.name);
            return Ok(Outcome::Done { tag: tag.into(), notices: vec![notice] });
        }
        let before = draft.objects.by_name.len();
        if or_replace {
            draft.declare(parsed).map_err(located(parsed))?;
        } else {
            draft.create(parsed).map_err(located(parsed))?;
        }
        let mut notices = draft.notices();
        notices.extend(self.losses(&draft).await);
        if let Statement::CreateSink(sink) = &parsed.statement {
            if draft.objects.by_name.len() > before + 1 {
                notices.push(format!("stream \"{}\" was made for the {kind}", sink.into.name));
            }
            notices.extend(crate::bind::notices_of_sink(&draft.objects, sink));
        }
        // Its name may have been given to it.
        let made = draft.changes.iter().find_map(|c| match c {
            Change::Create(b) if matches!(b.spec, Spec::Index(_)) => Some(b.object.id),
            _ => None,
        });
        for other in made.map(|id| alike(&draft.objects, id)).unwrap_or_default() {
            notices.push(format!("index \"{other}\" is by the same columns already; both are held"));
        }
        self.carry_out(draft).await.map_err(located(parsed))?;
        if let Statement::CreateSource(_) = &parsed.statement
            && let Some(made) = self.backend.objects().get(name.namespace(), &name.name)
            && let Spec::Source(source) = &made.spec
        {
            notices.extend(self.backend.notice_of_source(source).await);
        }
        Ok(Outcome::Done { tag: tag.into(), notices })
    }

    async fn drop_objects(&self, word: ObjectWord, if_exists: bool, names: &[Name], cascade: bool) -> Result<Outcome> {
        let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
        let mut notices = Vec::new();
        for name in draft.readers_first(names) {
            match draft.drop(word, name, cascade) {
                Ok(others) => notices.extend(others.into_iter().map(|o| format!("drop cascades to {o}"))),
                Err(e) if if_exists && e.kind == ErrorKind::NotFound => {
                    notices.push(format!("\"{}\" does not exist, skipping", name.name));
                }
                Err(e) => return Err(e),
            }
        }
        self.carry_out(draft).await?;
        let tag = match word {
            ObjectWord::Stream => "DROP STREAM",
            ObjectWord::Source => "DROP SOURCE",
            ObjectWord::View => "DROP MATERIALIZED VIEW",
            ObjectWord::Sink => "DROP SINK",
            ObjectWord::Index => "DROP INDEX",
            ObjectWord::Table => "DROP TABLE",
        };
        Ok(Outcome::Done { tag: tag.into(), notices })
    }
}

/// A time in the unit of a stream's event-time column.
fn event_time(spec: &Spec, text: &str) -> Result<i64> {
    let Spec::Stream(StreamSpec { watermark: Some(watermark), schema, .. }) = spec else {
        return Err(Error::input("the stream has no WATERMARK that could go on"));
    };
    let field = schema.field_with_name(&watermark.column).map_err(|e| Error::bug(e.to_string()))?;
    let minute = "2026-05-01 10:00";
    let whole = if text.len() == minute.len() { format!("{text}:00") } else { text.to_owned() };
    let wrong =
        |_: ArrowError| Error::input(format!("'{text}' is no {}, as '{minute}' is", sql_type_name(field.data_type())));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let time = cast_with_options(&StringArray::from(vec![whole]), field.data_type(), &options).map_err(wrong)?;
    let days = if time.data_type() == &DataType::Date32 { cast(&time, &DataType::Int32) } else { Ok(time) };
    let value = days.and_then(|time| cast(&time, &DataType::Int64)).map_err(wrong)?;
    Ok(value.as_primitive::<Int64Type>().value(0))
}

/// The id and columns of a view or stream.
fn readable(objects: &ObjectSet, name: &Name) -> Result<(fleuve_types::ObjectId, SchemaRef)> {
    let is_readable = |s: &Spec| matches!(s, Spec::Stream(_) | Spec::View(_));
    let Some(object) = objects.get(name.namespace(), &name.name) else {
        return Err(missing(objects, name, "view or stream", is_readable));
    };
    match columns(&object.spec) {
        Some(schema) => Ok((object.object.id, schema)),
        None => {
            let message =
                format!("\"{}\" is {}, which has no changes to follow", name.name, object.object.kind.with_article());
            Err(Error::input(message).at(name.at.clone()))
        }
    }
}

/// `_epoch`, `_weight`, then the view's columns.
fn subscription_schema(of: &SchemaRef) -> SchemaRef {
    let own = [Field::new("_epoch", DataType::Int64, false), Field::new("_weight", DataType::Int64, false)];
    let fields: Vec<FieldRef> = own.into_iter().map(Arc::new).chain(of.fields().iter().cloned()).collect();
    Arc::new(Schema::new(fields))
}
