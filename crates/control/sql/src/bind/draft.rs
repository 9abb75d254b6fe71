//! A list of changes in the making: the objects as they will be, and how to get there. Decides only; [`crate::Backend::apply`]
//! carries out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleuve_catalog::{Object, ObjectKind};
use fleuve_types::{Clock, Error, ErrorKind, ObjectId, Result};
use uuid::{Builder, Uuid};

use super::{bind_spec, depends_on, is_dead_letters, owner_of_dead_letters, sink, stream};
use crate::errors::Where;
use crate::parse::{self, CommentTarget, CreateStream, Name, ObjectWord, OnError, Parsed, Statement};
use crate::{BoundObject, Change, DEFAULT_NAMESPACE, ObjectSet, SYSTEM_NAMESPACE, Spec, StreamSpec};

/// See the module.
pub(crate) struct Draft {
    /// The objects as they will be.
    pub(crate) objects: ObjectSet,
    /// The way there, in an order that can be carried out.
    pub(crate) changes: Vec<Change>,
    clock: Arc<dyn Clock>,
    /// What will still be declared in this step, by namespace and name.
    later: BTreeSet<(String, String)>,
    /// What reads something that was replaced and waits for its own declaration, and whether the columns it reads changed.
    stale: BTreeMap<ObjectId, bool>,
}

/// What declaring an object came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Created,
    Replaced,
    /// The same in other words: only its text is new.
    Restated,
    Unchanged,
}

/// The name and kind of a `CREATE`, and its text as the catalog keeps it.
pub(crate) fn declaration(parsed: &Parsed) -> Option<(&Name, ObjectKind, String)> {
    let (name, kind) = match &parsed.statement {
        Statement::CreateStream(c) => (&c.name, ObjectKind::Stream),
        Statement::CreateSource(c) => (&c.name, ObjectKind::Source),
        Statement::CreateView(c) => (&c.name, ObjectKind::View),
        Statement::CreateSink(c) => (&c.name, ObjectKind::Sink),
        Statement::CreateIndex(c) => (&c.name, ObjectKind::Index),
        _ => return None,
    };
    Some((name, kind, parse::kept(parsed)?))
}

impl Draft {
    pub(crate) fn new(objects: &ObjectSet, clock: Arc<dyn Clock>) -> Self {
        let (later, stale) = (BTreeSet::new(), BTreeMap::new());
        Self { objects: objects.clone(), changes: Vec::new(), clock, later, stale }
    }

    /// Says what will be declared in this step, so that a view and what reads it can change together.
    pub(crate) fn expect(&mut self, names: impl IntoIterator<Item = (String, String)>) {
        self.later.extend(names);
    }

    fn new_id(&self) -> ObjectId {
        let ms = self.clock.now_ms().max(0).unsigned_abs();
        // A counter before the random part (RFC 9562, 6.2): the ids that one step makes are in their order.
        let count = (self.changes.len() as u16).to_be_bytes();
        let random = Uuid::new_v4().into_bytes();
        let mut rest = [0; 10];
        rest[..2].copy_from_slice(&count);
        rest[2..8].copy_from_slice(&random[..6]);
        rest[8..].copy_from_slice(&random[10..12]);
        ObjectId(Builder::from_unix_timestamp_millis(ms, &rest).into_uuid().as_u128())
    }

    pub(super) fn put(&mut self, bound: BoundObject) -> Arc<BoundObject> {
        let bound = Arc::new(bound);
        let key = (bound.object.namespace.clone(), bound.object.name.clone());
        self.objects.by_name.insert(key, bound.clone());
        bound
    }

    /// Adds an object that does not exist yet, with what comes along (dead letters, a sink's stream).
    pub(crate) fn create(&mut self, parsed: &Parsed) -> Result<()> {
        let parsed = &super::whole(&self.objects, parsed, true)?;
        let (name, kind, sql) = declaration(parsed).ok_or_else(|| Error::bug("only CREATE creates"))?;
        self.check_new_name(name, kind)?;
        if let Statement::CreateSink(create) = &parsed.statement
            && let Some(target) = sink::target(&self.objects, create)?
        {
            self.create_stream(target)?;
        }
        let spec = bind_spec(&self.objects, parsed)?;
        if let (Statement::CreateStream(create), Spec::Stream(spec)) = (&parsed.statement, &spec) {
            stream::refuse_hopeless_checks(create, spec)?;
        }
        let tells = kind == ObjectKind::Stream || leaves_rows_out(&spec);
        self.add(name, kind, sql, spec, None);
        if tells { self.add_dead_letters(name, kind) } else { Ok(()) }
    }

    fn create_stream(&mut self, create: CreateStream) -> Result<()> {
        self.check_new_name(&create.name, ObjectKind::Stream)?;
        let spec = Spec::Stream(stream::bind_stream(&create)?);
        let name = create.name.clone();
        self.add(&name, ObjectKind::Stream, create.to_string(), spec, None);
        self.add_dead_letters(&name, ObjectKind::Stream)
    }

    fn add_dead_letters(&mut self, of: &Name, kind: ObjectKind) -> Result<()> {
        let owner = self.objects.get(of.namespace(), &of.name).map(|o| o.object.id);
        let create = stream::dead_letters(of, kind);
        if self.objects.get(create.name.namespace(), &create.name.name).is_some() {
            return Err(exists(&create.name).hint("its dead-letter stream needs that name"));
        }
        let spec = Spec::Stream(stream::bind_stream(&create)?);
        self.add(&create.name, ObjectKind::Stream, create.to_string(), spec, owner);
        Ok(())
    }

    fn add(&mut self, name: &Name, kind: ObjectKind, sql: String, spec: Spec, owner: Option<ObjectId>) {
        let mut needs = depends_on(&spec);
        needs.extend(owner);
        let object = Object {
            id: self.new_id(),
            kind,
            namespace: name.namespace().to_string(),
            name: name.name.clone(),
            sql,
            comment: None,
            column_comments: vec![],
            depends_on: needs,
            version: 1,
            created_ms: self.clock.now_ms(),
        };
        let bound = self.put(BoundObject { object, spec });
        self.changes.push(Change::Create(bound.as_ref().clone()));
    }

    fn check_new_name(&self, name: &Name, kind: ObjectKind) -> Result<()> {
        if matches!(name.namespace(), SYSTEM_NAMESPACE | "information_schema" | "pg_catalog") {
            return Err(
                Error::input(format!("namespace \"{}\" is the system's own", name.namespace())).at(name.at.clone())
            );
        }
        if let Some(old) = self.objects.get(name.namespace(), &name.name) {
            let is_raw = matches!(&old.spec, Spec::Stream(stream) if stream.format == "raw");
            return Err(match is_raw && kind == ObjectKind::Stream {
                true => exists(name).hint(
                    "it is a topic whose records have no columns yet, perhaps made by a first record: DROP STREAM takes it with its records; create the stream before records come",
                ),
                false => exists(name),
            });
        }
        // A stream is a topic of its name, and Kafka has ASCII names.
        let is_stream = kind == ObjectKind::Stream;
        let letter = |c: char| if is_stream { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() };
        let fits = |text: &str| text.chars().all(|c| letter(c) || matches!(c, '_' | '-'));
        if !fits(&name.name) || !fits(name.namespace()) {
            let shown = name.name.escape_debug();
            let letters = if is_stream { "ASCII letters" } else { "letters" };
            return Err(Error::input(format!("\"{shown}\" holds a character other than {letters}, digits, _ and -"))
                .at(name.at.clone()));
        }
        Ok(())
    }

    /// Makes an object what a statement declares, whether it exists or not.
    pub(crate) fn declare(&mut self, parsed: &Parsed) -> Result<Declared> {
        let parsed = &super::whole(&self.objects, parsed, false)?;
        let (name, kind, sql) = declaration(parsed).ok_or_else(|| Error::bug("only CREATE declares"))?;
        self.later.remove(&(name.namespace().to_string(), name.name.clone()));
        let Some(old) = self.objects.get(name.namespace(), &name.name).cloned() else {
            self.create(parsed)?;
            return Ok(Declared::Created);
        };
        if old.object.kind != kind {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("\"{}\" is {} already", name.name, old.object.kind.with_article()),
            )
            .at(name.at.clone()));
        }
        let stale = self.stale.remove(&old.object.id);
        if old.object.sql == sql && stale.is_none() {
            return Ok(Declared::Unchanged);
        }
        if let Statement::CreateSink(create) = &parsed.statement
            && let Some(target) = sink::target(&self.objects, create)?
        {
            self.create_stream(target)?;
        }
        let spec = bind_spec(&self.objects, parsed)?;
        if let (Spec::Stream(before), Spec::Stream(after)) = (&old.spec, &spec) {
            if same_stream(before, after) {
                return Ok(Declared::Unchanged);
            }
            check_stream_change(before, after, name)?;
            if before.schema != after.schema {
                self.alter_to(&old, sql, spec, name)?;
                return Ok(Declared::Replaced);
            }
        }
        if stale.is_none()
            && let (Spec::View(before), Spec::View(after)) = (&old.spec, &spec)
            && super::same::same_view(before, after)
        {
            self.restate(&old, sql, spec);
            return Ok(Declared::Restated);
        }
        let same_text = old.object.sql == sql;
        if same_text && kind == ObjectKind::Sink && stale == Some(false) {
            return Ok(Declared::Unchanged);
        }
        self.replace(&old, sql, spec, name, Where { text: &parsed.text, at: &parsed.at })?;
        Ok(if same_text { Declared::Unchanged } else { Declared::Replaced })
    }

    /// Gives an object another text that means the same: what runs goes on.
    fn restate(&mut self, old: &BoundObject, sql: String, spec: Spec) {
        let object = Object { sql, ..old.object.clone() };
        let bound = self.put(BoundObject { object, spec });
        self.changes.push(Change::Restate(bound.as_ref().clone()));
    }

    fn replace(&mut self, old: &BoundObject, sql: String, spec: Spec, name: &Name, place: Where<'_>) -> Result<()> {
        let id = old.object.id;
        if depends_on(&spec).iter().any(|d| *d == id || self.reaches(*d, id)) {
            return Err(Error::input(format!("\"{}\" would read itself", name.name)).at(name.at.clone()));
        }
        let schema_before = columns(&old.spec);
        let columns_now = columns(&spec);
        let kept = |(column, _): &(String, String)| {
            columns_now.as_ref().is_none_or(|schema| schema.column_with_name(column).is_some())
        };
        let object = Object {
            sql,
            depends_on: depends_on(&spec),
            version: old.object.version + 1,
            column_comments: old.object.column_comments.iter().filter(|c| kept(c)).cloned().collect(),
            ..old.object.clone()
        };
        let bound = self.put(BoundObject { object, spec });
        // The view's letters of before stay where they are, whatever it does with the next ones.
        if leaves_rows_out(&bound.spec) && self.dead_letters_of(&bound.object).is_none() {
            self.add_dead_letters(name, ObjectKind::View)?;
        }
        self.changes.push(Change::Replace(bound.as_ref().clone()));
        if matches!(bound.object.kind, ObjectKind::View | ObjectKind::Index) {
            let same = schema_before.as_deref() == columns(&bound.spec).as_deref();
            self.rebind_dependents(id, same, name, place)?;
        }
        Ok(())
    }

    /// Binds again what reads a replaced view. It must come out with the columns it had.
    fn rebind_dependents(&mut self, id: ObjectId, same_columns: bool, name: &Name, place: Where<'_>) -> Result<()> {
        let mut broken = Vec::new();
        let mut waiting: BTreeSet<ObjectId> = BTreeSet::new();
        for dependent in self.dependents_in_order(id) {
            let Object { id, namespace, name, depends_on, .. } = &dependent.object;
            if depends_on.iter().any(|d| waiting.contains(d)) {
                waiting.insert(*id);
                continue;
            }
            if self.later.contains(&(namespace.clone(), name.clone())) {
                *self.stale.entry(*id).or_default() |= !same_columns;
                waiting.insert(*id);
                continue;
            }
            let again = crate::parse::parse_one(&dependent.object.sql).and_then(|p| bind_spec(&self.objects, &p));
            match again {
                Ok(spec) if columns(&spec).as_deref() == columns(&dependent.spec).as_deref() => {
                    // A sink over the same columns goes on; a view's plan is made anew, over the new input.
                    if dependent.object.kind == ObjectKind::Sink && same_columns {
                        continue;
                    }
                    let object = Object { version: dependent.object.version + 1, ..dependent.object.clone() };
                    let bound = self.put(BoundObject { object, spec });
                    self.changes.push(Change::Replace(bound.as_ref().clone()));
                }
                Ok(_) => broken
                    .push(format!("{} {} (its columns would change)", dependent.object.kind, dependent.object.name)),
                Err(e) => broken.push(format!("{} {} ({})", dependent.object.kind, dependent.object.name, e.message)),
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("\"{}\" cannot change like this, because of {}", name.name, broken.join("; ")))
            .at(place.at.clone())
            .hint("change those in the same step, or drop them first"))
    }

    /// Everything that depends on these objects, directly or not, each after what it depends on. Dead letters do not count.
    fn dependents_in_order(&self, root: ObjectId) -> Vec<Arc<BoundObject>> {
        self.in_order_below(root, |o| !is_dead_letters(&self.objects, &o.object))
    }

    /// Everything that `counts` and depends on an object, directly or through others that count, each after what it depends on.
    fn in_order_below(&self, root: ObjectId, counts: impl Fn(&BoundObject) -> bool) -> Vec<Arc<BoundObject>> {
        let mut out = self.objects.dependents([root], counts);
        // By depth: an object comes after everything found that it depends on.
        let mut sorted: Vec<Arc<BoundObject>> = Vec::with_capacity(out.len());
        while !out.is_empty() {
            let is_free = |o: &Arc<BoundObject>| {
                !o.object.depends_on.iter().any(|d| out.iter().any(|other| other.object.id == *d))
            };
            let (free, rest): (Vec<_>, Vec<_>) = out.iter().cloned().partition(is_free);
            if free.is_empty() {
                sorted.extend(rest);
                break;
            }
            sorted.extend(free);
            out = rest;
        }
        sorted
    }

    fn reaches(&self, from: ObjectId, to: ObjectId) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(id) = todo.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id)
                && let Some(object) = self.objects.by_id(id)
            {
                todo.extend(&object.object.depends_on);
            }
        }
        false
    }

    /// Takes an object away, with its dead letters, and with what depends on it if `cascade`. Gives the names of those.
    pub(crate) fn drop(&mut self, word: ObjectWord, name: &Name, cascade: bool) -> Result<Vec<String>> {
        let object = self.find(word, name)?;
        if let Some(owner) = owner_of_dead_letters(&self.objects, &object.object) {
            return Err(Error::input(format!(
                "\"{}\" holds the dead letters of {} \"{}\"",
                name.name, owner.object.kind, owner.object.name
            ))
            .at(name.at.clone())
            .hint(match owner.object.kind {
                ObjectKind::View => format!("it goes with DROP MATERIALIZED VIEW {}", owner.object.name),
                _ => format!("it goes with DROP STREAM {}", owner.object.name),
            }));
        }
        // With the dead letters of each, which are part of it, and what reads those.
        let below = self.in_order_below(object.object.id, |_| true);
        let dependents = below.iter().filter(|d| !is_dead_letters(&self.objects, &d.object));
        let names: Vec<String> = dependents.map(|d| format!("{} {}", d.object.kind, d.object.name)).collect();
        if !names.is_empty() && !cascade {
            return Err(Error::input(format!(
                "{} \"{}\" is used by {}",
                object.object.kind,
                name.name,
                names.join(", ")
            ))
            .at(name.at.clone())
            .hint("drop those first, or say CASCADE"));
        }
        for o in below.into_iter().rev().chain([object]) {
            self.objects.by_name.remove(&(o.object.namespace.clone(), o.object.name.clone()));
            self.changes.push(Change::Drop(o.object.id));
        }
        Ok(names)
    }

    fn dead_letters_of(&self, stream: &Object) -> Option<Arc<BoundObject>> {
        let dead = self.objects.get(&stream.namespace, &format!("{}{}", stream.name, super::DEAD_SUFFIX))?;
        dead.object.depends_on.contains(&stream.id).then(|| dead.clone())
    }

    /// The object that a statement names, of the kind it says.
    pub(crate) fn find(&self, word: ObjectWord, name: &Name) -> Result<Arc<BoundObject>> {
        let (kind, shown) = match word {
            ObjectWord::Stream => (Some(ObjectKind::Stream), "stream"),
            ObjectWord::Source => (Some(ObjectKind::Source), "source"),
            ObjectWord::View => (Some(ObjectKind::View), "view"),
            ObjectWord::Sink => (Some(ObjectKind::Sink), "sink"),
            ObjectWord::Index => (Some(ObjectKind::Index), "index"),
            ObjectWord::Table => (None, "object"),
        };
        match self.objects.get(name.namespace(), &name.name) {
            Some(object) if kind.is_none_or(|k| k == object.object.kind) => Ok(object.clone()),
            Some(object) => {
                let article = if kind == Some(ObjectKind::Index) { "an" } else { "a" };
                let is = object.object.kind.with_article();
                Err(Error::input(format!("\"{}\" is {is}, not {article} {shown}", name.name)).at(name.at.clone()))
            }
            None => Err(super::missing(&self.objects, name, shown, |s| kind.is_none_or(|k| k == s.kind()))),
        }
    }

    /// Sets a comment. False if it was that already.
    pub(crate) fn comment(&mut self, target: &CommentTarget, text: Option<&String>) -> Result<bool> {
        let (bound, mut object) = match target {
            CommentTarget::Object(word, name) => {
                let bound = self.find(*word, name)?;
                let object = Object { comment: text.cloned(), ..bound.object.clone() };
                (bound, object)
            }
            CommentTarget::Column(name, column) => {
                let bound = self.find(ObjectWord::Table, name)?;
                let has = columns(&bound.spec).is_some_and(|s| s.column_with_name(column).is_some());
                if !has {
                    return Err(
                        Error::not_found(format!("\"{}\" has no column \"{column}\"", name.name)).at(name.at.clone())
                    );
                }
                let mut object = bound.object.clone();
                object.column_comments.retain(|(c, _)| c != column);
                object.column_comments.extend(text.map(|t| (column.clone(), t.clone())));
                (bound, object)
            }
        };
        object.column_comments.sort();
        let mut before = bound.object.clone();
        before.column_comments.sort();
        if object == before {
            return Ok(false);
        }
        self.put(BoundObject { object: object.clone(), spec: bound.spec.clone() });
        // An object that this list makes gets its comment at once.
        for change in &mut self.changes {
            match change {
                Change::Create(b) | Change::Replace(b) | Change::Restate(b) if b.object.id == object.id => {
                    b.object = object;
                    return Ok(true);
                }
                Change::Comment(o) if o.id == object.id => {
                    *o = object;
                    return Ok(true);
                }
                _ => {}
            }
        }
        self.changes.push(Change::Comment(object));
        Ok(true)
    }
}

fn leaves_rows_out(spec: &Spec) -> bool {
    matches!(spec, Spec::View(view) if view.on_error == OnError::Skip)
}

/// The columns of what can be read.
pub(crate) fn columns(spec: &Spec) -> Option<arrow::datatypes::SchemaRef> {
    match spec {
        Spec::Stream(stream) => Some(stream.schema.clone()),
        Spec::View(view) => Some(view.schema.clone()),
        Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
    }
}

fn exists(name: &Name) -> Error {
    let shown = if name.namespace() == DEFAULT_NAMESPACE {
        name.name.clone()
    } else {
        format!("{}.{}", name.namespace(), name.name)
    };
    Error::new(ErrorKind::AlreadyExists, format!("\"{shown}\" exists already")).at(name.at.clone())
}

/// Whether two statements declare the same stream in other words (`'7 days'`, `'168 hours'`).
fn same_stream(before: &StreamSpec, after: &StreamSpec) -> bool {
    same_but_limits(before, after)
        && before.partitions == after.partitions
        && before.retention_ms == after.retention_ms
        && before.retention_bytes == after.retention_bytes
}

fn same_but_limits(before: &StreamSpec, after: &StreamSpec) -> bool {
    before.schema == after.schema
        && before.watermark == after.watermark
        && before.format == after.format
        && before.format_options == after.format_options
        && before.checks == after.checks
}

fn check_stream_change(before: &StreamSpec, after: &StreamSpec, name: &Name) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::unsupported(format!("stream \"{}\" exists, and {what}", name.name)).at(name.at.clone()).hint(
            "its columns and retention can change and its partitions grow; for anything else make a stream of another name",
        ))
    };
    let parts = [
        (before.watermark == after.watermark, "its watermark"),
        (before.format == after.format && before.format_options == after.format_options, "its format"),
        (before.checks == after.checks, "its checks"),
    ];
    if let Some((_, part)) = parts.iter().find(|(same, _)| !same) {
        return refuse(format!("{part} cannot change"));
    }
    if after.partitions < before.partitions {
        return refuse(format!("its {} partitions cannot become {}", before.partitions, after.partitions));
    }
    Ok(())
}
