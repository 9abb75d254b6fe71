//! A stream as a DataFusion table: its records up to a frontier, decoded as they are read.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use fleuve_types::{ColumnPart, Frontier};
use futures::StreamExt;

use super::stream::StreamRelation;

/// A stream at one frontier.
pub struct StreamTable {
    relation: Arc<StreamRelation>,
    frontier: Frontier,
}

impl std::fmt::Debug for StreamTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamTable({})", self.relation.id())
    }
}

impl StreamTable {
    pub fn new(relation: Arc<StreamRelation>, frontier: Frontier) -> Self {
        Self { relation, frontier }
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.relation.schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.relation.schema().fields().len()).collect());
        let schema = Arc::new(self.relation.schema().project(&columns)?);
        let mut partitions: Vec<Arc<dyn PartitionStream>> = vec![];
        for partition in 0..self.relation.partitions() {
            let (start, _) = self.relation.bounds(partition).map_err(external)?;
            let end = self.frontier.get(self.relation.id(), partition).unwrap_or(start);
            partitions.push(Arc::new(Part {
                relation: self.relation.clone(),
                partition,
                start,
                end,
                columns: columns.iter().copied().map(ColumnPart::whole).collect(),
                schema: schema.clone(),
            }));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, vec![], false, limit)?))
    }
}

struct Part {
    relation: Arc<StreamRelation>,
    partition: i32,
    start: i64,
    end: i64,
    columns: Vec<ColumnPart>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "partition {} offsets {}..{}", self.partition, self.start, self.end)
    }
}

fn external(e: fleuve_types::Error) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (relation, partition, end, columns) =
            (self.relation.clone(), self.partition, self.end, self.columns.clone());
        let ranges = futures::stream::try_unfold(self.start, move |at| {
            let (relation, columns) = (relation.clone(), columns.clone());
            async move {
                if at >= end {
                    return Ok(None);
                }
                let work = move || relation.decode(partition, at, end, super::READ_BYTES, &columns);
                let range = tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|e| DataFusionError::Execution(format!("reading a stream: {e}")))?
                    .map_err(external)?;
                Ok(Some((futures::stream::iter(range.rows.into_iter().map(Ok)), range.next)))
            }
        });
        let rows = ranges.map(|r: DfResult<_>| match r {
            Ok(rows) => rows.boxed(),
            Err(e) => futures::stream::once(async { Err(e) }).boxed(),
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.flatten()))
    }
}
