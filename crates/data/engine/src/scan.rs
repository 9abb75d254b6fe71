//! Reading a view's snapshot as a step of a query's plan: a batch at a time, only the columns and no more rows than are asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt;

use crate::output::{ViewRows, ViewSnapshot};

/// A scan of a snapshot in parts.
#[derive(Clone)]
pub(crate) struct ViewScan {
    snapshot: ViewSnapshot,
    projection: Vec<usize>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ViewScan {
    pub(crate) fn new(
        snapshot: ViewSnapshot,
        projection: Option<Vec<usize>>,
        parts: usize,
        limit: Option<usize>,
    ) -> DfResult<Self> {
        let projection = projection.unwrap_or_else(|| (0..snapshot.schema().fields().len()).collect());
        let schema = Arc::new(snapshot.schema().project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(parts),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self {
            snapshot,
            projection,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    fn parts(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl fmt::Debug for ViewScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewScan({} rows)", self.snapshot.num_rows())
    }
}

impl DisplayAs for ViewScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewScan: partitions={}", self.parts())?;
        if let Some(limit) = self.limit {
            write!(f, ", fetch={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ViewScan {
    fn name(&self) -> &'static str {
        "ViewScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let rows = self.snapshot.part(partition, self.parts()).project(self.projection.clone()).map_err(external)?;
        let rows = rows.batches_of(context.session_config().batch_size());
        let left = self.limit.unwrap_or(usize::MAX);
        let schema = rows.schema().clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = futures::stream::try_unfold((rows, left), move |(rows, left)| {
            let metrics = metrics.clone();
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let (rows, batch) = next(rows).await?;
                let Some(batch) = batch else { return Ok(None) };
                let batch = batch.slice(0, batch.num_rows().min(left));
                metrics.record_output(batch.num_rows());
                let left = left - batch.num_rows();
                Ok(Some((batch, (rows, left))))
            }
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed()))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DfResult<Arc<Statistics>> {
        let schema: &SchemaRef = &self.schema();
        let mut statistics = Statistics::new_unknown(schema);
        // A limit holds for each part.
        if self.parts() == 1 || (partition.is_none() && self.limit.is_none()) {
            let rows = self.snapshot.num_rows();
            statistics.num_rows = Precision::Exact(self.limit.map_or(rows, |limit| limit.min(rows)));
        }
        Ok(Arc::new(statistics))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Self::new(self.snapshot.clone(), Some(self.projection.clone()), self.parts(), limit)
            .ok()
            .map(|scan| Arc::new(scan) as _)
    }
}

fn external(e: fleuve_types::Error) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

/// The next batch. What has to be read from a disk is read on a thread that may wait.
async fn next(mut rows: ViewRows) -> DfResult<(ViewRows, Option<RecordBatch>)> {
    let waits = rows.waits();
    let read = move || rows.next().transpose().map(|batch| (rows, batch));
    let read = if waits {
        let ended = |e| DataFusionError::Execution(format!("reading a view's answer: {e}"));
        tokio::task::spawn_blocking(read).await.map_err(ended)?
    } else {
        read()
    };
    read.map_err(external)
}
