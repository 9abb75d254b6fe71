//! `SHOW` and `DESCRIBE`: small tables of text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_catalog::ObjectKind;
use fleuve_types::{Error, ObjectId, Result, is_pseudo_column, sql_type_name};

use super::settings::Settings;
use super::{Outcome, Session};
use crate::bind::{columns, is_dead_letters, missing, view_key};
use crate::parse::{Name, Show};
use crate::suggest::nearest;
use crate::{BoundObject, DEFAULT_NAMESPACE, IndexSpec, ObjectSet, SinkMode, Spec, UnusableObject, ViewState};

/// The names of a small table's columns.
pub(super) fn text_schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect::<Vec<_>>()))
}

/// A small table of text.
pub(super) fn text_rows(names: &[&str], rows: Vec<Vec<Option<String>>>) -> Result<Outcome> {
    let schema = text_schema(names);
    let columns: Vec<ArrayRef> = (0..names.len())
        .map(|i| {
            let column: StringArray = rows.iter().map(|row| row.get(i).cloned().flatten()).collect();
            Arc::new(column) as ArrayRef
        })
        .collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|e| Error::bug(e.to_string()))?;
    Ok(Outcome::Rows { schema, rows: Box::pin(futures::stream::iter([Ok(batch)])), notices: vec![] })
}

/// The columns of `SHOW`'s answer.
pub(super) fn show_columns(show: &Show) -> Vec<&str> {
    match show {
        Show::Streams => vec!["name", "format", "partitions", "retention", "watermark", "columns", "comment"],
        Show::Sources => vec!["name", "connector", "into", "options", "comment"],
        Show::Views => vec!["name", "state", "detail", "reads", "key", "columns", "comment"],
        Show::Sinks => vec!["name", "from", "into", "format", "mode", "key", "comment"],
        Show::Indexes => vec!["name", "on", "columns", "includes", "state", "detail", "used by", "comment"],
        Show::Tables => vec!["name", "kind", "comment"],
        Show::Create(_) => vec!["name", "statement"],
        Show::All => vec!["name", "setting"],
        Show::Setting(name) => vec![name.as_str()],
    }
}

/// The columns of `DESCRIBE`'s answer.
pub(super) const DESCRIBE_COLUMNS: [&str; 4] = ["column", "type", "nullable", "comment"];

/// A name as people write it.
pub(super) fn shown(namespace: &str, name: &str) -> String {
    if namespace == DEFAULT_NAMESPACE { name.to_string() } else { format!("{namespace}.{name}") }
}

fn name_by_id(objects: &ObjectSet, id: ObjectId) -> String {
    objects.by_id(id).map_or_else(|| id.to_string(), |o| shown(&o.object.namespace, &o.object.name))
}

/// A length of time in the largest unit that gives a whole number.
fn duration_ms(ms: i64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1000, "seconds")];
    match units.iter().find(|(size, _)| ms % size == 0) {
        Some((size, unit)) => format!("{} {unit}", ms / size),
        None => format!("{ms} ms"),
    }
}

impl Session {
    pub(super) fn show(&self, show: &Show) -> Result<Outcome> {
        let names = show_columns(show);
        let objects = self.backend.objects();
        let rows: Vec<Vec<Option<String>>> = match show {
            Show::Setting(name) => return self.show_setting(name),
            Show::All => self.settings.all().into_iter().map(|(n, v)| vec![Some(n), Some(v)]).collect(),
            Show::Create(name) => {
                let object = match objects.unusable(name.namespace(), &name.name) {
                    Some(unusable) => &unusable.object,
                    None => &self.object(&objects, name)?.object,
                };
                vec![vec![Some(shown(&object.namespace, &object.name)), Some(object.sql.clone())]]
            }
            Show::Tables => self.tables(&objects),
            _ => {
                let states = self.backend.view_states();
                let rows = objects.by_name.values().filter_map(|o| object_row(&objects, o, show, &states));
                rows.chain(objects.unusable.values().filter_map(|o| unusable_row(o, show))).collect()
            }
        };
        text_rows(&names, rows)
    }

    fn show_setting(&self, name: &str) -> Result<Outcome> {
        let Some(value) = self.settings.get(name) else {
            let error = Error::not_found(format!("there is no setting \"{name}\""));
            let lists = ["streams", "views", "sources", "sinks", "indexes", "tables", "all"];
            return Err(match nearest(name, lists.into_iter().chain(Settings::names())) {
                Some(near) => error.hint(format!("did you mean SHOW {}?", near.to_uppercase())),
                None => error,
            });
        };
        text_rows(&[name], vec![vec![Some(value)]])
    }

    /// Everything that can be queried, system tables last.
    fn tables(&self, objects: &ObjectSet) -> Vec<Vec<Option<String>>> {
        let snapshot = self.backend.snapshot();
        let mut namespaces = snapshot.namespaces();
        namespaces.sort_by_key(|n| (n == crate::SYSTEM_NAMESPACE, n.clone()));
        let mut rows = Vec::new();
        for namespace in namespaces {
            let mut names = snapshot.names(&namespace);
            names.sort();
            for name in names {
                let object = objects.get(&namespace, &name);
                let kind = match object {
                    Some(o) if is_dead_letters(objects, &o.object) => "dead letters".to_string(),
                    Some(o) => o.object.kind.to_string(),
                    None => "system table".to_string(),
                };
                let comment = object.and_then(|o| o.object.comment.clone());
                rows.push(vec![Some(shown(&namespace, &name)), Some(kind), comment]);
            }
        }
        rows
    }

    fn object<'a>(&self, objects: &'a ObjectSet, name: &Name) -> Result<&'a Arc<BoundObject>> {
        objects.get(name.namespace(), &name.name).ok_or_else(|| missing(objects, name, "object", |_| true))
    }

    pub(super) fn describe_object(&self, name: &Name) -> Result<Outcome> {
        let objects = self.backend.objects();
        let (schema, comments) = match objects.get(name.namespace(), &name.name) {
            Some(object) => match columns(&object.spec) {
                Some(schema) => (schema, object.object.column_comments.clone()),
                None => return describe_options(object),
            },
            None => match self.backend.snapshot().table(name.namespace(), &name.name) {
                Some(table) => (table.schema(), vec![]),
                None => return Err(missing(&objects, name, "object", |_| true)),
            },
        };
        let rows = schema
            .fields()
            .iter()
            .filter(|f| !is_pseudo_column(f.name()))
            .map(|f| {
                let comment = comments.iter().find(|(c, _)| c == f.name()).map(|(_, text)| text.clone());
                let nullable = if f.is_nullable() { "yes" } else { "no" };
                vec![Some(f.name().clone()), Some(sql_type_name(f.data_type())), Some(nullable.into()), comment]
            })
            .collect();
        text_rows(&DESCRIBE_COLUMNS, rows)
    }
}

/// What an index holds beside the columns that it is by.
fn included(index: &IndexSpec) -> Vec<String> {
    let names = index.view.schema.fields().iter().map(|f| f.name());
    names.filter(|name| !index.columns.contains(name)).cloned().collect()
}

/// Sources, sinks and indexes have no columns: their options instead, in the same shape.
fn describe_options(object: &BoundObject) -> Result<Outcome> {
    let options: Vec<(String, String)> = match &object.spec {
        Spec::Source(s) => {
            std::iter::once(("connector".to_string(), s.connector.clone())).chain(s.options.clone()).collect()
        }
        Spec::Sink(s) => vec![
            ("format".into(), s.format.clone()),
            ("mode".into(), mode_name(s.mode).into()),
            ("key".into(), s.key.join(", ")),
        ],
        Spec::Index(i) => vec![
            ("on".into(), shown(&i.on.0, &i.on.1)),
            ("columns".into(), i.columns.join(", ")),
            ("includes".into(), included(i).join(", ")),
        ],
        Spec::Stream(_) | Spec::View(_) => vec![],
    };
    let rows =
        options.into_iter().map(|(key, value)| vec![Some(key), Some("option".into()), None, Some(value)]).collect();
    text_rows(&DESCRIBE_COLUMNS, rows)
}

fn mode_name(mode: SinkMode) -> &'static str {
    match mode {
        SinkMode::Upsert => "upsert",
        SinkMode::Changes => "changes",
    }
}

/// The row of what cannot be used: its name and why, where the others have their state or comment.
fn unusable_row(unusable: &UnusableObject, show: &Show) -> Option<Vec<Option<String>>> {
    let object = &unusable.object;
    let columns = show_columns(show);
    let listed = match show {
        Show::Streams => ObjectKind::Stream,
        Show::Sources => ObjectKind::Source,
        Show::Views => ObjectKind::View,
        Show::Sinks => ObjectKind::Sink,
        Show::Indexes => ObjectKind::Index,
        Show::Tables | Show::Create(_) | Show::All | Show::Setting(_) => return None,
    };
    let why = unusable.why();
    let cell = |column: &&str| match *column {
        "name" => Some(shown(&object.namespace, &object.name)),
        "state" => Some("failed".to_string()),
        "detail" => Some(why.clone()),
        "comment" if !columns.contains(&"detail") => Some(why.clone()),
        "comment" => object.comment.clone(),
        _ => None,
    };
    (object.kind == listed).then(|| columns.iter().map(cell).collect())
}

/// How a view or index is doing, in words.
fn state_of(object: &BoundObject, states: &BTreeMap<ObjectId, ViewState>) -> (String, Option<String>) {
    let state = states.get(&object.object.id);
    (state.map_or("starting", |s| &s.state).into(), state.and_then(|s| s.detail.clone()))
}

fn object_row(
    objects: &ObjectSet,
    object: &BoundObject,
    show: &Show,
    states: &BTreeMap<ObjectId, ViewState>,
) -> Option<Vec<Option<String>>> {
    let name = shown(&object.object.namespace, &object.object.name);
    let comment = object.object.comment.clone();
    let names = |schema: &SchemaRef| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(", ");
    let cells = match (&object.spec, show) {
        (Spec::Stream(s), Show::Streams) => {
            let watermark = s.watermark.as_ref().map(|w| match w.delay_us {
                0 => w.column.clone(),
                us if us % 1000 == 0 => format!("{} - {}", w.column, duration_ms(us / 1000)),
                us => format!("{} - {us} us", w.column),
            });
            let retention = [s.retention_ms.map(duration_ms), s.retention_bytes.map(|b| format!("{b} bytes"))];
            let retention: Vec<String> = retention.into_iter().flatten().collect();
            let retention = if retention.is_empty() { "for ever".to_string() } else { retention.join(", ") };
            vec![
                Some(name),
                Some(s.format.clone()),
                Some(s.partitions.to_string()),
                Some(retention),
                watermark,
                Some(names(&s.schema)),
                comment,
            ]
        }
        (Spec::Source(s), Show::Sources) => {
            let options: Vec<String> = s.options.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            vec![
                Some(name),
                Some(s.connector.clone()),
                Some(name_by_id(objects, s.into)),
                Some(options.join(", ")),
                comment,
            ]
        }
        (Spec::View(v), Show::Views) => {
            let reads: Vec<String> = v.inputs.keys().map(|(n, name)| shown(n, name)).collect();
            let key = view_key(&v.plan).map(|k| k.join(", "));
            let (word, detail) = state_of(object, states);
            vec![Some(name), Some(word), detail, Some(reads.join(", ")), key, Some(names(&v.schema)), comment]
        }
        (Spec::Index(i), Show::Indexes) => {
            let (word, detail) = state_of(object, states);
            let uses = |o: &&Arc<BoundObject>| o.object.depends_on.contains(&object.object.id);
            let users = objects.by_name.values().filter(uses).map(|o| shown(&o.object.namespace, &o.object.name));
            let users: Vec<String> = users.collect();
            vec![
                Some(name),
                Some(shown(&i.on.0, &i.on.1)),
                Some(i.columns.join(", ")),
                Some(included(i).join(", ")),
                Some(word),
                detail,
                (!users.is_empty()).then(|| users.join(", ")),
                comment,
            ]
        }
        (Spec::Sink(s), Show::Sinks) => vec![
            Some(name),
            Some(name_by_id(objects, s.from)),
            Some(name_by_id(objects, s.into)),
            Some(s.format.clone()),
            Some(mode_name(s.mode).into()),
            (!s.key.is_empty()).then(|| s.key.join(", ")),
            comment,
        ],
        _ => return None,
    };
    Some(cells)
}
