//! `EXPLAIN`: the plans, and the circuit that keeps a view current.

use datafusion::common::ParamValues;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::Query;
use fleuve_types::{Error, Keeps, KeptState, Replacement, Result};
use futures::StreamExt;

use super::show::{shown, text_rows};
use super::{Outcome, Session};
use crate::bind::{Declared, Draft, missing};
use crate::checked::infix;
use crate::errors::{Where, at_statement};
use crate::parse::{CreateView, ExplainMode, Name, Parsed, Statement, StreamChange};
use crate::{BoundObject, Change, Spec, ViewSpec, plan_view};

/// PostgreSQL's name for the one column.
pub(super) const EXPLAIN_COLUMNS: [&str; 1] = ["QUERY PLAN"];

fn section(out: &mut Vec<String>, title: &str, lines: impl IntoIterator<Item = String>) {
    if !out.is_empty() {
        out.push(String::new());
    }
    out.push(title.to_string());
    out.extend(lines.into_iter().map(|l| format!("  {l}")));
}

fn plan_lines(plan: &LogicalPlan) -> Vec<String> {
    plan.display_indent().to_string().lines().map(str::to_string).collect()
}

fn answer(lines: Vec<String>) -> Result<Outcome> {
    text_rows(&EXPLAIN_COLUMNS, lines.into_iter().map(|l| vec![Some(infix(&l))]).collect())
}

/// The views that a list of changes makes or makes anew, in order.
fn created(changes: &[Change]) -> Vec<BoundObject> {
    let view = |change: &Change| match change {
        Change::Create(b) | Change::Replace(b) if matches!(b.spec, Spec::View(_)) => Some(b.clone()),
        _ => None,
    };
    changes.iter().filter_map(view).collect()
}

/// What becomes of a view, with what becomes of its state.
fn with_state(what: String, name: &str, declared: Declared, replaced: Option<&Replacement>) -> String {
    if declared != Declared::Replaced {
        return what;
    }
    match replaced.map(|r| &r.keeps) {
        Some(Keeps::All) => {
            format!("{name} goes on as it is: its operators stay the same. All state is kept, nothing is read.")
        }
        Some(Keeps::Some(KeptState { state_rows, state_bytes, .. })) => {
            format!("{what} {state_rows} rows of state are kept, {state_bytes} bytes.")
        }
        Some(Keeps::None(why)) => format!("{what} No state is kept: {why}."),
        None => format!("{what} No state is kept."),
    }
}

impl Session {
    pub(super) async fn explain_query(
        &self,
        (mode, on_close): (ExplainMode, bool),
        query: &Query,
        parameters: Option<ParamValues>,
        place: Where<'_>,
    ) -> Result<Outcome> {
        let planned = self.plan(query, place).await?.with_parameters(parameters, place)?;
        let mut lines = Vec::new();
        if mode.analyze || mode.verbose {
            let explained = LogicalPlanBuilder::from(planned.plan.clone())
                .explain(mode.verbose, mode.analyze)
                .and_then(LogicalPlanBuilder::build)
                .map_err(|e| at_statement(&e, place))?;
            let planned = super::query::Planned { plan: explained, ..planned };
            let Outcome::Rows { mut rows, .. } = planned.rows(place).await? else {
                return Err(Error::bug("EXPLAIN gave no rows"));
            };
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                for row in 0..batch.num_rows() {
                    let cell = |i: usize| {
                        arrow::util::display::array_value_to_string(batch.column(i), row).unwrap_or_default()
                    };
                    section(&mut lines, &cell(0), cell(1).lines().map(str::to_string));
                }
            }
            return answer(lines);
        }
        section(&mut lines, "Logical plan", plan_lines(&planned.plan));
        let optimised = planned.context.state().optimize(&planned.plan).map_err(|e| at_statement(&e, place))?;
        section(&mut lines, "Optimised plan", plan_lines(&optimised));
        match plan_view(&self.backend.objects(), &query.to_string()) {
            Ok(view) => {
                let view = ViewSpec { emit_on_close: on_close, ..view };
                section(&mut lines, "Circuit", self.circuit(&view));
            }
            Err(e) => section(&mut lines, "Circuit", [format!("none, as it cannot be a view: {}", e.message)]),
        }
        answer(lines)
    }

    fn circuit(&self, view: &ViewSpec) -> Vec<String> {
        match self.backend.explain_circuit(view) {
            Ok(lines) => lines,
            Err(e) => vec![format!("none: {}", e.message)],
        }
    }

    /// What `CREATE OR REPLACE` of a view would do, without doing it.
    pub(super) async fn explain_replace(&self, create: &CreateView, parsed: &Parsed) -> Result<Outcome> {
        let objects = self.backend.objects();
        let declaration = Parsed { statement: Statement::CreateView(create.clone()), ..parsed.clone() };
        let mut draft = Draft::new(&objects, self.clock.clone());
        let declared = draft.declare(&declaration)?;
        let name = shown(create.name.namespace(), &create.name.name);
        let mut lines = Vec::new();
        let (what, rebuilt): (String, Vec<BoundObject>) = match declared {
            Declared::Unchanged | Declared::Restated => (
                format!("{name} goes on as it is: the query is the same plan. All state is kept, nothing is read."),
                vec![],
            ),
            Declared::Created => (format!("{name} is a new view."), created(&draft.changes)),
            Declared::Replaced => {
                let what = format!(
                    "{name} is built anew beside the running view, which is shown until then, and takes its place at one epoch."
                );
                (what, created(&draft.changes))
            }
        };
        let runs = |b: &&BoundObject| objects.by_id(b.object.id).is_some();
        let replaced: Vec<BoundObject> = rebuilt.iter().filter(runs).cloned().collect();
        let replaced = match replaced.is_empty() {
            true => vec![],
            false => self.backend.explain_replacements(&draft.objects, &replaced).await?,
        };
        let own = rebuilt.first().and_then(|first| replaced.iter().find(|r| r.view == first.object.id));
        section(&mut lines, "Change", [with_state(what, &name, declared, own)]);
        for bound in &rebuilt {
            let Spec::View(view) = &bound.spec else { continue };
            let own = shown(&bound.object.namespace, &bound.object.name);
            let replaced = replaced.iter().find(|r| r.view == bound.object.id);
            let is_kept = replaced.is_some_and(|r| r.keeps == Keeps::All);
            let title = if is_kept { "Goes on as it is" } else { "Rebuilt" };
            let circuit = replaced.map_or_else(|| self.circuit(view), |r| r.circuit.clone());
            section(&mut lines, &format!("{title}: {own}"), circuit);
            if let Some(Keeps::Some(kept)) = replaced.map(|r| &r.keeps) {
                let read = format!("{} rows of state that is kept, and nothing of its inputs", kept.rows);
                section(&mut lines, &format!("Read for {own}"), [read]);
                continue;
            }
            if is_kept {
                continue;
            }
            let inputs = self.backend.inputs_to_read(view).into_iter().map(|input| match input.bytes {
                Some(bytes) => format!("{}: {} records, {bytes} bytes of the log", input.name, input.rows),
                None => format!("{}: {} rows of a view", input.name, input.rows),
            });
            section(&mut lines, &format!("Read for {own}"), inputs);
        }
        let sinks = draft.objects.by_name.values().filter(|o| match &o.spec {
            Spec::Sink(sink) => {
                rebuilt.iter().any(|b| b.object.id == sink.from) && objects.by_id(o.object.id).is_some()
            }
            _ => false,
        });
        let sinks: Vec<String> =
            sinks.map(|o| format!("sink {}", shown(&o.object.namespace, &o.object.name))).collect();
        if declared == Declared::Replaced {
            let views = rebuilt.iter().skip(1).filter(|b| matches!(b.spec, Spec::View(_)));
            let views = views.map(|b| format!("view {}", shown(&b.object.namespace, &b.object.name)));
            let mut given: Vec<String> = views.chain(sinks).collect();
            given.push("subscribers".into());
            section(&mut lines, "Given the difference between the old and the new answer", given);
        }
        answer(lines)
    }

    /// What `ALTER STREAM` would do, without doing it.
    pub(super) fn explain_alter(&self, name: &Name, changes: &[StreamChange]) -> Result<Outcome> {
        let mut draft = Draft::new(&self.backend.objects(), self.clock.clone());
        let altered = draft.alter_stream(name, changes)?;
        let mut lines = Vec::new();
        section(&mut lines, &format!("Columns of {}", shown(name.namespace(), &name.name)), altered.columns);
        let goes_on = altered.goes_on.into_iter().map(|(object, text)| {
            let own = format!("{} {}", object.kind, shown(&object.namespace, &object.name));
            match text {
                Some(text) => format!("{own}, from now on as {text}"),
                None => own,
            }
        });
        let goes_on: Vec<String> = goes_on.collect();
        if !goes_on.is_empty() {
            section(&mut lines, "Goes on with all its state", goes_on);
        }
        section(&mut lines, "Rebuilt", ["nothing; nothing is read again".to_string()]);
        answer(lines)
    }

    /// With `ANALYZE` what the running operators have done and hold, else also how the view came to have them.
    pub(super) async fn explain_view(&self, mode: ExplainMode, name: &Name, place: Where<'_>) -> Result<Outcome> {
        let objects = self.backend.objects();
        let Some(object) = objects.get(name.namespace(), &name.name) else {
            return Err(missing(&objects, name, "view", |s| matches!(s, Spec::View(_))));
        };
        if let Spec::Index(_) = &object.spec {
            let mut lines = Vec::new();
            section(&mut lines, "Running", self.backend.explain_running(object.object.id).await?);
            return answer(lines);
        }
        let Spec::View(view) = &object.spec else {
            return Err(Error::input(format!(
                "\"{}\" is {}; EXPLAIN shows views, indexes and queries",
                name.name,
                object.object.kind.with_article()
            ))
            .at(name.at.clone()));
        };
        let mut lines = Vec::new();
        if mode.analyze {
            section(&mut lines, "Running", self.backend.explain_running(object.object.id).await?);
            return answer(lines);
        }
        section(&mut lines, "Logical plan", plan_lines(&view.plan));
        let optimised = self.base().optimize(&view.plan).map_err(|e| at_statement(&e, place))?;
        section(&mut lines, "Optimised plan", plan_lines(&optimised));
        section(&mut lines, "Circuit", self.circuit(view));
        section(&mut lines, "Running", self.backend.explain_running(object.object.id).await?);
        answer(lines)
    }
}
