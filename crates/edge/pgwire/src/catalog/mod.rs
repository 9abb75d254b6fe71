//! `pg_catalog`: the system tables and functions by which PostgreSQL's clients look around.
//!
//! All of it is derived from the platform's objects at the moment of a scan, except the built-in types, functions and
//! keywords, which are constant and come with `datafusion-pg-catalog`. Streams are ordinary tables (`relkind` r), views are
//! views (v). Object ids are derived from the durable [`fleuve_types::ObjectId`], so they are the same in every session.

mod functions;
mod query;
mod relations;
mod rewrite;
mod tables;

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{MemTable, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{PG_CATALOG_TABLES, oid_type_planner::PgOidTypePlanner, setup_pg_catalog};
use fleuve_sql::Backend;

pub(crate) use query::{CatalogQuery, looks_like_catalog_query};
use relations::Relations;

use crate::settings::Settings;

/// The environment, in PostgreSQL's words the database.
pub(crate) const DATABASE: &str = "main";
/// The name that owns everything until there are users.
pub(crate) const OWNER: &str = "fleuve";

/// What all sessions share: the constant tables and functions, loaded when first needed.
#[derive(Default)]
pub(crate) struct Constants {
    loaded: OnceLock<std::result::Result<Loaded, String>>,
}

struct Loaded {
    schema: Arc<dyn SchemaProvider>,
    functions: Vec<Arc<ScalarUDF>>,
    keywords: Option<Arc<datafusion::catalog::TableFunction>>,
}

impl Constants {
    fn get(&self) -> Result<&Loaded> {
        let loaded = self.loaded.get_or_init(|| load().map_err(|e| e.to_string()));
        loaded.as_ref().map_err(|e| DataFusionError::Internal(e.clone()))
    }
}

/// Installs the crate's catalog into an empty context and takes out what it added.
fn load() -> Result<Loaded> {
    let scratch = SessionContext::new();
    scratch.register_catalog(DATABASE, Arc::new(MemoryCatalogProvider::new()));
    // Its tables list the catalogs of the context: an empty list keeps this one's out.
    let before: Vec<String> = scratch.state().scalar_functions().keys().cloned().collect();
    setup_pg_catalog(&scratch, DATABASE, EmptyContextProvider).map_err(|e| *e)?;
    let state = scratch.state();
    let functions = state
        .scalar_functions()
        .iter()
        .filter(|(name, _)| !before.contains(name))
        .map(|(_, f)| Arc::clone(f))
        .collect();
    let keywords = state.table_functions().get("pg_get_keywords").cloned();
    let schema = scratch
        .catalog(DATABASE)
        .and_then(|c| c.schema("pg_catalog"))
        .ok_or_else(|| DataFusionError::Internal("pg_catalog was not registered".to_string()))?;
    scratch.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    Ok(Loaded { schema, functions, keywords })
}

/// The catalog as one session sees it.
#[derive(Clone)]
pub(crate) struct PgCatalog {
    backend: Arc<dyn Backend>,
    constants: Arc<Constants>,
    settings: Arc<Settings>,
    /// The functions that need the platform or the session, and those that clients call for nothing.
    functions: Arc<Vec<ScalarUDF>>,
}

impl fmt::Debug for PgCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgCatalog")
    }
}

impl PgCatalog {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        constants: Arc<Constants>,
        settings: Arc<Settings>,
        user: &str,
        pid: u32,
    ) -> Self {
        let functions = Arc::new(functions::all(&backend, &settings, user, pid));
        Self { backend, constants, settings, functions }
    }

    /// What every statement of a session can call and read.
    pub(crate) fn install(&self, context: &SessionContext) {
        for function in self.functions.iter() {
            context.register_udf(function.clone());
        }
        if let Some(catalog) = context.catalog(DATABASE)
            && let Err(e) = catalog.register_schema("pg_catalog", Arc::new(self.clone()))
        {
            tracing::warn!("pg_catalog cannot be registered: {e}");
        }
    }

    /// A context for the queries of tools: besides [`PgCatalog::install`], the constant functions and PostgreSQL's names of types.
    pub(crate) fn prepare_context(&self, context: SessionContext) -> Result<SessionContext> {
        let loaded = self.constants.get()?;
        for function in &loaded.functions {
            context.register_udf(function.as_ref().clone());
        }
        if let Some(keywords) = &loaded.keywords {
            context.register_udtf("pg_get_keywords", Arc::clone(keywords.function()));
        }
        // Ours come last: some know more than the constant ones of the same name.
        for function in self.functions.iter() {
            context.register_udf(function.clone());
        }
        let state = SessionStateBuilder::new_from_existing(context.state())
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        let context = SessionContext::new_with_state(state);
        // After the state is built: building takes functions by their aliases too, and would bring the original back.
        context.register_udf(functions::lenient());
        Ok(context)
    }

    fn relations(&self) -> Relations {
        Relations::new(self.backend.as_ref())
    }
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        PG_CATALOG_TABLES.iter().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = tables::table(name, &self.relations(), &self.settings)? {
            return Ok(Some(table));
        }
        let constant = self.constants.get()?.schema.table(name).await?;
        match constant {
            // The rows that PostgreSQL ships there are about relations that are not here.
            Some(table) if rewrite::EMPTY.contains(&name) => {
                Ok(Some(Arc::new(MemTable::try_new(table.schema(), vec![vec![]])?)))
            }
            other => Ok(other),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        tables::exists(name) || PG_CATALOG_TABLES.contains(&name)
    }
}
