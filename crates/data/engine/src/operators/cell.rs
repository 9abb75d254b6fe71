//! Parts of a plan run by the batch engine: a leaf whose rows are set before each run.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::DFSchemaRef;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, collect};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use fleuve_types::{Error, Result};
use parking_lot::Mutex;

/// Rows that a [`CellNode`] gives when the plan runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell(Arc<Mutex<Vec<RecordBatch>>>);

impl Cell {
    pub(crate) fn set(&self, rows: Vec<RecordBatch>) {
        *self.0.lock() = rows;
    }
}

/// A logical leaf with the schema of the subplan whose place it takes.
#[derive(Clone, Debug)]
pub(crate) struct CellNode {
    pub(crate) number: usize,
    pub(crate) schema: DFSchemaRef,
    pub(crate) cell: Cell,
}

impl PartialEq for CellNode {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.schema == other.schema
    }
}

impl Eq for CellNode {}

impl Hash for CellNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl PartialOrd for CellNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.number.partial_cmp(&other.number)
    }
}

impl UserDefinedLogicalNodeCore for CellNode {
    fn name(&self) -> &str {
        "Cell"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell: input {}", self.number)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> DfResult<Self> {
        Ok(self.clone())
    }
}

#[derive(Debug)]
struct CellExec {
    number: usize,
    cell: Cell,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for CellExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CellExec: input {}", self.number)
    }
}

impl ExecutionPlan for CellExec {
    fn name(&self) -> &str {
        "CellExec"
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let rows = self.cell.0.lock().clone();
        Ok(Box::pin(MemoryStream::try_new(rows, self.schema.clone(), None)?))
    }
}

struct CellPlanner;

#[async_trait]
impl ExtensionPlanner for CellPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        _: &[Arc<dyn ExecutionPlan>],
        _: &SessionState,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let any: &dyn Any = node.as_any();
        Ok(any.downcast_ref::<CellNode>().map(|node| {
            let schema: SchemaRef = Arc::new(node.schema.as_arrow().clone());
            let properties = PlanProperties::new(
                EquivalenceProperties::new(schema.clone()),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Incremental,
                Boundedness::Bounded,
            );
            let exec =
                CellExec { number: node.number, cell: node.cell.clone(), schema, properties: Arc::new(properties) };
            Arc::new(exec) as Arc<dyn ExecutionPlan>
        }))
    }
}

/// A plan over cells, planned once and run as often as needed.
pub(crate) struct PlanRunner {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    /// Made at the first run: planning happens on threads that may not hold one.
    runtime: std::sync::OnceLock<tokio::runtime::Runtime>,
    schema: SchemaRef,
}

impl PlanRunner {
    /// Plans `plan`, whose leaves are [`CellNode`]s.
    pub(crate) fn new(plan: &LogicalPlan, state: &SessionState) -> Result<Self> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(CellPlanner)]);
        let physical = fleuve_batch::with_sortable_keys(plan.clone())
            .and_then(|plan| futures::executor::block_on(planner.create_physical_plan(&plan, state)));
        let physical = physical.map_err(|e| {
            Error::unsupported(format!("this part of the query cannot be planned: {}", e.strip_backtrace()))
        })?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        Ok(Self { plan: physical, context: state.task_ctx(), runtime: std::sync::OnceLock::new(), schema })
    }

    /// As [`PlanRunner::run`], once, from a thread that may belong to a runtime.
    pub(crate) fn run_apart(self) -> Result<RecordBatch> {
        std::thread::scope(|scope| scope.spawn(move || self.run()).join())
            .unwrap_or_else(|_| Err(Error::bug("running a part of the plan panicked")))
    }

    /// Runs the plan over what the cells hold now.
    pub(crate) fn run(&self) -> Result<RecordBatch> {
        let failed = |e: datafusion::error::DataFusionError| Error::input(e.strip_backtrace());
        let plan = reset_plan_states(self.plan.clone()).map_err(failed)?;
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let new = tokio::runtime::Builder::new_current_thread().build();
                self.runtime.get_or_init(|| new.expect("a runtime without I/O needs nothing from the system"))
            }
        };
        let batches = runtime.block_on(collect(plan, self.context.clone())).map_err(failed)?;
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let columns = (0..self.schema.fields().len())
            .map(|i| {
                let parts: Vec<&dyn arrow::array::Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
                let field = self.schema.field(i);
                if parts.is_empty() {
                    return Ok(arrow::array::new_empty_array(field.data_type()));
                }
                let column = arrow::compute::concat(&parts).map_err(|e| Error::bug(e.to_string()))?;
                if column.data_type() == field.data_type() {
                    Ok(column)
                } else {
                    arrow::compute::cast(&column, field.data_type()).map_err(|e| Error::bug(e.to_string()))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        crate::state::batch_of(&self.schema, columns, rows)
    }
}
