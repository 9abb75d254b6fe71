//! Expressions of a plan in the names that a user wrote.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::failing::as_written;
use crate::window::as_of_part_value;

/// An expression over the columns of some plans as people read it; `None` if it names what nobody wrote.
pub(super) fn words(expr: &Expr, over: &[&LogicalPlan]) -> Option<String> {
    fleuve_batch::words(expr, over, &|e| as_written(e).or_else(|| as_of_part_value(e)).cloned())
}

/// Those of the expressions that have words.
pub(super) fn listed<'e>(exprs: impl IntoIterator<Item = &'e Expr>, over: &LogicalPlan) -> String {
    exprs.into_iter().filter_map(|e| words(e, &[over])).collect::<Vec<_>>().join(", ")
}

/// Those parts of a condition that have words.
pub(super) fn condition(expr: &Expr, over: &[&LogicalPlan]) -> Vec<String> {
    let whole = as_written(expr).unwrap_or(expr);
    split_conjunction(whole).into_iter().filter_map(|e| words(e, over)).collect()
}
