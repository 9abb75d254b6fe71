//! `apply`: what a folder of files declares, made so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Visit, Visitor};
use fleuve_types::{Error, Location, Result};

use super::handed::BuiltAnew;
use super::run::{MOST_TRIES, is_outdated, outdated};
use super::{Applied, ProjectFile, Session};
use crate::bind::{Declared, Draft, Going, declaration};
use crate::parse::{self, CommentTarget, Name, Parsed, Statement, name_of};
use crate::{ObjectSet, Unapplied};

/// Most files and bytes of a project.
const MAX_FILES: usize = 10_000;
const MAX_BYTES: usize = 64 << 20;

type Key = (String, String);

fn key_of(name: &Name) -> Key {
    (name.namespace().to_string(), name.name.clone())
}

/// A declaration and the file it stands in.
struct Declaration<'a> {
    path: &'a str,
    parsed: Parsed,
    needs: BTreeSet<Key>,
}

/// Gives an error its file; its place is its own, or where the statement begins.
fn in_file(path: &str, start: Option<&Location>) -> impl Fn(Error) -> Error {
    move |mut e| {
        let mut at = e.location.take().or_else(|| start.cloned()).unwrap_or_default();
        at.file = Some(path.to_string());
        e.at(at)
    }
}

impl Session {
    /// Makes the platform hold what `files` declare: all or nothing. `dry_run` only says what would be done.
    ///
    /// # Errors
    /// [`Error`] with file, line and column.
    pub async fn apply(&self, files: &[ProjectFile], dry_run: bool) -> Result<Vec<Applied>> {
        let bytes: usize = files.iter().map(|f| f.text.len()).sum();
        if files.len() > MAX_FILES || bytes > MAX_BYTES {
            return Err(Error::new(
                fleuve_types::ErrorKind::Limit,
                format!("a project has at most {MAX_FILES} files and {} MB", MAX_BYTES >> 20),
            ));
        }
        let project = read(files)?;
        for _ in 0..MOST_TRIES {
            match self.apply_project(&project, dry_run).await {
                Err(e) if is_outdated(&e) => {}
                applied => return applied,
            }
        }
        Err(outdated())
    }

    async fn apply_project(&self, project: &Read<'_>, dry_run: bool) -> Result<Vec<Applied>> {
        let (draft, mut applied) = self.draft_of(project)?;
        // That what goes at the end can go then.
        let end = self.draft_of_the_end(project, &draft.going, &Arc::new(draft.objects.clone()))?;
        self.note_built_anew(&draft, &mut applied).await;
        if !dry_run {
            let going = draft.going.iter().map(|g| g.parsed.clone()).collect::<Vec<_>>();
            self.carry_out_project(project, draft).await?;
            if !end.changes.is_empty() {
                self.end_project(project, &going).await?;
            }
        }
        Ok(applied.into_iter().map(|(_, line)| line).collect())
    }

    /// The changes that a project comes to, up to the columns of streams that go when all else is done.
    fn draft_of(&self, (declarations, comments): &Read<'_>) -> Result<(Draft, Vec<(Key, Applied)>)> {
        let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
        draft.expect(declarations.keys().cloned());
        let mut applied: Vec<(Key, Applied)> = Vec::new();
        for key in order(declarations)? {
            let d = &declarations[&key];
            let before: BTreeSet<Key> = draft.objects.by_name.keys().cloned().collect();
            let declared = draft.declare(&d.parsed).map_err(in_file(d.path, Some(&d.parsed.at)))?;
            if let Statement::CreateSink(sink) = &d.parsed.statement
                && !before.contains(&key_of(&sink.into))
            {
                applied.push((key_of(&sink.into), line("create", "stream", &key_of(&sink.into))));
            }
            let (_, kind, _) = declaration(&d.parsed).ok_or_else(|| Error::bug("a declaration declares"))?;
            let action = match declared {
                Declared::Created => "create",
                Declared::Replaced => "replace",
                Declared::Restated => "restate",
                Declared::Unchanged => "unchanged",
            };
            applied.push((key.clone(), line(action, kind.as_str(), &key)));
        }
        for revived in &draft.revived {
            let key = (revived.object.namespace.clone(), revived.object.name.clone());
            let line = line("revive", revived.object.kind.as_str(), &key);
            applied.push((key, line));
        }
        for (path, parsed) in comments {
            let Statement::Comment { target, text } = &parsed.statement else { continue };
            let changed = draft.comment(target, text.as_ref()).map_err(in_file(path, Some(&parsed.at)))?;
            if changed {
                note_comment(target, &draft, &mut applied);
            }
        }
        Ok((draft, applied))
    }

    /// The columns of streams that go at the end.
    fn draft_of_the_end(&self, project: &Read<'_>, going: &[Going], objects: &Arc<ObjectSet>) -> Result<Draft> {
        let mut draft = Draft::new(objects, self.clock.clone());
        for Going { parsed, .. } in going {
            draft.declare(parsed).map_err(|e| match declaration(parsed) {
                Some((name, _, _)) => placed(project, &key_of(name), e),
                None => e,
            })?;
        }
        Ok(draft)
    }

    /// Takes the columns away that nothing reads any more. A step of its own: by now what read them runs otherwise.
    async fn end_project(&self, project: &Read<'_>, going: &[Parsed]) -> Result<()> {
        for _ in 0..MOST_TRIES {
            let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
            for parsed in going {
                draft.declare(parsed).map_err(unfinished)?;
            }
            match self.carry_out_project(project, draft).await {
                Err(e) if is_outdated(&e) => {}
                done => return done.map_err(unfinished),
            }
        }
        Err(unfinished(outdated()))
    }

    async fn carry_out_project(&self, project: &Read<'_>, draft: Draft) -> Result<()> {
        if draft.changes.is_empty() {
            return Ok(());
        }
        let Draft { from, changes, objects, .. } = draft;
        self.backend.apply(&from, changes, self.withdrawal()).await.map_err(|e| match e {
            Unapplied::Outdated => outdated(),
            Unapplied::Failed { error, object: None } => *error,
            Unapplied::Failed { error, object: Some(id) } => match objects.by_id(id).map(|b| &b.object) {
                Some(object) => {
                    let message = format!("{} \"{}\": {}", object.kind, object.name, error.message);
                    let error = Error { message, location: None, ..*error };
                    placed(project, &(object.namespace.clone(), object.name.clone()), error)
                }
                None => *error,
            },
        })
    }

    /// Says what is built anew although nothing of its own changes, and what is missing from it afterwards.
    async fn note_built_anew(&self, draft: &Draft, applied: &mut Vec<(Key, Applied)>) {
        for BuiltAnew { bound, is_sure, lacks } in self.built_anew(draft).await {
            let key = (bound.object.namespace.clone(), bound.object.name.clone());
            let place = applied.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
                applied.push((key.clone(), line("unchanged", bound.object.kind.as_str(), &key)));
                applied.len() - 1
            });
            let (_, line) = &mut applied[place];
            if is_sure && line.action == "unchanged" {
                line.action = "rebuild".into();
            }
            line.notices.extend(lacks);
        }
    }
}

/// An error of an object, with its place in the project if it is declared there.
fn placed((declarations, _): &Read<'_>, key: &Key, error: Error) -> Error {
    match declarations.get(key) {
        Some(d) => in_file(d.path, Some(&d.parsed.at))(error),
        None => error,
    }
}

/// Columns that should have gone at the end did not.
fn unfinished(error: Error) -> Error {
    let told = "all else is applied; apply the project again for the columns that are to go";
    let hint = error.hint.as_ref().map_or_else(|| told.to_string(), |hint| format!("{hint}; {told}"));
    error.hint(hint)
}

fn line(action: &str, kind: &str, (namespace, name): &Key) -> Applied {
    Applied { action: action.into(), kind: kind.into(), name: format!("{namespace}.{name}"), notices: vec![] }
}

/// A changed comment shows at its object if nothing else changed there, else on a line of its own.
fn note_comment(target: &CommentTarget, draft: &Draft, applied: &mut Vec<(Key, Applied)>) {
    let (CommentTarget::Object(_, name) | CommentTarget::Column(name, _)) = target;
    let key = key_of(name);
    match applied.iter_mut().find(|(k, _)| *k == key) {
        Some((_, line)) if line.action == "unchanged" => line.action = "comment".into(),
        Some(_) => {}
        None => {
            let kind = draft.objects.by_name.get(&key).map_or("object", |o| o.object.kind.as_str());
            applied.push((key.clone(), line("comment", kind, &key)));
        }
    }
}

type Read<'a> = (BTreeMap<Key, Declaration<'a>>, Vec<(&'a str, Parsed)>);

fn read(files: &[ProjectFile]) -> Result<Read<'_>> {
    let mut declarations: BTreeMap<Key, Declaration<'_>> = BTreeMap::new();
    let mut comments = Vec::new();
    for file in files {
        for parsed in parse::parse(&file.text).map_err(in_file(&file.path, None))? {
            if matches!(parsed.statement, Statement::Comment { .. }) {
                comments.push((file.path.as_str(), parsed));
                continue;
            }
            let start = parsed.at.clone();
            let fail = in_file(&file.path, Some(&start));
            let Some((name, _, _)) = declaration(&parsed) else {
                return Err(fail(
                    Error::input("a project file holds CREATE and COMMENT ON statements only")
                        .hint("run other statements with `fleuve sql -f file`"),
                ));
            };
            let key = key_of(name);
            if let Some(first) = declarations.get(&key) {
                let message =
                    format!("\"{}\" is declared already at {}:{}", name.name, first.path, first.parsed.at.line);
                return Err(fail(Error::input(message).at(name.at.clone())));
            }
            let needs = needs(&parsed.statement).map_err(&fail)?;
            declarations.insert(key, Declaration { path: &file.path, parsed, needs });
        }
    }
    Ok((declarations, comments))
}

/// The names that a declaration may refer to. Names of CTEs may be among them; they do no harm.
fn needs(statement: &Statement) -> Result<BTreeSet<Key>> {
    Ok(match statement {
        Statement::CreateSource(s) => BTreeSet::from([key_of(&s.into)]),
        Statement::CreateSink(s) => BTreeSet::from([key_of(&s.from), key_of(&s.into)]),
        Statement::CreateView(v) => tables(&v.query),
        Statement::CreateIndex(i) => BTreeSet::from([key_of(&i.on)]),
        _ => BTreeSet::new(),
    })
}

#[derive(Default)]
struct Tables(BTreeSet<Key>);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Ok(name) = name_of(relation) {
            self.0.insert(key_of(&name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        // The first argument of TUMBLE(orders, ...) is a table that looks like a column.
        let idents = match expr {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(idents) => idents.clone(),
            _ => return ControlFlow::Continue(()),
        };
        self.pre_visit_relation(&ObjectName::from(idents))
    }
}

fn tables(query: &Query) -> BTreeSet<Key> {
    let mut tables = Tables::default();
    let _ = query.visit(&mut tables);
    tables.0
}

/// The declarations, each after those it needs; otherwise as the files have them.
fn order(declarations: &BTreeMap<Key, Declaration<'_>>) -> Result<Vec<Key>> {
    let mut out: Vec<Key> = Vec::with_capacity(declarations.len());
    let mut done: BTreeSet<&Key> = BTreeSet::new();
    while out.len() < declarations.len() {
        let waits = |key: &Key, d: &Declaration<'_>| {
            d.needs.iter().any(|n| n != key && declarations.contains_key(n) && !done.contains(n))
        };
        let mut ready: Vec<&Key> =
            declarations.iter().filter(|(k, d)| !done.contains(k) && !waits(k, d)).map(|(k, _)| k).collect();
        // Indexes before the views that may use them.
        ready.sort_by_key(|k| !matches!(declarations[*k].parsed.statement, Statement::CreateIndex(_)));
        if ready.is_empty() {
            return break_circle(declarations, &done, out);
        }
        for key in ready {
            done.insert(key);
            out.push(key.clone());
        }
    }
    Ok(out)
}

/// Columns may have the names of views, so that `needs` says too much. What is left is taken as it stands if only column
/// names make the circle; a true circle is found when the first of it is bound.
fn break_circle(
    declarations: &BTreeMap<Key, Declaration<'_>>,
    done: &BTreeSet<&Key>,
    mut out: Vec<Key>,
) -> Result<Vec<Key>> {
    let relations = |d: &Declaration<'_>| -> BTreeSet<Key> {
        struct Only(BTreeSet<Key>);
        impl Visitor for Only {
            type Break = ();
            fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
                self.0.extend(name_of(relation).ok().map(|n| key_of(&n)));
                ControlFlow::Continue(())
            }
        }
        match &d.parsed.statement {
            Statement::CreateView(v) => {
                let mut only = Only(BTreeSet::new());
                let _ = v.query.visit(&mut only);
                only.0
            }
            _ => d.needs.clone(),
        }
    };
    let mut left: BTreeMap<&Key, BTreeSet<Key>> =
        declarations.iter().filter(|(k, _)| !done.contains(k)).map(|(k, d)| (k, relations(d))).collect();
    while !left.is_empty() {
        let ready: Vec<&Key> = left
            .iter()
            .filter(|(k, needs)| !needs.iter().any(|n| n != **k && left.contains_key(n)))
            .map(|(k, _)| *k)
            .collect();
        if ready.is_empty() {
            let names: Vec<&str> = left.keys().map(|(_, name)| name.as_str()).collect();
            let first = left.keys().next().and_then(|k| declarations.get(*k));
            let error = Error::input(format!("these need each other: {}", names.join(", ")));
            return Err(match first {
                Some(d) => in_file(d.path, Some(&d.parsed.at))(error),
                None => error,
            });
        }
        for key in ready {
            left.remove(key);
            out.push(key.clone());
        }
    }
    Ok(out)
}
