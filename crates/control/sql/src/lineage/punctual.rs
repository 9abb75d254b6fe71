//! Which rows of a stream with a watermark came in time. Those that did not are behind no answer of a view that emits on window close, so
//! the plans that find what is behind an answer do not read them either.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TableType, Volatility, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use fleuve_types::{Error, Result};

use super::{Ground, Scanned};
use crate::errors::of_datafusion;
use crate::{Overtaken, Spec, ViewSpec, Watermark};

/// Rows of a stream with a watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    /// Those that are not behind what their partition had promised before them.
    Promised,
    /// Of these, those that are not behind the watermark either, where it had gone on without their partition.
    OnTime,
    /// The others.
    Late,
}

impl Reads {
    /// What a view reads.
    pub(crate) fn of(view: &ViewSpec) -> Self {
        if view.emit_on_close { Self::OnTime } else { Self::All }
    }
}

impl Ground {
    /// What a stream or view holds; of a stream with a watermark those rows that a plan is about.
    pub(super) fn table(&self, object: &Scanned, reads: Reads) -> Result<Arc<dyn TableProvider>> {
        let table = self.snapshot.table(&object.namespace, &object.name);
        let table = table.ok_or_else(|| Error::not_found(format!("\"{}\" is not ready yet", object.shown())))?;
        let Spec::Stream(stream) = &object.bound.spec else { return Ok(table) };
        let Some(watermark) = stream.watermark.as_ref().filter(|_| reads != Reads::All) else { return Ok(table) };
        let overtaken = match reads {
            Reads::OnTime | Reads::Late => self.snapshot.overtaken(&object.namespace, &object.name),
            Reads::All | Reads::Promised => vec![],
        };
        let rows = self.sorted_out(table, watermark, &overtaken, reads).map_err(|e| of_datafusion(&e))?;
        Ok(Arc::new(SortedOut { schema: rows.schema().inner().clone(), rows }))
    }

    /// A row is late if it is behind the greatest time of its partition before it, less the delay, or behind the watermark that had gone
    /// on without its partition.
    fn sorted_out(
        &self,
        table: Arc<dyn TableProvider>,
        watermark: &Watermark,
        overtaken: &[Overtaken],
        reads: Reads,
    ) -> DfResult<LogicalPlan> {
        let whole = LogicalPlanBuilder::scan("__read", provider_as_source(table), None)?.build()?;
        let column = |name: &str| -> DfResult<Expr> {
            let found = whole.schema().columns().into_iter().find(|c| c.name == name);
            found.map(Expr::Column).ok_or_else(|| DataFusionError::Internal(format!("there is no column {name}")))
        };
        let (time, partition, offset) = (column(&watermark.column)?, column("_partition")?, column("_offset")?);
        let before = self.greatest_before(&time, &partition, &offset)?.alias("__before");
        let delay = lit(ScalarValue::new_interval_mdn(0, 0, watermark.delay_us.saturating_mul(1000)));
        let promised = Expr::Column(Column::new_unqualified("__before")) - delay;
        let mut late = time.clone().lt(promised);
        if !overtaken.is_empty() {
            let floor = ScalarUDF::new_from_impl(Floor::of(overtaken, time.get_type(whole.schema())?));
            late = late.or(time.lt(floor.call(vec![partition, offset])));
        }
        let kept = match reads {
            Reads::All => lit(true),
            // What is not known to be late is on time: a row without a time, and the first one.
            Reads::Promised | Reads::OnTime => late.is_not_true(),
            Reads::Late => late,
        };
        let own: Vec<Expr> = whole.schema().columns().into_iter().map(Expr::Column).collect();
        LogicalPlanBuilder::from(whole).window([before])?.filter(kept)?.project(own)?.build()
    }

    fn greatest_before(&self, time: &Expr, partition: &Expr, offset: &Expr) -> DfResult<Expr> {
        let greatest = self.context.state().aggregate_functions().get("max").cloned();
        let greatest = greatest.ok_or_else(|| DataFusionError::Internal("there is no max()".into()))?;
        let params = WindowFunctionParams {
            args: vec![time.clone()],
            partition_by: vec![partition.clone()],
            order_by: vec![offset.clone().sort(true, false)],
            window_frame: WindowFrame::new_bounds(
                WindowFrameUnits::Rows,
                WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
                WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))),
            ),
            filter: None,
            null_treatment: None,
            distinct: false,
        };
        let call = WindowFunction { fun: WindowFunctionDefinition::AggregateUDF(greatest), params };
        Ok(Expr::WindowFunction(Box::new(call)))
    }
}

/// Some rows of a stream as a table, so that a plan over the whole stream is one over these.
#[derive(Debug)]
struct SortedOut {
    rows: LogicalPlan,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for SortedOut {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns = self.rows.schema().columns();
        let kept = match projection {
            Some(kept) => kept.iter().map(|at| Expr::Column(columns[*at].clone())).collect(),
            None => columns.into_iter().map(Expr::Column).collect::<Vec<_>>(),
        };
        let rows = LogicalPlanBuilder::from(self.rows.clone()).project(kept)?.limit(0, limit)?.build()?;
        state.create_physical_plan(&rows).await
    }
}

/// The time below which the rows of a partition are late from an offset on, whatever came before them there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Floor {
    /// By partition: offsets in order, and the time from each of them on, in the unit of `time`.
    of: BTreeMap<i32, Vec<(i64, i64)>>,
    time: DataType,
    signature: Signature,
}

impl Floor {
    fn of(overtaken: &[Overtaken], time: DataType) -> Self {
        let mut of: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
        for at in overtaken {
            of.entry(at.partition).or_default().push((at.offset, at.watermark));
        }
        of.values_mut().for_each(|floors| floors.sort_unstable());
        Self { of, time, signature: Signature::any(2, Volatility::Immutable) }
    }

    fn at(&self, partition: i32, offset: i64) -> Option<i64> {
        let floors = self.of.get(&partition)?;
        let known = floors.partition_point(|(from, _)| *from <= offset);
        // The watermark does not go back.
        floors[..known].last().map(|(_, time)| *time)
    }
}

impl ScalarUDFImpl for Floor {
    fn name(&self) -> &'static str {
        "fleuve_floor"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.time.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let partitions = arrays[0].as_primitive_opt::<Int32Type>();
        let offsets = arrays[1].as_primitive_opt::<Int64Type>();
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
            return Err(DataFusionError::Internal("places of records are numbers".into()));
        };
        let places = partitions.values().iter().zip(offsets.values());
        let floors: Int64Array = places.map(|(partition, offset)| self.at(*partition, *offset)).collect();
        Ok(ColumnarValue::Array(cast(&floors, &self.time)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::Floor;
    use crate::Overtaken;

    #[test]
    fn a_floor_holds_from_its_offset_on_in_its_partition() {
        let at = |partition, offset, watermark| Overtaken { partition, offset, watermark };
        let floor =
            Floor::of(&[at(1, 5, 100), at(0, 0, 50), at(1, 9, 200)], DataType::Timestamp(TimeUnit::Microsecond, None));
        let found = [(0, 0), (0, 7), (1, 4), (1, 5), (1, 8), (1, 9), (1, 99), (2, 9)].map(|(p, o)| floor.at(p, o));
        let wanted = [Some(50), Some(50), None, Some(100), Some(100), Some(200), Some(200), None];
        assert_eq!(found, wanted);
    }
}
