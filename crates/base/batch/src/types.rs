//! What rules about types share.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Operator;

/// True for what tells how two values stand to each other.
pub(crate) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// A schema with other types for the columns that have one here.
pub(crate) fn with_types(schema: &DFSchema, types: &[Option<DataType>]) -> Result<DFSchema> {
    let fields = schema.iter().zip(types).map(|((table, field), to)| {
        let field = match to {
            Some(to) => Arc::new(field.as_ref().clone().with_data_type(to.clone())),
            None => field.clone(),
        };
        (table.cloned(), field)
    });
    let new = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    new.with_functional_dependencies(schema.functional_dependencies().clone())
}
