//! The queries of psql, drivers and BI tools over `pg_catalog`. They use PostgreSQL's own operators, casts and collations,
//! so they go through the rewriter of `datafusion-pg-catalog` before DataFusion plans them.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement, visit_relations};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use fleuve_sql::{RowStream, Session};
use futures::StreamExt;

use super::PgCatalog;
use super::rewrite::{column_names, finds_nothing, rewrite};
use crate::error::{PgError, PgResult, Place, code};
use crate::placeholders;
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
    /// `None` for a query that cannot find anything and could not be planned.
    query: Option<Box<Query>>,
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
        if statements.len() != 1 {
            return Ok(None);
        }
        let Statement::Query(mut query) = statements.remove(0) else { return Ok(None) };
        if reads_no_catalog(&query) {
            return Ok(None);
        }
        let context = context(catalog, session)?;
        // Counted before the rewriting, which may leave some out.
        let count = placeholders::highest(&query);
        if count > placeholders::MAX_PARAMETERS {
            return Ok(None);
        }
        let mut types = declared.to_vec();
        placeholders::take_cast_types(&query, &mut types);
        rewrite(&mut query);
        if count > 0 {
            types.resize(count, None);
            if types.contains(&None) {
                let open = plan(&context, &query).await;
                let inferred = open.and_then(|p| p.get_parameter_types()).unwrap_or_default();
                for (i, t) in types.iter_mut().enumerate().filter(|(_, t)| t.is_none()) {
                    *t = inferred.get(&format!("${}", i + 1)).cloned().flatten();
                }
            }
        }
        let parameter_types: Vec<DataType> =
            types.into_iter().take(count).map(|t| t.unwrap_or(DataType::Utf8)).collect();
        let known: Vec<Option<DataType>> = parameter_types.iter().cloned().map(Some).collect();
        placeholders::cast_all(&mut query, &known);
        match plan(&context, &query).await {
            Ok(planned) => {
                let schema = Arc::new(planned.schema().as_arrow().clone());
                Ok(Some(Self { query: Some(query), schema, parameter_types }))
            }
            Err(e) => match column_names(&query).filter(|_| finds_nothing(&query)) {
                Some(names) => {
                    let fields: Vec<Field> = names.iter().map(|n| Field::new(n, DataType::Utf8, true)).collect();
                    Ok(Some(Self { query: None, schema: Arc::new(Schema::new(fields)), parameter_types }))
                }
                None => Err(error(&e)),
            },
        }
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
        let Some(query) = &self.query else { return Ok(Box::pin(futures::stream::empty())) };
        let context = context(catalog, session)?;
        let mut plan = plan(&context, query).await.map_err(|e| error(&e))?;
        if !self.parameter_types.is_empty() {
            plan = plan.with_param_values(parameters).map_err(|e| error(&e))?;
        }
        let frame = context.execute_logical_plan(plan).await.map_err(|e| error(&e))?;
        let rows = frame.execute_stream().await.map_err(|e| error(&e))?;
        Ok(Box::pin(rows.map(|batch| batch.map_err(|e| fleuve_types::Error::input(message(&e))))))
    }
}

/// True for a query over streams and views alone, of which a column happens to have a word of the catalog for its name.
fn reads_no_catalog(query: &Query) -> bool {
    let mut own = false;
    let of_catalog = visit_relations(query, |name| {
        let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.to_lowercase()).collect();
        let is_catalog = parts.last().is_some_and(|last| last.starts_with("pg_"))
            || parts.iter().any(|part| part == "pg_catalog" || part == "information_schema");
        own = true;
        if is_catalog { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    own && of_catalog.is_continue()
}

fn context(catalog: &PgCatalog, session: &Session) -> PgResult<SessionContext> {
    catalog.prepare_context(session.session_context()).map_err(|e| error(&e))
}

async fn plan(context: &SessionContext, query: &Query) -> Result<LogicalPlan, DataFusionError> {
    let statement = Statement::Query(Box::new(query.clone()));
    context.state().statement_to_plan(DfStatement::Statement(Box::new(statement))).await
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
