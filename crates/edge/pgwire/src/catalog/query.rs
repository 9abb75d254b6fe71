//! The queries of psql, drivers and BI tools over `pg_catalog`. They use PostgreSQL's own operators, casts and collations,
//! so they go through the rewriter of `datafusion-pg-catalog` before DataFusion plans them.

use std::sync::OnceLock;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_pg_catalog::sql::parser::PostgresCompatibilityParser;
use fleuve_sql::{RowStream, Session};
use futures::StreamExt;

use super::PgCatalog;
use crate::error::{PgError, PgResult, Place, code};
use crate::sql::{TokenKind, tokens};

/// True for a query that reads `pg_catalog` or uses what only PostgreSQL's own clients write.
pub(crate) fn looks_like_catalog_query(sql: &str) -> bool {
    let mut words = tokens(sql).filter(|t| matches!(t.kind, TokenKind::Word | TokenKind::Quoted));
    let Some(first) = words.next() else { return false };
    if !["select", "with", "values"].iter().any(|w| first.is_word(w)) {
        return false;
    }
    words.any(|t| {
        let word = t.value();
        word.starts_with("pg_")
            || matches!(
                word.as_str(),
                "regclass"
                    | "regtype"
                    | "regproc"
                    | "regprocedure"
                    | "regnamespace"
                    | "regrole"
                    | "oid"
                    | "to_regtype"
                    | "to_regclass"
                    | "information_schema"
                    | "current_schema"
                    | "current_catalog"
                    | "current_user"
                    | "session_user"
                    | "obj_description"
                    | "col_description"
                    | "format_type"
                    | "set_config"
            )
    })
}

/// A catalog query, planned.
#[derive(Clone, Debug)]
pub(crate) struct CatalogQuery {
    statement: Box<Statement>,
    schema: SchemaRef,
    pub(crate) parameter_types: Vec<DataType>,
}

fn parser() -> &'static PostgresCompatibilityParser {
    static PARSER: OnceLock<PostgresCompatibilityParser> = OnceLock::new();
    PARSER.get_or_init(PostgresCompatibilityParser::new)
}

impl CatalogQuery {
    /// Plans a query; `None` if it is not understood as one, so that the platform's own parser can say why.
    pub(crate) async fn plan(
        catalog: &PgCatalog,
        session: &Session,
        sql: &str,
        declared: &[Option<DataType>],
    ) -> PgResult<Option<Self>> {
        let Ok(mut statements) = parser().parse(sql) else { return Ok(None) };
        if statements.len() != 1 || !matches!(statements[0], Statement::Query(_)) {
            return Ok(None);
        }
        let statement = Box::new(statements.remove(0));
        let context = context(catalog, session)?;
        let plan = plan(&context, &statement, &[]).await.map_err(|e| error(&e))?;
        let count = count_parameters(&plan).max(declared.len());
        let parameter_types: Vec<DataType> = if count == 0 {
            Vec::new()
        } else {
            let inferred = plan.get_parameter_types().unwrap_or_default();
            (0..count)
                .map(|i| {
                    let inferred = inferred.get(&format!("${}", i + 1)).cloned().flatten();
                    declared.get(i).cloned().flatten().or(inferred).unwrap_or(DataType::Utf8)
                })
                .collect()
        };
        let plan = match count {
            0 => plan,
            _ => self::plan(&context, &statement, &parameter_types).await.map_err(|e| error(&e))?,
        };
        let schema = std::sync::Arc::new(plan.schema().as_arrow().clone());
        Ok(Some(Self { statement, schema, parameter_types }))
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Runs the query on the newest state.
    pub(crate) async fn run(
        &self,
        catalog: &PgCatalog,
        session: &Session,
        parameters: ParamValues,
    ) -> PgResult<RowStream> {
        let context = context(catalog, session)?;
        let mut plan = plan(&context, &self.statement, &self.parameter_types).await.map_err(|e| error(&e))?;
        if !self.parameter_types.is_empty() {
            plan = plan.replace_params_with_values(&parameters).map_err(|e| error(&e))?;
        }
        let frame = context.execute_logical_plan(plan).await.map_err(|e| error(&e))?;
        let rows = frame.execute_stream().await.map_err(|e| error(&e))?;
        Ok(Box::pin(rows.map(|batch| batch.map_err(|e| fleuve_types::Error::input(message(&e))))))
    }
}

fn context(catalog: &PgCatalog, session: &Session) -> PgResult<SessionContext> {
    catalog.prepare_context(session.session_context()).map_err(|e| error(&e))
}

async fn plan(
    context: &SessionContext,
    statement: &Statement,
    parameter_types: &[DataType],
) -> Result<LogicalPlan, DataFusionError> {
    let state = context.state();
    let plain = DfStatement::Statement(Box::new(statement.clone()));
    let plan = state.statement_to_plan(plain).await;
    if parameter_types.is_empty() {
        return plan;
    }
    // Placeholders whose type nothing tells take the declared one.
    with_types(plan?, parameter_types)
}

/// Gives placeholders their types and brings the schemas above them up to date.
fn with_types(plan: LogicalPlan, types: &[DataType]) -> Result<LogicalPlan, DataFusionError> {
    let typed = plan.transform_up(|node| {
        let node = node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
                Expr::Placeholder(mut p) => {
                    let number: usize = p.id.trim_start_matches('$').parse().unwrap_or(0);
                    match number.checked_sub(1).and_then(|i| types.get(i)) {
                        Some(t) => {
                            p.field = Some(std::sync::Arc::new(Field::new("", t.clone(), true)));
                            Ok(datafusion::common::tree_node::Transformed::yes(Expr::Placeholder(p)))
                        }
                        None => Ok(datafusion::common::tree_node::Transformed::no(Expr::Placeholder(p))),
                    }
                }
                other => Ok(datafusion::common::tree_node::Transformed::no(other)),
            })
        })?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

fn count_parameters(plan: &LogicalPlan) -> usize {
    let mut highest = 0;
    // The closures cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        let _ = node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::Placeholder(p) = e {
                    highest = highest.max(p.id.trim_start_matches('$').parse().unwrap_or(0));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        });
        Ok(TreeNodeRecursion::Continue)
    });
    highest
}

fn message(e: &DataFusionError) -> String {
    e.find_root().strip_backtrace()
}

fn error(e: &DataFusionError) -> PgError {
    match e.find_root() {
        DataFusionError::NotImplemented(m) => PgError::error(code::FEATURE_NOT_SUPPORTED, m.clone()),
        other => PgError::from_fleuve(fleuve_types::Error::input(other.strip_backtrace()), &Place::nowhere()),
    }
}
