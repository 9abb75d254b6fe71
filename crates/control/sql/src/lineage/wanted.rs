//! Rows of a node that are looked for, as a table, and the rows of its inputs that are behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::SessionContext;
use fleuve_types::Result;
use futures::StreamExt;

use super::bug;
use crate::errors::of_datafusion;

/// Rows that one step of the way may look for. What is beyond is left out, and said.
pub(super) const MAX_WANTED: usize = 200_000;

/// The column that says which row of the answer a row is wanted for.
pub(super) const TAG: &str = "__tag";

/// Rows by their values: the number of the answer's row that each is behind, then the columns of a node (or none: any of its rows).
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    /// There were more than [`MAX_WANTED`].
    pub(crate) cut: bool,
}

/// A column without its qualifier.
pub(super) fn plain(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The columns of a plan as `{prefix}0`, `{prefix}1`, ...
pub(super) fn numbered(plan: &LogicalPlan, prefix: &str) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter().enumerate();
    columns.map(|(i, c)| Expr::Column(c).alias(format!("{prefix}{i}"))).collect()
}

impl Wanted {
    /// From batches of a tag and the columns.
    pub(crate) fn of(batches: Vec<RecordBatch>, columns: &[DataType]) -> Result<Self> {
        let mut fields = vec![Field::new(TAG, DataType::UInt32, true)];
        fields.extend(columns.iter().enumerate().map(|(i, t)| Field::new(format!("w{i}"), t.clone(), true)));
        let schema = Arc::new(Schema::new(fields));
        let typed = |batch: RecordBatch| -> Result<RecordBatch> {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(c, f)| arrow::compute::cast(c, f.data_type())).collect::<Result<_, _>>();
            RecordBatch::try_new(schema.clone(), columns.map_err(bug)?).map_err(bug)
        };
        let batches = batches.into_iter().map(typed).collect::<Result<Vec<_>>>()?;
        Ok(Self { schema, batches, cut: false })
    }

    /// Any row, for each of these tags.
    pub(super) fn any(tags: &BTreeSet<u32>) -> Result<Self> {
        let tags: UInt32Array = tags.iter().copied().collect();
        let schema = Arc::new(Schema::new(vec![Field::new(TAG, DataType::UInt32, true)]));
        Self::of(vec![RecordBatch::try_new(schema, vec![Arc::new(tags)]).map_err(bug)?], &[])
    }

    /// The number of columns beside the tag.
    pub(super) fn width(&self) -> usize {
        self.schema.fields().len() - 1
    }

    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    pub(super) fn types(&self) -> Vec<DataType> {
        self.schema.fields().iter().skip(1).map(|f| f.data_type().clone()).collect()
    }

    /// Which rows of the answer something is wanted for.
    pub(super) fn tags(&self) -> BTreeSet<u32> {
        let of = |batch: &RecordBatch| -> Vec<u32> {
            let tags = batch.column(0).as_any().downcast_ref::<UInt32Array>();
            tags.map(|t| t.values().to_vec()).unwrap_or_default()
        };
        self.batches.iter().flat_map(of).collect()
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// As a plan with the columns `__tag`, `w0`, `w1`, ...
    pub(super) fn scan(&self) -> Result<LogicalPlanBuilder> {
        let table =
            MemTable::try_new(self.schema.clone(), vec![self.batches.clone()]).map_err(|e| of_datafusion(&e))?;
        let scan = LogicalPlanBuilder::scan("__wanted", provider_as_source(Arc::new(table)), None);
        let names = self.schema.fields().iter().map(|f| Expr::Column(Column::new(Some("__wanted"), f.name())));
        let named: Vec<Expr> = names.zip(self.schema.fields()).map(|(e, f)| e.alias(f.name())).collect();
        scan.and_then(|s| s.project(named)).map_err(|e| of_datafusion(&e))
    }

    /// Some of the columns, in that order.
    pub(super) fn only(&self, columns: impl IntoIterator<Item = usize>) -> Result<Self> {
        let columns: Vec<usize> = columns.into_iter().collect();
        let types: Vec<DataType> = columns.iter().map(|c| self.schema.field(c + 1).data_type().clone()).collect();
        let places: Vec<usize> = std::iter::once(0).chain(columns.iter().map(|c| c + 1)).collect();
        let batches = self.batches.iter().map(|b| b.project(&places).map_err(bug)).collect::<Result<_>>()?;
        Ok(Self { cut: self.cut, ..Self::of(batches, &types)? })
    }

    /// The rows for which `keep` says so.
    pub(super) fn filter(&self, keep: impl Fn(&RecordBatch, usize) -> bool) -> Result<Self> {
        let part = |batch: &RecordBatch| {
            let mask: arrow::array::BooleanArray = (0..batch.num_rows()).map(|row| Some(keep(batch, row))).collect();
            arrow::compute::filter_record_batch(batch, &mask).map_err(bug)
        };
        let batches = self.batches.iter().map(part).collect::<Result<_>>()?;
        Ok(Self { batches, ..self.clone() })
    }

    /// The rows whose columns in `among` are all NULL, or those where some is not.
    pub(super) fn all_null(&self, among: std::ops::Range<usize>, all: bool) -> Result<Self> {
        self.filter(|batch, row| among.clone().all(|c| batch.column(c + 1).is_null(row)) == all)
    }

    /// Both, of the same columns.
    pub(super) fn with(mut self, other: Self) -> Result<Self> {
        let types = self.types();
        self.cut |= other.cut;
        self.batches.extend(Self::of(other.batches, &types)?.batches);
        Ok(self)
    }
}

/// Runs a plan of a tag and columns; equal rows once.
pub(super) async fn gather(context: &SessionContext, plan: LogicalPlanBuilder) -> Result<Wanted> {
    // Not with a LIMIT: DataFusion 54.1 fails for some of those over DISTINCT.
    let plan = plan.distinct().and_then(LogicalPlanBuilder::build).map_err(|e| of_datafusion(&e))?;
    let types: Vec<DataType> = plan.schema().fields().iter().skip(1).map(|f| f.data_type().clone()).collect();
    let frame = context.execute_logical_plan(plan).await.map_err(|e| of_datafusion(&e))?;
    let mut rows = frame.execute_stream().await.map_err(|e| of_datafusion(&e))?;
    let (mut batches, mut count) = (vec![], 0);
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|e| of_datafusion(&e))?;
        count += batch.num_rows();
        batches.push(batch);
        if count > MAX_WANTED {
            break;
        }
    }
    let cut = count > MAX_WANTED;
    Ok(Wanted { cut, ..Wanted::of(batches, &types)? })
}

/// A condition that a row of an input meets to be behind a wanted row: an expression over the input equals a wanted column.
#[derive(Clone)]
pub(super) struct Same {
    pub(super) expr: Expr,
    pub(super) wanted: usize,
    /// False where computing it again may give another value: the last bits of a sum of floating-point numbers, the order of
    /// an aggregate's values, ranks among equals. Used as long as it finds rows.
    pub(super) exact: bool,
}

/// Each of a plan's columns equals the wanted one of the same number.
pub(super) fn same_columns(plan: &LogicalPlan) -> Vec<Same> {
    let columns = plan.schema().columns().into_iter().enumerate();
    columns.map(|(wanted, c)| Same { expr: Expr::Column(c), wanted, exact: true }).collect()
}

/// The rows of `input` that are behind wanted rows, the first `width` of its columns.
pub(super) async fn matching(
    context: &SessionContext,
    input: &LogicalPlan,
    width: usize,
    same: &[Same],
    wanted: &Wanted,
) -> Result<Wanted> {
    let mut found = joined(context, input, width, same, wanted).await?;
    if same.iter().all(|s| s.exact) {
        return Ok(found);
    }
    let missing: BTreeSet<u32> = wanted.tags().difference(&found.tags()).copied().collect();
    if missing.is_empty() {
        return Ok(found);
    }
    let exact: Vec<Same> = same.iter().filter(|s| s.exact).cloned().collect();
    let rest = wanted.filter(|batch, row| {
        let tags = batch.column(0).as_any().downcast_ref::<UInt32Array>();
        tags.is_some_and(|t| missing.contains(&t.value(row)))
    })?;
    let more = joined(context, input, width, &exact, &rest).await?;
    found = found.with(more)?;
    Ok(found)
}

async fn joined(
    context: &SessionContext,
    input: &LogicalPlan,
    width: usize,
    same: &[Same],
    wanted: &Wanted,
) -> Result<Wanted> {
    let build = || -> datafusion::error::Result<LogicalPlanBuilder> {
        let types = wanted.types();
        let mut columns: Vec<Expr> = numbered(input, "c").into_iter().take(width).collect();
        let keys = same.iter().enumerate().map(|(i, s)| {
            let given = datafusion::logical_expr::ExprSchemable::get_type(&s.expr, input.schema().as_ref())?;
            let expr = match types.get(s.wanted) {
                Some(wanted) if *wanted != given => cast(s.expr.clone(), wanted.clone()),
                _ => s.expr.clone(),
            };
            Ok(expr.alias(format!("e{i}")))
        });
        columns.extend(keys.collect::<datafusion::error::Result<Vec<_>>>()?);
        if columns.is_empty() {
            columns.push(datafusion::logical_expr::lit(0_i64).alias("nothing"));
        }
        let left = LogicalPlanBuilder::from(input.clone()).project(columns)?.build()?;
        let mut of_wanted: Vec<usize> = same.iter().map(|s| s.wanted).collect();
        of_wanted.sort_unstable();
        of_wanted.dedup();
        let external = |e: fleuve_types::Error| datafusion::error::DataFusionError::External(Box::new(e));
        let right = wanted.scan().map_err(external)?;
        let right = right
            .project(std::iter::once(plain(TAG)).chain(of_wanted.iter().map(|w| plain(format!("w{w}")))))?
            .distinct()?
            .build()?;
        let on = same.iter().enumerate();
        let on = on.map(|(i, s)| (plain(format!("e{i}")), plain(format!("w{}", s.wanted)))).collect();
        let join = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            None,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        let kept = std::iter::once(plain(TAG)).chain((0..width).map(|i| plain(format!("c{i}"))));
        LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(kept.collect::<Vec<_>>())
    };
    let plan = build().map_err(|e| of_datafusion(&e))?;
    let found = gather(context, plan).await?;
    Ok(Wanted { cut: found.cut || wanted.cut, ..found })
}
