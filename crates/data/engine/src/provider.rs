//! Snapshots as DataFusion tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::output::ViewSnapshot;

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
        let key = self.snapshot.key.as_ref().filter(|k| !k.is_empty())?;
        key.iter()
            .map(|c| {
                let field = self.snapshot.schema.field(*c);
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
        self.snapshot.schema.clone()
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
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let failed = |e: fleuve_types::Error| DataFusionError::External(Box::new(e));
        let found = match self.key_of(filters) {
            Some(key) => self.snapshot.lookup(&key).map_err(failed)?,
            None => None,
        };
        let batches = match found {
            Some(batches) => batches,
            None => self.snapshot.batches().map_err(failed)?,
        };
        let partitions = spread(batches, state.config().target_partitions());
        Ok(MemorySourceConfig::try_new_exec(&partitions, self.schema(), projection.cloned())?)
    }
}

/// Batches dealt out so that each partition has about the same number of rows.
fn spread(mut batches: Vec<RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if partitions <= 1 || rows < 16_384 {
        return vec![batches];
    }
    batches.sort_by_key(|b| std::cmp::Reverse(b.num_rows()));
    let mut out = vec![(0, vec![]); partitions];
    for batch in batches {
        if let Some(least) = out.iter_mut().min_by_key(|(rows, _)| *rows) {
            least.0 += batch.num_rows();
            least.1.push(batch);
        }
    }
    out.into_iter().map(|(_, b)| b).collect()
}
