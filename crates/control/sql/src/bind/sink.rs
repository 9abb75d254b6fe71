//! Binding `CREATE SOURCE` and `CREATE SINK`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use fleuve_types::{Error, ObjectId, Result, sql_type_name};

use super::key::view_key;
use super::stream::{columns_as_sql, format_options};
use crate::options::{OptionOf, check};
use crate::parse::{CreateSink, CreateSource, CreateStream, Name, option};
use crate::suggest::nearest;
use crate::{DEFAULT_NAMESPACE, ObjectSet, SinkMode, SinkSpec, SourceSpec, Spec, StreamSpec, ViewSpec};

/// Binds `CREATE SOURCE`.
pub(crate) fn bind_source(objects: &ObjectSet, create: &CreateSource) -> Result<SourceSpec> {
    let Some(connector) = option(&create.options, "connector") else {
        return Err(Error::input("a source needs a connector")
            .at(create.name.at.clone())
            .hint("write WITH (connector = 'file', path = '...')"));
    };
    let connector = connector.value.text();
    let checked = check(OptionOf::Source, Some(&connector), &create.options)?;
    if connector == "file" && checked.specific.get("path").is_none_or(String::is_empty) {
        return Err(Error::input("a file source needs option \"path\"").at(create.name.at.clone()));
    }
    let (id, _) = stream(objects, &create.into)?;
    Ok(SourceSpec { into: id, connector, options: checked.specific })
}

/// A stream by its name.
pub(crate) fn stream<'a>(objects: &'a ObjectSet, name: &Name) -> Result<(ObjectId, &'a StreamSpec)> {
    match objects.get(name.namespace(), &name.name).map(|o| (o.object.id, &o.spec)) {
        Some((id, Spec::Stream(stream))) => Ok((id, stream)),
        Some((_, other)) => {
            Err(Error::input(format!("\"{}\" is {}, not a stream", name.name, other.kind().with_article()))
                .at(name.at.clone()))
        }
        None => Err(missing(objects, name, "stream", |s| matches!(s, Spec::Stream(_)))),
    }
}

/// A view by its name.
pub(crate) fn view<'a>(objects: &'a ObjectSet, name: &Name) -> Result<(ObjectId, &'a ViewSpec)> {
    match objects.get(name.namespace(), &name.name).map(|o| (o.object.id, &o.spec)) {
        Some((id, Spec::View(view))) => Ok((id, view)),
        Some((_, other)) => {
            Err(Error::input(format!("\"{}\" is {}, not a view", name.name, other.kind().with_article()))
                .at(name.at.clone()))
        }
        None => Err(missing(objects, name, "view", |s| matches!(s, Spec::View(_)))),
    }
}

/// "There is no such thing", with the near name; or why what is there cannot be used.
pub(crate) fn missing(objects: &ObjectSet, name: &Name, kind: &str, fits: impl Fn(&Spec) -> bool) -> Error {
    let namespace = name.namespace();
    if let Some(unusable) = objects.unusable(namespace, &name.name) {
        return unusable.refusal().at(name.at.clone());
    }
    let near = nearest(
        &name.name,
        objects
            .by_name
            .iter()
            .filter(|((n, _), o)| n == namespace && fits(&o.spec))
            .map(|((_, name), _)| name.as_str()),
    );
    let error = Error::not_found(format!("there is no {kind} \"{}\"", name.name)).at(name.at.clone());
    match near {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error,
    }
}

/// How a sink writes, apart from where: mode, key, format.
struct Writing {
    format: String,
    mode: SinkMode,
    key: Vec<String>,
}

/// `into` is the stream, where it is there.
fn writing(create: &CreateSink, view: &ViewSpec, into: Option<&Schema>) -> Result<Writing> {
    let format = option(&create.options, "format").map_or_else(|| "json".to_string(), |o| o.value.text());
    let checked = check(OptionOf::Sink, Some(&format), &create.options)?;
    let given: Option<Vec<String>> =
        checked.text("key").map(|k| k.split(',').map(|c| c.trim().to_string()).filter(|c| !c.is_empty()).collect());
    let inferred = view_key(&view.plan);
    let mode = match checked.text("mode").as_deref() {
        Some("upsert") => SinkMode::Upsert,
        Some(_) => SinkMode::Changes,
        // A stream of changes goes on to be one when more keys are found than by the version that made it.
        None if given.is_none() && into.is_some_and(|into| takes_changes(into, view)) => SinkMode::Changes,
        None if given.is_some() || inferred.is_some() => SinkMode::Upsert,
        None => SinkMode::Changes,
    };
    let key_at = option(&create.options, "key").map_or(&create.name.at, |o| &o.at);
    if mode == SinkMode::Changes {
        if given.is_some() {
            return Err(Error::input("a sink in mode changes has no key").at(key_at.clone()));
        }
        return Ok(Writing { format, mode, key: vec![] });
    }
    let Some(key) = given.filter(|k| !k.is_empty()).or(inferred) else {
        return Err(Error::input(format!("mode upsert needs a key, and view \"{}\" proves none", create.from.name))
            .at(create.name.at.clone())
            .hint("say WITH (key = 'a,b') if these columns are unique, or use mode = changes"));
    };
    let names: Vec<&str> = view.schema.fields().iter().map(|f| f.name().as_str()).collect();
    for column in &key {
        if !names.contains(&column.as_str()) {
            let error = Error::not_found(format!("the key's column \"{column}\" is not a column of the view"));
            let hint = match nearest(column, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(error.at(key_at.clone()).hint(hint));
        }
    }
    Ok(Writing { format, mode, key })
}

/// The columns that the mode `changes` adds.
const CHANGE_COLUMNS: [&str; 2] = ["weight", "epoch"];

/// True for a stream that only the mode `changes` can write.
fn takes_changes(into: &Schema, view: &ViewSpec) -> bool {
    CHANGE_COLUMNS.iter().all(|name| {
        let is_added = view.schema.column_with_name(name).is_none();
        is_added && into.column_with_name(name).is_some_and(|(_, f)| !f.is_nullable())
    })
}

/// The columns that a sink writes.
fn written(mode: SinkMode, view: &ViewSpec, at: &Name) -> Result<Schema> {
    let mut fields: Vec<Field> = Vec::with_capacity(view.schema.fields().len() + 2);
    for field in view.schema.fields() {
        if fleuve_types::is_pseudo_column(field.name()) {
            return Err(Error::input(format!(
                "column \"{}\" has the name of a pseudo-column of streams",
                field.name()
            ))
            .at(at.at.clone())
            .hint("give it another name in the view"));
        }
        fields.push(field.as_ref().clone());
    }
    if mode == SinkMode::Changes {
        for name in CHANGE_COLUMNS {
            if fields.iter().any(|f| f.name() == name) {
                return Err(Error::input(format!(
                    "mode changes adds a column \"{name}\", and the view has one already"
                ))
                .at(at.at.clone())
                .hint("give it another name in the view"));
            }
            fields.push(Field::new(name, DataType::Int64, false));
        }
    }
    Ok(Schema::new(fields))
}

/// The stream that a sink makes when it is not there: the statement for it, `None` if it is there.
pub(crate) fn target(objects: &ObjectSet, create: &CreateSink) -> Result<Option<CreateStream>> {
    if objects.get(create.into.namespace(), &create.into.name).is_some() {
        return Ok(None);
    }
    let (_, view) = view(objects, &create.from)?;
    let writing = writing(create, view, None)?;
    let schema = written(writing.mode, view, &create.name)?;
    Ok(Some(CreateStream {
        if_not_exists: false,
        name: create.into.clone(),
        columns: Some(columns_as_sql(&schema).map_err(|e| e.at(create.name.at.clone()))?),
        watermark: None,
        checks: vec![],
        options: format_options(&writing.format, &Default::default()),
    }))
}

/// Binds `CREATE SINK`; its stream is there.
pub(crate) fn bind_sink(objects: &ObjectSet, create: &CreateSink) -> Result<SinkSpec> {
    let (from, view) = view(objects, &create.from)?;
    let (into, stream) = stream(objects, &create.into)?;
    let writing = writing(create, view, Some(&stream.schema))?;
    let schema = written(writing.mode, view, &create.name)?;
    if stream.format != writing.format {
        return Err(Error::input(format!(
            "stream \"{}\" has format {}, and the sink writes {}",
            create.into.name, stream.format, writing.format
        ))
        .at(create.into.at.clone())
        .hint(format!("say WITH (format = '{}')", stream.format)));
    }
    fits(&schema, &stream.schema).map_err(|what| {
        Error::input(format!("stream \"{}\" does not take what the sink writes: {what}", create.into.name))
            .at(create.into.at.clone())
            .hint(for_other_columns(&schema, &stream.schema, &create.into))
    })?;
    let options = create.options.iter().map(|o| (o.key.clone(), o.value.text())).collect();
    Ok(SinkSpec { from, into, format: writing.format, mode: writing.mode, key: writing.key, options })
}

/// What the user should know of a sink that was bound.
pub(crate) fn notices(objects: &ObjectSet, create: &CreateSink) -> Vec<String> {
    let sink = objects.get(create.name.namespace(), &create.name.name).map(|o| &o.spec);
    let Some(Spec::Sink(sink)) = sink else { return vec![] };
    let mut out = vec![];
    if feeds_itself(objects, sink) {
        out.push(format!(
            "view \"{}\" reads what sink \"{}\" writes: a change of it may lead to another one, and so on without an end",
            create.from.name, create.name.name
        ));
    }
    let Some(Spec::View(view)) = objects.by_id(sink.from).map(|o| &o.spec) else { return out };
    let proven = view_key(&view.plan).filter(|proven| !proven.iter().all(|column| sink.key.contains(column)));
    if let Some(proven) = proven.filter(|_| sink.mode == SinkMode::Upsert) {
        out.push(format!(
            "nothing proves that \"{}\" is unique in view \"{}\": of rows with the same key the last one written counts, and a tombstone \
             takes the key away for all of them; \"{}\" is unique",
            sink.key.join(","),
            create.from.name,
            proven.join(",")
        ));
    }
    out
}

/// True if a sink's view reads the stream that it writes, or what other sinks make of that.
fn feeds_itself(objects: &ObjectSet, sink: &SinkSpec) -> bool {
    let mut reached: BTreeSet<ObjectId> = BTreeSet::from([sink.into]);
    loop {
        let next = objects.by_name.values().filter_map(|bound| match &bound.spec {
            Spec::View(_) => bound.object.depends_on.iter().any(|d| reached.contains(d)).then_some(bound.object.id),
            Spec::Sink(other) => reached.contains(&other.from).then_some(other.into),
            _ => None,
        });
        let next: Vec<ObjectId> = next.filter(|id| !reached.contains(id)).collect();
        if next.is_empty() {
            return reached.contains(&sink.from);
        }
        reached.extend(next);
    }
}

/// What to do about a stream that lacks columns of a view.
fn for_other_columns(from: &Schema, into: &Schema, stream: &Name) -> String {
    let anew = "write into a stream that does not exist yet, and the sink makes it";
    let is_missing = |name: &str| into.column_with_name(name).is_none();
    // One that has none of the columns of changes is for something else.
    if CHANGE_COLUMNS.iter().any(|name| from.column_with_name(name).is_some() && is_missing(name)) {
        return anew.into();
    }
    let missing = from.fields().iter().filter(|f| is_missing(f.name()));
    let add =
        |f: &Arc<Field>| format!("ADD COLUMN {} {}", crate::parse::quoted(f.name()), sql_type_name(f.data_type()));
    let adds: Vec<String> = missing.map(add).collect();
    match adds.is_empty() {
        true => anew.into(),
        false => {
            let own = crate::parse::quoted(&stream.name);
            let stream = if stream.namespace() == DEFAULT_NAMESPACE { own } else { stream.to_string() };
            format!("ALTER STREAM {stream} {}; or {anew}", adds.join(", "))
        }
    }
}

/// True for a sink that writes the same columns in the same way as before.
pub(crate) fn writes_the_same(before: &Spec, after: &Spec) -> bool {
    matches!((before, after), (Spec::Sink(a), Spec::Sink(b)) if (&a.key, a.mode) == (&b.key, b.mode))
}

/// Whether rows of `from` are rows of `into`: the same columns by name, with the same types.
fn fits(from: &Schema, into: &Schema) -> Result<(), String> {
    for field in from.fields() {
        match into.column_with_name(field.name()) {
            None => return Err(format!("it has no column \"{}\"", field.name())),
            Some((_, other)) if other.data_type() != field.data_type() => {
                return Err(format!(
                    "column \"{}\" is {}, not {}",
                    field.name(),
                    sql_type_name(other.data_type()),
                    sql_type_name(field.data_type())
                ));
            }
            Some((_, other)) if field.is_nullable() && !other.is_nullable() => {
                return Err(format!("column \"{}\" is NOT NULL", field.name()));
            }
            Some(_) => {}
        }
    }
    let extra = into.fields().iter().find(|f| !f.is_nullable() && from.column_with_name(f.name()).is_none());
    match extra {
        Some(field) => Err(format!("column \"{}\" is NOT NULL and the sink does not write it", field.name())),
        None => Ok(()),
    }
}
