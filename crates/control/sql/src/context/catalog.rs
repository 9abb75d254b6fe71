//! The catalogs that DataFusion looks names up in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, Session, TableProvider};
use datafusion::common::{Result, project_schema};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use fleuve_types::pseudo_fields;
use parking_lot::RwLock;

use crate::{Backend, BoundObject, ENVIRONMENT, ObjectSet, Snapshot, Spec};

/// A list of one catalog, `main`.
pub(crate) fn single(catalog: Arc<dyn CatalogProvider>) -> Arc<dyn CatalogProviderList> {
    Arc::new(OneCatalog(catalog))
}

#[derive(Debug)]
struct OneCatalog(Arc<dyn CatalogProvider>);

impl CatalogProviderList for OneCatalog {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![ENVIRONMENT.to_string()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == ENVIRONMENT).then(|| self.0.clone())
    }
}

/// Where a [`SnapshotCatalog`] takes its tables from.
#[derive(Clone)]
pub(crate) enum SnapshotSource {
    /// The newest at each look: for what an extension keeps beyond a statement (listings of `pg_catalog`).
    Live(Arc<dyn Backend>),
    /// One, for one statement.
    Pinned(Arc<dyn Snapshot>),
}

impl SnapshotSource {
    fn get(&self) -> Arc<dyn Snapshot> {
        match self {
            Self::Live(backend) => backend.snapshot(),
            Self::Pinned(snapshot) => snapshot.clone(),
        }
    }
}

/// Schemas that extensions registered; shared by all statements of a session.
pub(crate) type ExtraSchemas = Arc<RwLock<BTreeMap<String, Arc<dyn SchemaProvider>>>>;

/// What can be queried.
pub(crate) struct SnapshotCatalog {
    pub(crate) source: SnapshotSource,
    pub(crate) extra: ExtraSchemas,
}

impl std::fmt::Debug for SnapshotCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotCatalog")
    }
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.source.get().namespaces();
        names.push(crate::DEFAULT_NAMESPACE.to_string());
        names.extend(self.extra.read().keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(extra) = self.extra.read().get(name) {
            return Some(extra.clone());
        }
        let known = name == crate::DEFAULT_NAMESPACE || self.source.get().namespaces().iter().any(|n| n == name);
        known.then(|| -> Arc<dyn SchemaProvider> {
            Arc::new(SnapshotSchema { source: self.source.clone(), namespace: name.to_string() })
        })
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(self.extra.write().insert(name.to_string(), schema))
    }
}

struct SnapshotSchema {
    source: SnapshotSource,
    namespace: String,
}

impl std::fmt::Debug for SnapshotSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotSchema({})", self.namespace)
    }
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        self.source.get().names(&self.namespace)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.source.get().table(&self.namespace, name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.source.get().table(&self.namespace, name).is_some()
    }
}

/// The streams and views as columns alone, to bind statements with.
#[derive(Debug)]
pub(crate) struct ObjectCatalog {
    schemas: BTreeMap<String, Arc<ObjectSchema>>,
}

#[derive(Debug, Default)]
struct ObjectSchema {
    tables: BTreeMap<String, Columns>,
}

/// What columns a table has. Only those that a statement asks for are looked at.
#[derive(Debug)]
enum Columns {
    Of(Arc<BoundObject>),
    These(SchemaRef),
}

impl Columns {
    fn table(&self) -> Option<Arc<dyn TableProvider>> {
        let (schema, key) = match self {
            Self::These(schema) => (schema.clone(), None),
            Self::Of(object) => (columns_of(&object.spec)?, key_of(&object.spec)),
        };
        Some(Arc::new(ColumnsOnly { schema, key }))
    }
}

fn key_of(spec: &Spec) -> Option<Vec<String>> {
    match spec {
        Spec::View(view) => crate::view_key(&view.plan),
        Spec::Stream(_) | Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
    }
}

impl ObjectCatalog {
    pub(crate) fn new(objects: &ObjectSet) -> Self {
        let mut schemas: BTreeMap<String, ObjectSchema> = BTreeMap::new();
        for ((namespace, name), object) in &objects.by_name {
            if matches!(object.spec, Spec::Stream(_) | Spec::View(_)) {
                let tables = &mut schemas.entry(namespace.clone()).or_default().tables;
                tables.insert(name.clone(), Columns::Of(object.clone()));
            }
        }
        Self { schemas: schemas.into_iter().map(|(k, v)| (k, Arc::new(v))).collect() }
    }

    /// A catalog of one table.
    pub(crate) fn of_table(namespace: &str, name: &str, schema: SchemaRef) -> Self {
        let schema = ObjectSchema { tables: BTreeMap::from([(name.to_string(), Columns::These(schema))]) };
        Self { schemas: BTreeMap::from([(namespace.to_string(), Arc::new(schema))]) }
    }
}

/// The columns that a query sees of an object; a stream's with the pseudo-columns at the end.
fn columns_of(spec: &Spec) -> Option<SchemaRef> {
    match spec {
        Spec::Stream(stream) => {
            let fields: Vec<FieldRef> = stream.schema.fields().iter().cloned().chain(pseudo_fields()).collect();
            Some(Arc::new(Schema::new(fields)))
        }
        Spec::View(view) => Some(view.schema.clone()),
        Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
    }
}

impl CatalogProvider for ObjectCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).map(|s| s.clone() as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for ObjectSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).and_then(Columns::table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

/// The key of a table that stands for a view in a plan of binding.
pub(crate) fn key_of_columns(table: &dyn TableProvider) -> Option<&[String]> {
    (table as &dyn std::any::Any).downcast_ref::<ColumnsOnly>()?.key.as_deref()
}

/// A table that has columns and no rows.
#[derive(Debug)]
struct ColumnsOnly {
    schema: SchemaRef,
    /// The key of the view that it stands for.
    key: Option<Vec<String>>,
}

#[async_trait]
impl TableProvider for ColumnsOnly {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Binding makes a physical plan to see that there is one; it is never run.
        Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)))
    }
}
