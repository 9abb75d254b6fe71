//! A list of changes in the making: the objects as they will be, and how to get there. Decides only; [`crate::Backend::apply`]
//! carries out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use fleuve_catalog::{Object, ObjectKind};
use fleuve_types::{Clock, Error, ErrorKind, ObjectId, Result};
use uuid::{Builder, Uuid};

use super::going::Going;
use super::names::{check_letters_name, check_name, in_the_way};
use super::same::{first_change, same_columns};
use super::{bind_spec, depends_on, is_dead_letters, owner_of_dead_letters, sink, stream};
use crate::errors::Where;
use crate::parse::{self, CommentTarget, CreateStream, EDITION, Name, ObjectWord, OnError, Parsed, Statement};
use crate::{BoundObject, Change, DEFAULT_NAMESPACE, ObjectSet, Spec, StreamSpec};

/// See the module.
pub(crate) struct Draft {
    /// The objects as they are.
    pub(crate) from: Arc<ObjectSet>,
    /// The objects as they will be.
    pub(crate) objects: ObjectSet,
    /// The way there, in an order that can be carried out.
    pub(crate) changes: Vec<Change>,
    clock: Arc<dyn Clock>,
    /// What will still be declared in this step, by namespace and name.
    pub(super) later: BTreeSet<(String, String)>,
    /// What reads something that was replaced and waits for its own declaration, and whether the columns it reads changed.
    stale: BTreeMap<ObjectId, bool>,
    /// What could not be used and can be now.
    pub(crate) revived: Vec<Arc<BoundObject>>,
    /// Streams whose columns go when all else is done, as what is declared later need not read them any more.
    pub(crate) going: Vec<Going>,
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
    pub(crate) fn new(objects: &Arc<ObjectSet>, clock: Arc<dyn Clock>) -> Self {
        Self {
            from: objects.clone(),
            objects: objects.as_ref().clone(),
            changes: Vec::new(),
            clock,
            later: BTreeSet::new(),
            stale: BTreeMap::new(),
            revived: Vec::new(),
            going: Vec::new(),
        }
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
        self.objects.unusable.remove(&key);
        self.objects.by_name.insert(key, bound.clone());
        bound
    }

    /// Adds an object that does not exist yet, with what comes along (dead letters, a sink's stream).
    pub(crate) fn create(&mut self, parsed: &Parsed) -> Result<()> {
        let parsed = &self.whole(parsed, true)?;
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
        let spec = Spec::Stream(stream::bind_stream(&create, EDITION)?);
        let name = create.name.clone();
        self.add(&name, ObjectKind::Stream, create.to_string(), spec, None);
        self.add_dead_letters(&name, ObjectKind::Stream)
    }

    fn add_dead_letters(&mut self, of: &Name, kind: ObjectKind) -> Result<()> {
        check_letters_name(&of.name, kind).map_err(|e| e.at(of.at.clone()))?;
        let owner = self.objects.get(of.namespace(), &of.name).map(|o| o.object.id);
        let create = stream::dead_letters(of, kind);
        if let Some(old) = self.objects.get(create.name.namespace(), &create.name.name) {
            return Err(in_the_way(old, of, kind));
        }
        let spec = Spec::Stream(stream::bind_stream(&create, EDITION)?);
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
            edition: EDITION,
        };
        let bound = self.put(BoundObject { object, spec });
        self.changes.push(Change::Create(bound.as_ref().clone()));
    }

    fn check_new_name(&self, name: &Name, kind: ObjectKind) -> Result<()> {
        check_name(name.namespace(), &name.name, kind).map_err(|e| e.at(name.at.clone()))?;
        if let Some(old) = self.objects.get(name.namespace(), &name.name) {
            let is_raw = matches!(&old.spec, Spec::Stream(stream) if stream.format == "raw");
            return Err(match is_raw && kind == ObjectKind::Stream {
                true => exists(name).hint(
                    "it is a topic whose records have no columns yet, perhaps made by a first record: DROP STREAM takes it with its records; create the stream before records come",
                ),
                false => exists(name),
            });
        }
        if let Some(unusable) = self.objects.unusable(name.namespace(), &name.name) {
            let refusal = unusable.refusal();
            return Err(Error { kind: ErrorKind::AlreadyExists, ..refusal }.at(name.at.clone()));
        }
        Ok(())
    }

    /// Makes an object what a statement declares, whether it exists or not.
    pub(crate) fn declare(&mut self, parsed: &Parsed) -> Result<Declared> {
        let parsed = &self.whole(parsed, false)?;
        let (name, kind, sql) = declaration(parsed).ok_or_else(|| Error::bug("only CREATE declares"))?;
        self.later.remove(&(name.namespace().to_string(), name.name.clone()));
        let Some(old) = self.objects.get(name.namespace(), &name.name).cloned() else {
            return self.declare_anew(parsed, name, kind, sql);
        };
        check_kind(&old.object, name, kind)?;
        let stale = self.stale.remove(&old.object.id);
        if old.object.sql == sql && stale.is_none() {
            return Ok(Declared::Unchanged);
        }
        let spec = self.bind_again(parsed)?;
        if let (Spec::Stream(before), Spec::Stream(after)) = (&old.spec, &spec) {
            if same_stream(before, after) {
                return Ok(Declared::Unchanged);
            }
            check_stream_change(before, after, name)?;
            if before.schema != after.schema {
                if !self.keep_for_readers(&old, parsed, name)? {
                    self.alter_to(&old, sql, spec, name)?;
                }
                return Ok(Declared::Replaced);
            }
        }
        if stale.is_none()
            && let (Spec::View(before), Spec::View(after)) = (&old.spec, &spec)
            && super::same::same_view(before, after)
        {
            self.restate(&old, sql, spec, parsed.edition);
            return Ok(Declared::Restated);
        }
        let same_text = old.object.sql == sql;
        if same_text && stale == Some(false) && sink::writes_the_same(&old.spec, &spec) {
            return Ok(Declared::Unchanged);
        }
        self.replace((&old.object, columns(&old.spec)), sql, spec, name, parsed)?;
        self.revive(old.object.id);
        Ok(if same_text { Declared::Unchanged } else { Declared::Replaced })
    }

    /// Declares what is not there yet, or cannot be used as it is.
    fn declare_anew(&mut self, parsed: &Parsed, name: &Name, kind: ObjectKind, sql: String) -> Result<Declared> {
        let Some(old) = self.objects.unusable(name.namespace(), &name.name).map(|u| u.object.clone()) else {
            self.create(parsed)?;
            return Ok(Declared::Created);
        };
        check_kind(&old, name, kind)?;
        if kind == ObjectKind::Stream {
            // What its records are cannot be told any more, so nothing can be said about them as rows of another stream.
            return Err(super::missing(&self.objects, name, "stream", |_| false));
        }
        let spec = self.bind_again(parsed)?;
        self.replace((&old, None), sql, spec, name, parsed)?;
        self.revive(old.id);
        Ok(Declared::Replaced)
    }

    /// Binds an object that is there to a statement.
    fn bind_again(&mut self, parsed: &Parsed) -> Result<Spec> {
        if let Statement::CreateSink(create) = &parsed.statement
            && let Some(target) = sink::target(&self.objects, create)?
        {
            self.create_stream(target)?;
        }
        bind_spec(&self.objects, parsed)
    }

    /// Takes up again what could not be used because of an object that can be now.
    fn revive(&mut self, root: ObjectId) {
        let below = in_order(self.objects.dependents([root], |_| true).into_iter().cloned().collect(), |o| o);
        for old in below {
            let key = (old.namespace.clone(), old.name.clone());
            if !self.objects.unusable.contains_key(&key) || self.later.contains(&key) {
                continue;
            }
            if let Ok(spec) = super::rebind(&self.objects, &old) {
                let object = Object { version: old.version + 1, depends_on: depends_on(&spec), ..old };
                let bound = self.put(BoundObject { object, spec });
                self.changes.push(Change::Replace(bound.as_ref().clone()));
                self.revived.push(bound);
            }
        }
    }

    /// What to say about what came back.
    pub(crate) fn notices(&self) -> Vec<String> {
        let notice = |bound: &Arc<BoundObject>| {
            let Object { kind, name, .. } = &bound.object;
            let hole = match kind {
                ObjectKind::Sink => "; what its view became while it could not be used is not in its stream",
                _ => "",
            };
            format!("{kind} \"{name}\" can be used again{hole}")
        };
        self.revived.iter().map(notice).collect()
    }

    /// Gives an object another text that means the same: what runs goes on.
    fn restate(&mut self, old: &BoundObject, sql: String, spec: Spec, edition: u32) {
        let object = Object { sql, edition, ..old.object.clone() };
        let bound = self.put(BoundObject { object, spec });
        self.changes.push(Change::Restate(bound.as_ref().clone()));
    }

    /// Gives an object, with the columns that it had, another definition.
    fn replace(
        &mut self,
        (old, columns_before): (&Object, Option<SchemaRef>),
        sql: String,
        spec: Spec,
        name: &Name,
        parsed: &Parsed,
    ) -> Result<()> {
        let id = old.id;
        if depends_on(&spec).iter().any(|d| *d == id || self.reaches(*d, id)) {
            return Err(Error::input(format!("\"{}\" would read itself", name.name)).at(name.at.clone()));
        }
        let columns_now = columns(&spec);
        let kept = |(column, _): &(String, String)| {
            columns_now.as_ref().is_none_or(|schema| schema.column_with_name(column).is_some())
        };
        let object = Object {
            edition: parsed.edition,
            sql,
            depends_on: depends_on(&spec),
            version: old.version + 1,
            column_comments: old.column_comments.iter().filter(|c| kept(c)).cloned().collect(),
            ..old.clone()
        };
        let bound = self.put(BoundObject { object, spec });
        // The view's letters of before stay where they are, whatever it does with the next ones.
        if leaves_rows_out(&bound.spec) && self.dead_letters_of(&bound.object).is_none() {
            self.add_dead_letters(name, ObjectKind::View)?;
        }
        self.changes.push(Change::Replace(bound.as_ref().clone()));
        if matches!(bound.object.kind, ObjectKind::View | ObjectKind::Index) {
            let same = match (&columns_before, columns(&bound.spec)) {
                (Some(before), Some(now)) => same_columns(before, &now),
                (before, now) => before.is_none() && now.is_none(),
            };
            self.rebind_dependents(id, same, name, Where { text: &parsed.text, at: &parsed.at })?;
        }
        Ok(())
    }

    /// Binds again what reads a replaced view. It must come out with the columns it had.
    fn rebind_dependents(&mut self, root: ObjectId, same_columns: bool, name: &Name, place: Where<'_>) -> Result<()> {
        let mut broken = Vec::new();
        let mut waiting: BTreeSet<ObjectId> = BTreeSet::new();
        for dependent in self.dependents_in_order(root) {
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
            let again = super::statement_of(&dependent.object).and_then(|p| bind_spec(&self.objects, &p));
            match again {
                Ok(spec) if columns(&spec).as_deref() == columns(&dependent.spec).as_deref() => {
                    // A sink that writes the same columns by the same key goes on; a view's plan is made anew, over the new input.
                    let is_below = !depends_on.contains(&root);
                    if (same_columns || is_below) && sink::writes_the_same(&dependent.spec, &spec) {
                        continue;
                    }
                    let object = Object { version: dependent.object.version + 1, ..dependent.object.clone() };
                    let bound = self.put(BoundObject { object, spec });
                    self.changes.push(Change::Replace(bound.as_ref().clone()));
                }
                Ok(spec) => {
                    let Object { kind, name, .. } = &dependent.object;
                    let what =
                        columns(&dependent.spec).zip(columns(&spec)).and_then(|(old, new)| first_change(&old, &new));
                    let what = what.map_or_else(String::new, |what| format!(": {what}"));
                    broken.push(format!("{kind} {name} (its columns would change{what})"));
                }
                Err(e) => broken.push(format!("{} {} ({})", dependent.object.kind, dependent.object.name, e.message)),
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("\"{}\" cannot change like this, because of {}", name.name, broken.join("; ")))
            .at(place.at.clone())
            .hint("change those in the same step (`fleuve apply` of a project does), or drop them first"))
    }

    /// Everything that depends on these objects, directly or not, each after what it depends on. Dead letters do not count.
    fn dependents_in_order(&self, root: ObjectId) -> Vec<Arc<BoundObject>> {
        let found = self.objects.dependents([root], |o| !is_dead_letters(&self.objects, o));
        in_order(found, |o| o).into_iter().filter_map(|o| self.objects.by_id(o.id)).cloned().collect()
    }

    pub(super) fn reaches(&self, from: ObjectId, to: ObjectId) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(id) = todo.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id)
                && let Some(bound) = self.objects.by_id(id)
            {
                match &bound.spec {
                    // The indexes that it uses are chosen anew.
                    Spec::View(_) => todo.extend(depends_on(&bound.spec)),
                    _ => todo.extend(&bound.object.depends_on),
                }
            }
        }
        false
    }

    /// Takes an object away, with its dead letters, and with what depends on it if `cascade`. Gives the names of those.
    pub(crate) fn drop(&mut self, word: ObjectWord, name: &Name, cascade: bool) -> Result<Vec<String>> {
        let object = match self.objects.unusable(name.namespace(), &name.name) {
            Some(unusable) => of_kind(&unusable.object, word, name).map(|()| unusable.object.clone())?,
            None => self.find(word, name)?.object.clone(),
        };
        if let Some(owner) = owner_of_dead_letters(&self.objects, &object) {
            return Err(Error::input(format!(
                "\"{}\" holds the dead letters of {} \"{}\"",
                name.name, owner.kind, owner.name
            ))
            .at(name.at.clone())
            .hint(match owner.kind {
                ObjectKind::View => format!("it goes with DROP MATERIALIZED VIEW {}", owner.name),
                _ => format!("it goes with DROP STREAM {}", owner.name),
            }));
        }
        // With the dead letters of each, which are part of it, and what reads those.
        let below = in_order(self.objects.dependents([object.id], |_| true), |o| o);
        let dependents = below.iter().filter(|d| !is_dead_letters(&self.objects, d));
        let names: Vec<String> = dependents.map(|d| format!("{} {}", d.kind, d.name)).collect();
        if !names.is_empty() && !cascade {
            let message = format!("{} \"{}\" is used by {}", object.kind, name.name, names.join(", "));
            return Err(Error::input(message).at(name.at.clone()).hint("drop those first, or say CASCADE"));
        }
        let gone: Vec<Object> = below.into_iter().rev().chain([&object]).cloned().collect();
        for Object { id, namespace, name, .. } in gone {
            let key = (namespace, name);
            self.objects.by_name.remove(&key);
            self.objects.unusable.remove(&key);
            self.changes.push(Change::Drop(id));
        }
        Ok(names)
    }

    fn dead_letters_of(&self, stream: &Object) -> Option<Arc<BoundObject>> {
        let dead = self.objects.get(&stream.namespace, &format!("{}{}", stream.name, super::DEAD_SUFFIX))?;
        dead.object.depends_on.contains(&stream.id).then(|| dead.clone())
    }

    /// The object that a statement names, of the kind it says.
    pub(crate) fn find(&self, word: ObjectWord, name: &Name) -> Result<Arc<BoundObject>> {
        match self.objects.get(name.namespace(), &name.name) {
            Some(object) => of_kind(&object.object, word, name).map(|()| object.clone()),
            None => {
                let kind = kind_of(word);
                let shown = kind.map_or("object", ObjectKind::as_str);
                Err(super::missing(&self.objects, name, shown, |s| kind.is_none_or(|k| k == s.kind())))
            }
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

/// The kind that a word of a statement stands for; none if for any.
fn kind_of(word: ObjectWord) -> Option<ObjectKind> {
    match word {
        ObjectWord::Stream => Some(ObjectKind::Stream),
        ObjectWord::Source => Some(ObjectKind::Source),
        ObjectWord::View => Some(ObjectKind::View),
        ObjectWord::Sink => Some(ObjectKind::Sink),
        ObjectWord::Index => Some(ObjectKind::Index),
        ObjectWord::Table => None,
    }
}

/// Refuses an object that is not what a statement calls it.
fn of_kind(object: &Object, word: ObjectWord, name: &Name) -> Result<()> {
    match kind_of(word) {
        Some(kind) if kind != object.kind => {
            let (is, not) = (object.kind.with_article(), kind.with_article());
            Err(Error::input(format!("\"{}\" is {is}, not {not}", name.name)).at(name.at.clone()))
        }
        _ => Ok(()),
    }
}

/// Refuses another kind of object under the name of one.
fn check_kind(old: &Object, name: &Name, kind: ObjectKind) -> Result<()> {
    if old.kind == kind {
        return Ok(());
    }
    let message = format!("\"{}\" is {} already", name.name, old.kind.with_article());
    Err(Error::new(ErrorKind::AlreadyExists, message).at(name.at.clone()))
}

/// By depth: each after everything among them that it depends on.
fn in_order<T>(mut rest: Vec<T>, object: impl Fn(&T) -> &Object) -> Vec<T> {
    let mut sorted: Vec<T> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let ids: BTreeSet<ObjectId> = rest.iter().map(|o| object(o).id).collect();
        let (free, bound): (Vec<T>, Vec<T>) =
            rest.into_iter().partition(|o| !object(o).depends_on.iter().any(|d| ids.contains(d)));
        if free.is_empty() {
            sorted.extend(bound);
            break;
        }
        sorted.extend(free);
        rest = bound;
    }
    sorted
}

fn leaves_rows_out(spec: &Spec) -> bool {
    matches!(spec, Spec::View(view) if view.on_error == OnError::Skip)
}

/// The columns of what can be read.
pub(crate) fn columns(spec: &Spec) -> Option<SchemaRef> {
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
