//! `EXPLAIN ROW`: the rows of streams behind rows of a view.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use fleuve_types::{Error, Result};
use futures::StreamExt;

use super::{Outcome, Session};
use crate::bind::{at_time, missing, view_key};
use crate::errors::{Where, at_statement, of_datafusion};
use crate::lineage::{
    DEFAULT_SHOWN, Ground, Line, MAX_OUTPUT_ROWS, MAX_SHOWN, Reads, Scanned, Step, Tracer, Wanted, answer_schema,
    nearly, output_lines, renamed, to_batch,
};
use crate::parse::{ExplainRow, RowsOf, Statement};
use crate::{Spec, ViewSpec};

fn note(via: impl Into<String>) -> Line {
    Line { via: via.into(), ..Line::default() }
}

impl Session {
    pub(super) async fn explain_row(&self, asked: &ExplainRow, place: Where<'_>) -> Result<Outcome> {
        let objects = self.backend.objects();
        let name = &asked.view;
        let Some(object) = objects.get(name.namespace(), &name.name).cloned() else {
            return Err(missing(&objects, name, "view", |s| matches!(s, Spec::View(_))));
        };
        let Spec::View(view) = &object.spec else {
            let message = format!(
                "\"{}\" is {}; EXPLAIN ROW is about rows of views",
                name.name,
                object.object.kind.with_article()
            );
            return Err(Error::input(message).at(name.at.clone()));
        };
        let most = asked.limit.unwrap_or(DEFAULT_SHOWN);
        if most == 0 || most > MAX_SHOWN {
            return Err(Error::input(format!("LIMIT of EXPLAIN ROW is 1 to {MAX_SHOWN}")).at(place.at.clone()));
        }
        let planned = self.plan(&rows_query(asked, view)?, place).await?;
        let planned = at_time(planned.plan, self.clock.now_us()).map_err(|e| at_statement(&e, place))?;
        let snapshot = self.backend.snapshot();
        let has_stopped = self.backend.view_states().values().any(|s| matches!(s.state.as_str(), "failed" | "stopped"));
        let ground = Ground { context: self.context_at(snapshot.clone()), snapshot, objects, has_stopped };
        // Both were planned over a snapshot of their own; rows are read from one.
        let condition = condition_of(&planned);
        let table = ground.snapshot.table(name.namespace(), &name.name);
        let table = table.ok_or_else(|| Error::not_found(format!("\"{}\" is not ready yet", name.name)))?;
        let rows = rows_of(&ground, table, condition.clone()).await.map_err(|e| e.at(place.at.clone()))?;
        let all: usize = rows.iter().map(RecordBatch::num_rows).sum();
        let plan = Arc::new(ground.plan_of(view)?);
        let shown = name.name.clone();
        let scanned = Scanned { namespace: name.namespace().into(), name: name.name.clone(), bound: object.clone() };
        let mut tracer = Tracer::new(ground);
        let mut lines = vec![];
        if all == 0 {
            lines.push(note(format!("no such row is in {shown}")));
            lines.extend(self.not_there(&mut tracer, (&scanned, view, &plan), condition, most).await?);
        } else {
            let (own, tagged) = output_lines(&shown, &rows, MAX_OUTPUT_ROWS)?;
            let types: Vec<_> = view.schema.fields().iter().map(|f| f.data_type().clone()).collect();
            let wanted = Wanted::of(tagged, &types)?;
            tracer
                .trace(Step { plan, wanted, via: vec![], reads: Reads::of(view) })
                .await
                .map_err(hint_of_failing(view))?;
            let mut behind = tracer.lines(most).await?;
            for line in own {
                let number = line.row.unwrap_or_default() as u32;
                lines.push(line);
                match behind.remove(&number) {
                    Some(more) => lines.extend(more),
                    None => {
                        lines.push(Line { row: Some(i64::from(number)), ..note("no row of a stream is behind it") })
                    }
                }
            }
            if all > MAX_OUTPUT_ROWS {
                lines.push(note(format!("... {MAX_OUTPUT_ROWS} of at least {all} rows of {shown} are explained")));
            }
        }
        if let Some(state) = self.backend.view_states().get(&object.object.id).filter(|s| s.state != "running") {
            let text = format!(
                "{shown} is {}: rows that came since are not in its answer, but may be among these",
                state.state
            );
            lines.push(note(text));
        }
        let rows = to_batch(&lines)?;
        Ok(Outcome::Rows {
            schema: answer_schema(),
            rows: Box::pin(futures::stream::iter([Ok(rows)])),
            notices: vec![],
        })
    }

    /// Rows that would nearly have made it.
    async fn not_there(
        &self,
        tracer: &mut Tracer,
        (scanned, view, plan): (&Scanned, &ViewSpec, &Arc<LogicalPlan>),
        condition: Option<Expr>,
        most: usize,
    ) -> Result<Vec<Line>> {
        let Some(condition) = condition else { return Ok(vec![]) };
        // The condition names the view's columns; the plan has them at the same places.
        let condition = renamed(condition, &view.schema, plan)?;
        let wanted = Wanted::of(vec![], &[])?;
        let step = Step { plan: plan.clone(), wanted, via: vec![], reads: Reads::of(view) };
        let found = nearly(tracer, step, scanned, condition).await?;
        let reasons: Vec<String> = found.iter().map(|(why, _)| why.clone()).collect();
        for (why, step) in found {
            let via = vec![why].into_iter().chain(step.via.iter().cloned()).collect();
            tracer.trace(Step { via, ..step }).await?;
        }
        let lines = tracer.lines(most).await?.into_values().flatten();
        let lines: Vec<Line> = lines.map(|l| Line { row: None, ..l }).collect();
        Ok(if lines.is_empty() { reasons.into_iter().map(note).collect() } else { lines })
    }
}

/// What an expression that fails for some row of a view that skips such rows comes to.
fn hint_of_failing(view: &ViewSpec) -> impl Fn(Error) -> Error {
    let skips = view.on_error == crate::OnError::Skip;
    move |e| {
        if skips && e.kind == fleuve_types::ErrorKind::Input {
            return e.hint(
                "the view leaves out rows that an expression fails for; where that needs the value of a subquery, its rows cannot be traced",
            );
        }
        e
    }
}

/// `SELECT * FROM view WHERE ...`
fn rows_query(asked: &ExplainRow, view: &ViewSpec) -> Result<ast::Query> {
    let condition = match &asked.rows {
        RowsOf::Where(expr) => Some(expr.to_string()),
        RowsOf::Key(values) => {
            let at = |e: Error| e.at(asked.view.at.clone());
            let key = view_key(&view.plan).ok_or_else(|| {
                let error = Error::input(format!("\"{}\" has no key that is known", asked.view.name));
                at(error.hint(format!("say which row: EXPLAIN ROW {} WHERE column = value", asked.view)))
            })?;
            if key.len() != values.len() {
                let message = format!("the key of \"{}\" is ({})", asked.view.name, key.join(", "));
                return Err(at(Error::input(format!("{message}, and {} values are given", values.len()))));
            }
            let pairs = key.iter().zip(values);
            let pairs = pairs.map(|(k, v)| format!("{} IS NOT DISTINCT FROM ({v})", crate::parse::quoted(k)));
            Some(pairs.collect::<Vec<_>>().join(" AND "))
        }
        RowsOf::All => None,
    };
    let condition = condition.map_or_else(String::new, |c| format!(" WHERE {c}"));
    let text = format!("SELECT * FROM {}{condition}", asked.view);
    match crate::parse::parse_one(&text)?.statement {
        Statement::Query(query) => Ok(*query),
        _ => Err(Error::bug("a query that is none")),
    }
}

/// The condition of the query that was made of `EXPLAIN ROW`.
fn condition_of(plan: &LogicalPlan) -> Option<Expr> {
    match plan {
        LogicalPlan::Filter(filter) => Some(filter.predicate.clone()),
        LogicalPlan::Projection(p) => condition_of(&p.input),
        LogicalPlan::SubqueryAlias(a) => condition_of(&a.input),
        _ => None,
    }
}

/// The rows of a view that meet a condition; equal ones once.
async fn rows_of(ground: &Ground, table: Arc<dyn TableProvider>, condition: Option<Expr>) -> Result<Vec<RecordBatch>> {
    let names = table.schema();
    let scan = LogicalPlanBuilder::scan("__view", provider_as_source(table), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| of_datafusion(&e))?;
    let condition = condition.map(|c| renamed(c, &names, &scan)).transpose()?;
    let rows = LogicalPlanBuilder::from(scan);
    let plan = match condition {
        Some(condition) => rows.filter(condition),
        None => Ok(rows),
    };
    let plan = plan
        .and_then(LogicalPlanBuilder::distinct)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| of_datafusion(&e))?;
    let frame = ground.context.execute_logical_plan(plan).await.map_err(|e| of_datafusion(&e))?;
    let mut stream = frame.execute_stream().await.map_err(|e| of_datafusion(&e))?;
    let mut rows = vec![];
    while let Some(batch) = stream.next().await {
        rows.push(batch.map_err(|e| of_datafusion(&e))?);
        if rows.iter().map(RecordBatch::num_rows).sum::<usize>() > MAX_OUTPUT_ROWS {
            break;
        }
    }
    Ok(rows)
}
