//! Binding queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, cast, col};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};
use fleuve_types::{Error, ErrorKind, Location, ObjectId, Result};

use super::again;
use crate::context::{ObjectCatalog, binding_state, single};
use crate::errors::{Where, at_statement, find_word, twice};
use crate::intervals::ordered;
use crate::options::{self, OptionOf};
use crate::parse::{self, CreateView, Name, OnError, Statement};
use crate::rewrite::{Of, Outline, Relations, Titles, rewrite, unique};
use crate::{DEFAULT_NAMESPACE, ENVIRONMENT, ObjectSet, SYSTEM_NAMESPACE, Spec, ViewLimits, ViewSpec};

/// Most columns of a view.
const MAX_COLUMNS: usize = 1000;

/// The streams and views of a set, as `FROM` sees them.
impl Relations for ObjectSet {
    fn find(&self, namespace: &str, name: &str) -> Option<bool> {
        match self.get(namespace, name)?.spec {
            Spec::Stream(_) => Some(true),
            Spec::View(_) => Some(false),
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
        }
    }

    fn columns(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        let schema = match &self.get(namespace, name)?.spec {
            Spec::Stream(stream) => &stream.schema,
            Spec::View(view) => &view.schema,
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => return None,
        };
        Some(schema.fields().iter().map(|f| f.name().clone()).collect())
    }

    fn time_column(&self, namespace: &str, name: &str) -> Option<String> {
        match &self.get(namespace, name)?.spec {
            Spec::Stream(stream) => stream.watermark.as_ref().map(|w| w.column.clone()),
            Spec::View(_) | Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
        }
    }

    fn names(&self) -> Vec<(String, String)> {
        let readable = |spec: &Spec| matches!(spec, Spec::Stream(_) | Spec::View(_));
        self.by_name.iter().filter(|(_, o)| readable(&o.spec)).map(|(k, _)| k.clone()).collect()
    }

    fn refusal(&self, name: &Name) -> Option<Error> {
        let namespace = name.namespace();
        if matches!(namespace, SYSTEM_NAMESPACE | "information_schema" | "pg_catalog") {
            return Some(
                Error::unsupported(format!("a view cannot read the system table {namespace}.{}", name.name))
                    .hint("views read streams and views; system tables are for queries"),
            );
        }
        if let Some(unusable) = self.unusable(namespace, &name.name) {
            return Some(unusable.refusal());
        }
        let object = self.get(namespace, &name.name)?;
        Some(Error::input(format!("\"{}\" is {}, which cannot be read", name.name, object.object.kind.with_article())))
    }
}

/// Binds a query as a view would be: resolved, analysed, deterministic, with unique column names.
///
/// # Errors
/// Syntax, names, types, functions that are not deterministic; with their place in `query`.
pub fn plan_view(objects: &ObjectSet, query: &str) -> Result<ViewSpec> {
    let parsed = parse::parse_one(query)?;
    let place = Where { text: &parsed.text, at: &parsed.at };
    match parsed.statement {
        Statement::Query(q) => plan_query(objects, (&q, query), &[], place, parsed.edition),
        Statement::CreateView(view) => bind_view(objects, &view, place, parsed.edition),
        _ => Err(Error::input("a view is a SELECT").at(parsed.at.clone())),
    }
}

/// Binds `CREATE MATERIALIZED VIEW`, by the rules of an edition.
pub(crate) fn bind_view(objects: &ObjectSet, view: &CreateView, place: Where<'_>, edition: u32) -> Result<ViewSpec> {
    let options = options::check(OptionOf::View, None, &view.options)?;
    let bytes = |key| options.size_bytes(key).and_then(|bytes| u64::try_from(bytes).ok());
    let limits = ViewLimits { memory_bytes: bytes("memory_bytes"), state_bytes: bytes("state_bytes") };
    let spec = plan_query(objects, (&view.query, &view.query_text), &view.columns, place, edition)?;
    Ok(ViewSpec { emit_on_close: view.emit_on_close, on_error: view.on_error, limits, ..spec })
}

fn plan_query(
    objects: &ObjectSet,
    (query, text): (&Query, &str),
    columns: &[(String, Location)],
    place: Where<'_>,
    edition: u32,
) -> Result<ViewSpec> {
    let located = |e: Error| if e.location.is_some() { e } else { e.at(place.at.clone()) };
    let mut state = binding_state(edition);
    state.register_catalog_list(single(Arc::new(ObjectCatalog::new(objects))));
    let mut query = query.clone();
    let outline = if edition > 0 && columns.is_empty() { Outline::of(&query) } else { None };
    let mut titles = if edition > 0 || !columns.is_empty() { unique(&mut query.body, edition) } else { Titles::new() };
    titles.extend(rewrite(&mut query, objects, edition, Of::View).map_err(located)?);
    let plan = at_once(to_plan(&state, query)).map_err(|e| at_statement(&e, place))?;
    refuse_parameters(&plan).map_err(located)?;
    refuse_volatile(&plan, place)?;
    let plan = if edition < 2 { plan } else { ordered(plan).map_err(|e| at_statement(&e, place))? };
    let own = Outline::names_of(outline, plan.schema(), &titles);
    let plan = output(plan, columns, own, place)?;
    let plan = state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .map_err(|e| at_statement(&e, place))?;
    // What cannot be run at all is refused now, not when the view starts.
    at_once(state.create_physical_plan(&plan)).map_err(|e| at_statement(&e, place))?;
    let schema = Arc::new(Schema::new(plan.schema().fields().iter().map(plain_field).collect::<Vec<_>>()));
    refuse_maps(&schema).map_err(located)?;
    let inputs = inputs(&plan, objects)?;
    let (emit_on_close, on_error, limits) = (false, OnError::Stop, ViewLimits::default());
    Ok(ViewSpec { query: text.to_string(), plan, schema, inputs, emit_on_close, on_error, limits })
}

/// Runs a future of the planner that has nothing to wait for, as the tables of a binding are in memory.
///
/// Without tokio's budget: where that is used up, tokio's own parts wait for the runtime to go on, and here it cannot.
pub(crate) fn at_once<T>(planning: impl Future<Output = T>) -> T {
    futures::executor::block_on(tokio::task::unconstrained(planning))
}

/// Plans a query that was rewritten.
pub(crate) async fn to_plan(state: &SessionState, query: Query) -> datafusion::error::Result<LogicalPlan> {
    let plan = planned(state, query).await?;
    let plan = super::as_of::joined(super::quantified::with_own_names(plan)?)?;
    crate::literals::counted(super::spans::compared(super::copies::counted(plan)?)?)
}

/// Plans a query, in another spelling where that is what DataFusion wants.
async fn planned(state: &SessionState, mut query: Query) -> datafusion::error::Result<LogicalPlan> {
    let mut tries = 0;
    loop {
        let statement = SqlStatement::Query(Box::new(query.clone()));
        match state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await {
            Ok(plan) if tries < again::MAX_TRIES && again::parted(&mut query, &plan)? => tries += 1,
            Err(error) if tries < again::MAX_TRIES && again::respelled(&mut query, &error) => tries += 1,
            planned => return planned,
        }
    }
}

fn plain_field(field: &Arc<Field>) -> Field {
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
}

fn refuse_parameters(plan: &LogicalPlan) -> Result<()> {
    let parameters = plan.get_parameter_names().map_err(|e| crate::errors::of_datafusion(&e))?;
    match parameters.into_iter().next() {
        Some(first) => Err(Error::input(format!("a view has no parameters, and {first} is one"))),
        None => Ok(()),
    }
}

/// There is no way to keep maps.
fn refuse_maps(schema: &Schema) -> Result<()> {
    let is_map = |f: &&Arc<Field>| matches!(f.data_type(), DataType::Map(..));
    match schema.fields().iter().find(is_map) {
        Some(field) => {
            Err(Error::unsupported(format!("column \"{}\" is a MAP, which a view cannot keep", field.name()))
                .hint("take its values, m['key'], or two arrays in its place"))
        }
        None => Ok(()),
    }
}

/// Functions that give something else each time make a view that nobody could compute again. A condition may compare with the time:
/// the engine, which says what it can follow, knows when that changes.
fn refuse_volatile(plan: &LogicalPlan, place: Where<'_>) -> Result<()> {
    const CLOCKS: &[&str] = &["now", "current_timestamp", "current_date", "current_time", "today", "localtimestamp"];
    const FOLLOWED: &[&str] = &["now", "current_date"];
    let mut found: Option<String> = None;
    plan.apply_with_subqueries(|node| {
        let in_condition = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::ScalarFunction(f) = e {
                    let name = f.func.name();
                    if in_condition && FOLLOWED.contains(&name) {
                        return Ok(TreeNodeRecursion::Continue);
                    }
                    if f.func.signature().volatility == Volatility::Volatile || CLOCKS.contains(&name) {
                        found = Some(name.to_string());
                        return Ok(TreeNodeRecursion::Stop);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|e| at_statement(&e, place))?;
    let Some(name) = found else { return Ok(()) };
    let is_clock = CLOCKS.contains(&name.as_str());
    let spellings: &[&str] = if is_clock { CLOCKS } else { &[] };
    let at = std::iter::once(name.as_str())
        .chain(spellings.iter().copied())
        .find_map(|word| find_word(word, place))
        .unwrap_or_else(|| place.at.clone());
    let hint = if is_clock {
        "only a condition may compare with it: WHERE ts > now() - INTERVAL '1 hour'; else use the event time of a stream, or now() when you query the view"
    } else {
        "a view's answer depends on its input alone, so that it can be computed again; use it when you query the view"
    };
    Err(Error::unsupported(format!("{name}() gives another value each time, so a view cannot use it"))
        .at(at)
        .hint(hint))
}

/// The output columns: with the names that the statement says, or else their own; unique, and of types that can be kept.
fn output(
    plan: LogicalPlan,
    columns: &[(String, Location)],
    own: Vec<String>,
    place: Where<'_>,
) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    if schema.fields().is_empty() {
        return Err(Error::input("a view has at least one column").at(place.at.clone()));
    }
    if schema.fields().len() > MAX_COLUMNS {
        let message = format!("the view would have {} columns; at most {MAX_COLUMNS}", schema.fields().len());
        return Err(Error::new(ErrorKind::Limit, message).at(place.at.clone()));
    }
    if !columns.is_empty() && columns.len() != schema.fields().len() {
        let at = columns[0].1.clone();
        return Err(Error::input(format!(
            "{} column names are given, and the query has {} columns",
            columns.len(),
            schema.fields().len()
        ))
        .at(at));
    }
    let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
    for (i, own) in own.into_iter().enumerate() {
        let name = columns.get(i).map_or(own, |(name, _)| name.clone());
        if names.contains(&name) {
            let at = columns
                .get(i)
                .map_or_else(|| find_word(&name, place).unwrap_or_else(|| place.at.clone()), |(_, at)| at.clone());
            return Err(twice(&name).at(at));
        }
        names.push(name);
    }
    let mut changed = false;
    let exprs: Vec<Expr> = schema
        .columns()
        .into_iter()
        .zip(schema.fields())
        .zip(&names)
        .map(|((column, field), name)| {
            let mut expr = Expr::Column(column);
            if let Some(kept) = kept_type(field.data_type()) {
                changed = true;
                expr = cast(expr, kept);
            } else if name == field.name() {
                return expr;
            }
            changed = true;
            expr.alias(name)
        })
        .collect();
    if !changed {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| at_statement(&e, place))
}

/// The type that a view keeps instead of one that has more than one layout in memory, or none.
fn kept_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Dictionary(_, value) => Some(kept_type(value).unwrap_or_else(|| value.as_ref().clone())),
        _ => None,
    }
}

/// The objects behind the scans of a plan, subqueries included.
fn inputs(plan: &LogicalPlan, objects: &ObjectSet) -> Result<BTreeMap<(String, String), ObjectId>> {
    let mut out = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.catalog() == Some(ENVIRONMENT)
        {
            let namespace = scan.table_name.schema().unwrap_or(DEFAULT_NAMESPACE);
            if let Some(object) = objects.get(namespace, scan.table_name.table()) {
                out.insert((namespace.to_string(), scan.table_name.table().to_string()), object.object.id);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|e| crate::errors::of_datafusion(&e))?;
    Ok(out)
}

/// A column by its exact name.
pub(crate) fn exact(name: &str) -> Expr {
    col(datafusion::common::Column::new_unqualified(name))
}
