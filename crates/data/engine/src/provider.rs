//! Snapshots as DataFusion tables.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::output::ViewSnapshot;
use crate::scan::ViewScan;

/// A part of a scan has at least about this many rows: for fewer, a thread of its own is not worth it.
const PART_ROWS: usize = 8_192;

/// A view at one epoch, to query.
#[derive(Clone)]
pub struct ViewTable {
    snapshot: ViewSnapshot,
}

impl std::fmt::Debug for ViewTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ViewTable({} rows at epoch {})", self.snapshot.num_rows(), self.snapshot.epoch())
    }
}

impl ViewTable {
    /// The table of a snapshot.
    pub fn new(snapshot: ViewSnapshot) -> Self {
        Self { snapshot }
    }

    /// The values that `filters` fix the key columns to, if they fix them all.
    fn key_of(&self, filters: &[Expr]) -> Option<Vec<ArrayRef>> {
        let key = self.snapshot.key().filter(|k| !k.is_empty())?;
        key.iter()
            .map(|c| {
                let field = self.snapshot.schema().field(*c);
                filters.iter().find_map(|f| equals(f, field.name())).and_then(|value| {
                    let value = value.cast_to(field.data_type()).ok()?;
                    value.to_array().ok()
                })
            })
            .collect()
    }
}

/// The literal that `column = literal` compares with.
fn equals(filter: &Expr, column: &str) -> Option<ScalarValue> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(c), Expr::Literal(v, _)) | (Expr::Literal(v, _), Expr::Column(c))
            if c.name == column && !v.is_null() =>
        {
            Some(v.clone())
        }
        _ => None,
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.snapshot.schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let failed = |e: fleuve_types::Error| DataFusionError::External(Box::new(e));
        let found = match self.key_of(filters) {
            Some(key) if self.snapshot.is_cold() => {
                let snapshot = self.snapshot.clone();
                let read = tokio::task::spawn_blocking(move || snapshot.lookup(&key)).await;
                read.map_err(|e| DataFusionError::Execution(format!("reading a view's answer: {e}")))?
                    .map_err(failed)?
            }
            Some(key) => self.snapshot.lookup(&key).map_err(failed)?,
            None => None,
        };
        if let Some(rows) = found {
            return Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?);
        }
        // For a limit one part is enough.
        let most = if limit.is_some() { 1 } else { state.config().target_partitions().max(1) };
        let parts = (self.snapshot.num_rows() / PART_ROWS).clamp(1, most);
        Ok(Arc::new(ViewScan::new(self.snapshot.clone(), projection.cloned(), parts, limit)?))
    }
}
