//! Rows that an expression fails for are behind no answer of a view that leaves them out: they are left out of what is
//! read, too.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, Operator,
    Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort, Volatility, Window,
};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use fleuve_batch::{can_fail_in, has_subquery};

/// The same plan, without the rows that an expression fails for. What is computed of the value of a subquery stays as
/// it is.
pub(crate) fn without_failing(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| Ok(Transformed::yes(careful(node)?))).map(|t| t.data)
}

fn careful(node: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match node {
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let predicate = attempted(predicate, input.schema())?.data;
            LogicalPlan::Filter(Filter::try_new(predicate, input)?)
        }
        LogicalPlan::Projection(Projection { expr, input, schema, .. }) => {
            let failing = failing(&expr, input.schema());
            let careful = |e: Expr| {
                let (of, name) = e.qualified_name();
                let tried = attempted(e, input.schema())?;
                Ok(if tried.transformed { tried.data.unalias().alias_qualified(of, name) } else { tried.data })
            };
            let exprs = expr.into_iter().map(careful).collect::<Result<_>>()?;
            let input = succeeding(&input, failing)?;
            Projection::try_new_with_schema(exprs, input, schema).map(LogicalPlan::Projection)?
        }
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) => {
            let failing = failing(group_expr.iter().chain(&aggr_expr), input.schema());
            let input = succeeding(&input, failing)?;
            Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema).map(LogicalPlan::Aggregate)?
        }
        LogicalPlan::Window(Window { input, window_expr, schema, .. }) => {
            let input = succeeding(&input, failing(&window_expr, input.schema()))?;
            Window::try_new_with_schema(window_expr, input, schema).map(LogicalPlan::Window)?
        }
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let input = succeeding(&input, failing(expr.iter().map(|s| &s.expr), input.schema()))?;
            LogicalPlan::Sort(Sort { expr, input, fetch })
        }
        LogicalPlan::Join(join) => {
            // A pair that the condition fails for counts as no match.
            let both = join.left.schema().join(join.right.schema());
            let filter = join.filter.map(|f| both.and_then(|both| attempted(f, &both))).transpose()?.map(|f| f.data);
            let (mut left, mut right) = (join.left, join.right);
            if !matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark) {
                left = succeeding(&left, failing(join.on.iter().map(|(l, _)| l), left.schema()))?;
                right = succeeding(&right, failing(join.on.iter().map(|(_, r)| r), right.schema()))?;
            }
            LogicalPlan::Join(Join { left, right, filter, ..join })
        }
        other => other,
    })
}

/// What can fail of expressions. Of calls of aggregates and window functions, of sets of groups, and beside a subquery
/// it is their parts.
fn failing<'e>(exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> Vec<Expr> {
    let mut found: Vec<Expr> = vec![];
    for expr in exprs {
        let looked = expr.apply(|e| {
            Ok(match e {
                Expr::Alias(_) | Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::GroupingSet(_) => {
                    TreeNodeRecursion::Continue
                }
                // What is behind a condition may not be computed.
                Expr::Case(_) | Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. })
                    if has_subquery(e) =>
                {
                    TreeNodeRecursion::Jump
                }
                e if has_subquery(e) => TreeNodeRecursion::Continue,
                e => {
                    if !found.contains(e) && is_careless(e, schema) {
                        found.push(e.clone());
                    }
                    TreeNodeRecursion::Jump
                }
            })
        });
        debug_assert!(looked.is_ok());
    }
    found
}

fn is_careless(expr: &Expr, schema: &DFSchema) -> bool {
    let is_of_rows = |e: &Expr| {
        !e.column_refs().is_empty() && !e.exists(|e| Ok(matches!(e, Expr::OuterReferenceColumn(..)))).unwrap_or(true)
    };
    can_fail_in(expr, schema) && !has_subquery(expr) && is_of_rows(expr)
}

/// An expression that is NULL, instead of failing. Beside a subquery it is the parts that are.
fn attempted(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|e| {
        if is_careless(&e, schema) {
            let tried = Attempt::of(e, schema, Told::Value)?;
            return Ok(Transformed::new(tried, true, TreeNodeRecursion::Jump));
        }
        let goes_on = has_subquery(&e) || matches!(e, Expr::Alias(_));
        let next = if goes_on { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Jump };
        Ok(Transformed::new(e, false, next))
    })
}

/// The rows that none of these expressions fails for.
fn succeeding(input: &Arc<LogicalPlan>, exprs: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    let kept = exprs.into_iter().map(|e| Attempt::of(e, input.schema(), Told::Success));
    let kept = kept.collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::and);
    Ok(match kept {
        Some(kept) => Arc::new(LogicalPlan::Filter(Filter::try_new(kept, input.clone())?)),
        None => input.clone(),
    })
}

/// The expression that was there before.
pub(super) fn as_written(expr: &Expr) -> Option<&Expr> {
    attempt(expr).map(|a| &a.expr)
}

fn attempt(expr: &Expr) -> Option<&Attempt> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref(),
        _ => None,
    }
}

/// The expressions of a condition that says no more than that they do not fail.
pub(super) fn of_success(condition: &Expr) -> Option<Vec<&Expr>> {
    let parts = split_conjunction(condition).into_iter();
    parts.map(|e| attempt(e).filter(|a| a.told == Told::Success).map(|a| &a.expr)).collect()
}

/// What is told of an expression that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    /// Its value; where it fails NULL, or anything if it is never NULL.
    Value,
    /// Whether it does not fail.
    Success,
}

/// An expression over columns that are its arguments. Whether it fails for a row depends on that row alone.
#[derive(Debug)]
struct Attempt {
    expr: Expr,
    told: Told,
    name: String,
    /// The columns, by number.
    read: SchemaRef,
    returned: FieldRef,
    compiled: Arc<dyn PhysicalExpr>,
    signature: Signature,
}

impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        (&self.expr, self.told, &self.read) == (&other.expr, other.told, &other.read)
    }
}

impl Eq for Attempt {}

impl Hash for Attempt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.expr, self.told, &self.read).hash(state);
    }
}

impl Attempt {
    fn of(expr: Expr, schema: &DFSchema, told: Told) -> Result<Expr> {
        let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
        columns.sort();
        let field = |c: &Column| {
            let (of, field) = schema.qualified_field(schema.index_of_column(c)?);
            Ok((of.cloned(), field.clone()))
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
        let own = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
        let (_, field) = expr.to_field(&own)?;
        let returned = match told {
            Told::Value => Field::new("value", field.data_type().clone(), field.is_nullable()),
            Told::Success => Field::new("success", DataType::Boolean, false),
        };
        let attempt = Self {
            name: format!("fleuve_{}({})", returned.name(), expr.schema_name()),
            compiled: create_physical_expr(
                &fleuve_batch::reading_texts(expr.clone(), &own)?,
                &own,
                &ExecutionProps::new(),
            )?,
            read: by_number(own.fields().iter().map(|f| f.data_type())),
            returned: Arc::new(returned),
            signature: Signature::any(columns.len(), Volatility::Immutable),
            expr,
            told,
        };
        Ok(ScalarUDF::new_from_impl(attempt).call(columns.into_iter().map(Expr::Column).collect()))
    }

    /// What is told of the rows.
    fn tell(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        let work = || self.compiled.evaluate(rows)?.into_array(rows.num_rows());
        let tried = catch_unwind(AssertUnwindSafe(work));
        let tried = tried.unwrap_or_else(|_| Err(exec_datafusion_err!("a function panicked")));
        match (tried, rows.num_rows()) {
            (Ok(values), n) => Ok(match self.told {
                Told::Value => values,
                Told::Success => Arc::new(BooleanArray::from(vec![true; n])),
            }),
            (Err(e), 0) => Err(e),
            (Err(_), 1) => match self.told {
                Told::Success => Ok(Arc::new(BooleanArray::from(vec![false]))),
                Told::Value if self.returned.is_nullable() => {
                    Ok(arrow::array::new_null_array(self.returned.data_type(), 1))
                }
                Told::Value => ScalarValue::new_default(self.returned.data_type())?.to_array(),
            },
            (Err(_), n) => {
                let halves = [self.tell(&rows.slice(0, n / 2))?, self.tell(&rows.slice(n / 2, n - n / 2))?];
                Ok(arrow::compute::concat(&[halves[0].as_ref(), halves[1].as_ref()])?)
            }
        }
    }
}

/// Columns of these types.
fn by_number<'t>(types: impl Iterator<Item = &'t DataType>) -> SchemaRef {
    let fields = types.enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl ScalarUDFImpl for Attempt {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returned.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(self.returned.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = args.args.iter().zip(self.read.fields()).map(|(value, field)| {
            let column = value.clone().into_array(args.number_rows)?;
            Ok::<_, DataFusionError>(arrow::compute::cast(&column, field.data_type())?)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new_with_options(self.read.clone(), columns, &options)?;
        let told = self.tell(&rows)?;
        debug_assert_eq!(told.len(), args.number_rows);
        Ok(ColumnarValue::Array(told))
    }
}
