use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column as Named, DFSchema, DataFusionError, Result as DfResult};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use fleuve_batch::{in_words, reading_texts, without_widening};
use fleuve_types::{Error, Result};

/// A logical expression made runnable over batches of `schema`.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let runs = reading_texts(expr.clone(), schema)
        .and_then(|expr| create_physical_expr(&expr, schema, &ExecutionProps::new()))
        .map_err(|e| Error::unsupported(format!("expression {}: {e}", in_words(expr))))?;
    let cannot_fail = runs.downcast_ref::<Column>().is_some() || runs.downcast_ref::<Literal>().is_some();
    Ok(if cannot_fail { runs } else { Arc::new(Written { runs, of: Arc::new(without_widening(expr, schema)) }) })
}

/// An expression with what it was made of, to be told of where it fails. For everything else it is as without that.
#[derive(Debug)]
struct Written {
    runs: Arc<dyn PhysicalExpr>,
    of: Arc<Expr>,
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        *self.runs == *other.runs
    }
}

impl Eq for Written {}

impl Hash for Written {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.runs.hash(state);
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runs.fmt(f)
    }
}

impl PhysicalExpr for Written {
    fn data_type(&self, input: &Schema) -> DfResult<DataType> {
        self.runs.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> DfResult<bool> {
        self.runs.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> DfResult<FieldRef> {
        self.runs.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        self.runs.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.runs]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let runs = children.pop().unwrap_or_else(|| self.runs.clone());
        Ok(Arc::new(Self { runs, of: self.of.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runs.fmt_sql(f)
    }
}

/// An expression without what it was made of, to be a part of others that are compared.
pub(crate) fn unwritten(expr: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
    match expr.downcast_ref::<Written>() {
        Some(written) => Transformed::yes(written.runs.clone()),
        None => Transformed::no(expr),
    }
}

/// An expression as people read it.
pub(crate) fn words_of(expr: &Arc<dyn PhysicalExpr>) -> String {
    match (expr.downcast_ref::<Written>(), expr.downcast_ref::<Column>()) {
        (Some(written), _) => in_words(&written.of),
        (_, Some(column)) => in_words(&Expr::Column(Named::new_unqualified(column.name()))),
        _ => expr.to_string(),
    }
}

/// The value of an expression for each row.
pub(crate) fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(batch)
        .and_then(|v| v.into_array(batch.num_rows()))
        .map_err(|e| Error::input(format!("expression {} failed: {}", words_of(expr), reason(&e))))
}

/// What went wrong, without the names of the libraries that say so.
fn reason(error: &DataFusionError) -> String {
    const PREFIXES: [&str; 5] =
        ["Arrow error: ", "External error: ", "Execution error: ", "Compute error: ", "Cast error: "];
    let told = error.strip_backtrace();
    let mut rest = told.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    if rest == "Divide by zero error" { "division by zero".into() } else { rest.into() }
}

/// The value of a condition for each row; NULL is false.
pub(crate) fn evaluate_filter(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let array = evaluate(expr, batch)?;
    let mask = array
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or_else(|| Error::bug(format!("condition {expr} is not a boolean")))?;
    Ok(if mask.null_count() == 0 { mask.clone() } else { arrow::compute::prep_null_mask_filter(mask) })
}
