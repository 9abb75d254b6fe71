//! `EXPLAIN`: the plans, and the circuit that keeps a view current.

use chrono::DateTime;
use datafusion::common::ParamValues;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::Query;
use fleuve_batch::infix;
use fleuve_catalog::Object;
use fleuve_types::{Error, Keeps, Result};
use futures::StreamExt;

use super::handed::replaced_by;
use super::replaced::{Rebuilt, changed_options, name_of, with_state};
use super::show::{shown, text_rows};
use super::{Outcome, Session};
use crate::bind::{Declared, Draft, missing, statement_of};
use crate::errors::{Where, at_statement};
use crate::parse::{CreateView, ExplainMode, Name, Parsed, Statement, StreamChange};
use crate::{BoundObject, Change, Spec, StoppedView, ViewSpec, plan_view};

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

/// That a view stopped: since when, and why.
fn stopped_lines(stopped: &StoppedView) -> Vec<String> {
    let time = stopped.since_us.and_then(DateTime::from_timestamp_micros);
    let since = time.map_or_else(String::new, |time| format!("since {}; ", time.format("%Y-%m-%d %H:%M:%S%.3f UTC")));
    let answer = format!("{since}its answer is that of epoch {}", stopped.epoch);
    std::iter::once(answer).chain(stopped.reason.lines().map(str::to_string)).collect()
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
        let optimised = planned.state.optimize(&planned.plan).map_err(|e| at_statement(&e, place))?;
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
        let replaced = replaced_by(&draft.changes, &objects);
        let replaced = match replaced.is_empty() {
            true => vec![],
            false => self.backend.explain_replacements(&draft.objects, &replaced).await?,
        };
        let own = rebuilt.first().and_then(|first| replaced.iter().find(|r| r.view == first.object.id));
        let replaced = Rebuilt { views: &rebuilt, replaced: &replaced };
        let mut change = vec![with_state(what, &name, declared, own)];
        change.extend(rebuilt.iter().skip(1).map(|bound| replaced.below(bound, &objects)));
        section(&mut lines, "Change", change);
        if let Some(old) = objects.get(create.name.namespace(), &create.name.name)
            && let Statement::CreateView(before) = statement_of(&old.object)?.statement
        {
            let changed = changed_options(&before, create);
            if !changed.is_empty() {
                section(&mut lines, "Options", changed);
            }
        }
        for bound in &rebuilt {
            let Spec::View(view) = &bound.spec else { continue };
            let own = name_of(bound);
            let kept = replaced.of(bound);
            let is_kept = kept.is_some_and(|r| r.keeps == Keeps::All);
            let title = match kept.map(|r| &r.keeps) {
                Some(Keeps::All) => "Goes on as it is",
                Some(Keeps::AllUnlessRowsGo) => "Goes on as it is if no row goes of what it reads",
                _ => "Rebuilt",
            };
            let circuit = kept.map_or_else(|| self.circuit(view), |r| r.circuit.clone());
            section(&mut lines, &format!("{title}: {own}"), circuit);
            if let Some(Keeps::Some(kept)) = kept.map(|r| &r.keeps) {
                let read = format!("{} rows of state that is kept, and nothing of its inputs", kept.rows);
                section(&mut lines, &format!("Read for {own}"), [read]);
                continue;
            }
            if is_kept {
                continue;
            }
            let inputs = self.backend.inputs_to_read(view);
            let inputs = inputs.iter().map(|input| replaced.to_read(input));
            section(&mut lines, &format!("Read for {own}"), inputs);
        }
        let lacks = self.losses(&draft).await;
        if !lacks.is_empty() {
            section(&mut lines, "Missing afterwards", lacks);
        }
        if declared == Declared::Replaced {
            for (title, given) in replaced.handed(&objects, &draft.objects) {
                section(&mut lines, title, given);
            }
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
            return answer(self.running(&object.object, vec![]).await?);
        }
        let Spec::View(view) = &object.spec else {
            return Err(Error::input(format!(
                "\"{}\" is {}; EXPLAIN shows views, indexes and queries",
                name.name,
                object.object.kind.with_article()
            ))
            .at(name.at.clone()));
        };
        if mode.analyze {
            return answer(self.running(&object.object, vec![]).await?);
        }
        let mut lines = Vec::new();
        section(&mut lines, "Logical plan", plan_lines(&view.plan));
        let optimised = self.base().optimize(&view.plan).map_err(|e| at_statement(&e, place))?;
        section(&mut lines, "Optimised plan", plan_lines(&optimised));
        section(&mut lines, "Circuit", self.circuit(view));
        answer(self.running(&object.object, lines).await?)
    }

    /// Adds the circuit of a view or index as it runs, or as it was when that stopped.
    async fn running(&self, object: &Object, mut lines: Vec<String>) -> Result<Vec<String>> {
        let circuit = self.backend.explain_running(object.id).await?;
        let title = match self.backend.snapshot().stopped(&object.namespace, &object.name) {
            None => "Running",
            Some(stopped) => {
                let title = if stopped.by_input { "Stopped" } else { "Failed" };
                section(&mut lines, title, stopped_lines(&stopped));
                "Ran until then"
            }
        };
        section(&mut lines, title, circuit);
        Ok(lines)
    }
}
