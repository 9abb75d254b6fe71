//! Texts that become bytes or times, as PostgreSQL reads them.
//!
//! DataFusion (54.1) takes the letters of a text for its bytes, wants seconds in a time of day, and cuts off the digits
//! that a timestamp does not hold.

mod bytes;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use fleuve_batch::{text_for, time_text};

pub use bytes::of_text as bytes_of_text;
pub(crate) use bytes::{bytea, counted};

/// Reads the texts in a plan that it casts to bytes or times itself: those that are compared or stored as such.
#[derive(Debug)]
pub(crate) struct TextLiterals;

impl AnalyzerRule for TextLiterals {
    fn name(&self) -> &str {
        "text_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let node = |plan: LogicalPlan| {
            if !has_literal(&plan)? {
                return Ok(Transformed::no(plan));
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(read)?.update_data(|expr| name.restore(expr)))
            })
        };
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn has_literal(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        expr.apply(|e| {
            found |= literal(e).is_some();
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// The text of a literal that is cast to bytes or a time.
fn literal(expr: &Expr) -> Option<(&str, &DataType)> {
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    let Expr::Literal(value, _) = expr.as_ref() else { return None };
    let text = value.try_as_str().flatten()?;
    let wanted = match field.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        to => text_for(text, to) != text,
    };
    wanted.then_some((text, field.data_type()))
}

fn read(expr: Expr) -> Result<Transformed<Expr>> {
    let Some((text, data_type)) = literal(&expr) else { return Ok(Transformed::no(expr)) };
    let value = match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            ScalarValue::Binary(Some(bytes::of_text(text)?))
        }
        to => ScalarValue::Utf8(Some(text_for(text, to).into_owned())),
    };
    Ok(Transformed::yes(Expr::Cast(Cast::new(Box::new(Expr::Literal(value, None)), data_type.clone()))))
}

/// A column of texts as a stream's column of another type takes it.
///
/// # Errors
/// A text that is no such bytes.
pub(crate) fn assigned(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if !matches!(to, DataType::Binary | DataType::Timestamp(..)) {
        return Ok(column.clone());
    }
    let texts = match column.data_type() {
        DataType::Utf8 => column.clone(),
        DataType::Utf8View | DataType::LargeUtf8 => arrow::compute::cast(column, &DataType::Utf8)?,
        _ => return Ok(column.clone()),
    };
    let texts = texts.as_string::<i32>();
    if let DataType::Timestamp(unit, _) = to {
        return Ok(Arc::new(texts.iter().map(|t| t.map(|t| time_text(t, *unit))).collect::<StringArray>()));
    }
    let all: Vec<Option<Vec<u8>>> = texts.iter().map(|t| t.map(bytes::of_text).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(BinaryArray::from_iter(all)))
}
