//! Queries: planned over one snapshot, run as a stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Query;
use fleuve_types::{Error, PSEUDO_COLUMNS, Result};
use futures::{FutureExt, StreamExt};

use super::crash::guarded_rows;
use super::show::shown;
use super::{Outcome, Session};
use crate::bind::{at_time, to_plan};
use crate::context::ExtraSchemas;
use crate::errors::{Where, at_statement, of_datafusion};
use crate::parse::{EDITION, quoted};
use crate::rewrite::{Of, Outline, Relations, rewrite, unique};
use crate::{DEFAULT_NAMESPACE, ENVIRONMENT, ObjectSet, Snapshot, Spec};

/// Most notices of one statement.
const MAX_NOTICES: usize = 16;

/// The tables of `information_schema`, which DataFusion makes.
const INFORMATION_SCHEMA: &[&str] =
    &["tables", "views", "columns", "df_settings", "schemata", "routines", "parameters"];

/// What a query can read: a snapshot, and what extensions registered.
struct Readable {
    snapshot: Arc<dyn Snapshot>,
    objects: Arc<ObjectSet>,
    extra: ExtraSchemas,
}

impl Relations for Readable {
    fn find(&self, namespace: &str, name: &str) -> Option<bool> {
        if namespace == "information_schema" {
            return INFORMATION_SCHEMA.contains(&name).then_some(false);
        }
        if let Some(schema) = self.extra.read().get(namespace) {
            return schema.table_exist(name).then_some(false);
        }
        let table = self.snapshot.table(namespace, name)?;
        let is_view = self.objects.get(namespace, name).is_some_and(|o| matches!(o.spec, Spec::View(_)));
        Some(!is_view && ends_with_pseudo_columns(&table.schema()))
    }

    fn columns(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        if namespace == "information_schema" {
            return None;
        }
        let extra = self.extra.read().get(namespace).cloned();
        let table = match extra {
            // What has to wait for its tables does without.
            Some(schema) => schema.table(name).now_or_never()?.ok()??,
            None => self.snapshot.table(namespace, name)?,
        };
        let has_pseudo = self.find(namespace, name)?;
        let schema = table.schema();
        let names = schema.fields().iter().map(|f| f.name().clone());
        Some(names.filter(|n| !has_pseudo || !fleuve_types::is_pseudo_column(n)).collect())
    }

    fn time_column(&self, namespace: &str, name: &str) -> Option<String> {
        self.objects.time_column(namespace, name)
    }

    fn names(&self) -> Vec<(String, String)> {
        let of = |namespace: &String| -> Vec<(String, String)> {
            self.snapshot.names(namespace).into_iter().map(|n| (namespace.clone(), n)).collect()
        };
        self.snapshot.namespaces().iter().flat_map(of).collect()
    }

    fn refusal(&self, name: &crate::parse::Name) -> Option<Error> {
        if let Some(unusable) = self.objects.unusable(name.namespace(), &name.name) {
            return Some(unusable.refusal());
        }
        let object = self.objects.get(name.namespace(), &name.name)?;
        match object.spec {
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => {
                let is = object.object.kind.with_article();
                Some(Error::input(format!("\"{}\" is {is}, which cannot be read", name.name)))
            }
            Spec::Stream(_) | Spec::View(_) => {
                Some(Error::new(fleuve_types::ErrorKind::Retry, format!("\"{}\" is not ready yet", name.name)))
            }
        }
    }
}

fn ends_with_pseudo_columns(schema: &Schema) -> bool {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.ends_with(&PSEUDO_COLUMNS)
}

/// A query planned over a snapshot.
pub(super) struct Planned {
    /// It is planned in, and runs in.
    pub(super) state: SessionState,
    pub(super) plan: LogicalPlan,
    /// What the user should know about the answer.
    pub(super) notices: Vec<String>,
    /// What the columns of the answer are called.
    pub(super) names: Vec<String>,
}

impl Planned {
    /// The columns of the answer.
    pub(super) fn schema(&self) -> SchemaRef {
        named(&Arc::new(self.plan.schema().as_arrow().clone()), &self.names)
    }

    /// The columns of the answer with the types that they come to, which the plan does not tell yet.
    pub(super) fn settled_schema(&self) -> SchemaRef {
        let state = &self.state;
        match state.analyzer().execute_and_check(self.plan.clone(), state.config_options(), |_, _| {}) {
            Ok(plan) => named(&Arc::new(plan.schema().as_arrow().clone()), &self.names),
            // Parameters may have no type yet.
            Err(_) => self.schema(),
        }
    }

    /// The types of `$1`, `$2`, ... as far as the plan says.
    pub(super) fn parameter_types(&self, count: usize) -> Result<Vec<Option<DataType>>> {
        let types = self.plan.get_parameter_types().map_err(|e| of_datafusion(&e))?;
        Ok((1..=count).map(|i| types.get(&format!("${i}")).cloned().flatten()).collect())
    }

    pub(super) fn with_parameters(self, parameters: Option<ParamValues>, place: Where<'_>) -> Result<Self> {
        let Some(parameters) = parameters else { return Ok(self) };
        let plan = self.plan.with_param_values(parameters).map_err(|e| at_statement(&e, place))?;
        Ok(Self { plan, ..self })
    }

    /// Starts it. Nothing is computed before the rows are asked for.
    pub(super) async fn rows(self, place: Where<'_>) -> Result<Outcome> {
        let frame = DataFrame::new(self.state, self.plan);
        let stream = frame.execute_stream().await.map_err(|e| at_statement(&e, place))?;
        let planned = stream.schema();
        let schema = named(&planned, &self.names);
        let shown = schema.clone();
        let rows = stream.map(move |batch| {
            let batch = batch.map_err(|e| of_datafusion(&e))?;
            if Arc::ptr_eq(&shown, &planned) {
                return Ok(batch);
            }
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(shown.clone(), batch.columns().to_vec(), &rows)
                .map_err(|e| of_datafusion(&e.into()))
        });
        Ok(Outcome::Rows { schema, rows: Box::pin(guarded_rows(rows)), notices: self.notices })
    }
}

/// The columns with the names that they are to be shown with, which may repeat.
fn named(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter();
    if fields.len() != names.len() || fields.clone().zip(names).all(|(field, name)| field.name() == name) {
        return schema.clone();
    }
    let field = |(field, name): (&FieldRef, &String)| {
        // What was planned and what runs may tell differently about NULLs.
        Arc::new(field.as_ref().clone().with_name(name).with_nullable(true))
    };
    Arc::new(Schema::new_with_metadata(fields.zip(names).map(field).collect::<Vec<_>>(), schema.metadata().clone()))
}

impl Session {
    /// Plans a query over the newest snapshot.
    pub(super) async fn plan(&self, query: &Query, place: Where<'_>) -> Result<Planned> {
        let snapshot = self.backend.snapshot();
        let (state, time_us) = (self.state_at(snapshot.clone()), snapshot.time_us());
        let readable =
            Readable { snapshot: snapshot.clone(), objects: self.backend.objects(), extra: self.extra.clone() };
        let mut query = query.clone();
        let outline = Outline::of(&query);
        let mut titles = unique(&mut query.body, EDITION);
        titles.extend(rewrite(&mut query, &readable, EDITION, Of::Answer).map_err(|e| match e.location {
            Some(_) => e,
            None => e.at(place.at.clone()),
        })?);
        let planned = to_plan(&state, query).await.and_then(crate::intervals::ordered);
        let mut plan = planned.map_err(|e| at_statement(&e, place))?;
        if self.settings.get("query_time").is_some_and(|t| t.eq_ignore_ascii_case("epoch")) {
            plan = at_time(plan, time_us).map_err(|e| at_statement(&e, place))?;
        }
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|e| at_statement(&e, place))?;
        let notices = stopped(&plan, snapshot.as_ref()).map_err(|e| at_statement(&e, place))?;
        let names = Outline::names_of(outline, plan.schema(), &titles);
        Ok(Planned { state, plan, notices, names })
    }
}

/// What to say about the views of a plan whose answers are old; a view that reads one that stopped has stopped, too.
fn stopped(plan: &LogicalPlan, snapshot: &dyn Snapshot) -> datafusion::common::Result<Vec<String>> {
    let mut read = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.catalog().is_none_or(|c| c == ENVIRONMENT)
        {
            let namespace = scan.table_name.schema().unwrap_or(DEFAULT_NAMESPACE);
            read.insert((namespace.to_string(), scan.table_name.table().to_string()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let notice = |(namespace, name): (String, String)| {
        let view = snapshot.stopped(&namespace, &name)?;
        let then = match view.by_input {
            true => "it goes on when that view does".to_string(),
            false => {
                format!("ALTER MATERIALIZED VIEW {} RESUME builds it anew", shown(&quoted(&namespace), &quoted(&name)))
            }
        };
        let name = shown(&namespace, &name);
        Some(format!(
            "view \"{name}\" stopped, and its answer is that of epoch {}: {}; {then}",
            view.epoch, view.reason
        ))
    };
    Ok(read.into_iter().filter_map(notice).take(MAX_NOTICES).collect())
}
