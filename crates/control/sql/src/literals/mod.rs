//! Texts that become bytes or times, as PostgreSQL reads them.
//!
//! DataFusion (54.1) takes the letters of a text for its bytes, and wants seconds in a time of day.

mod bytes;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

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
        DataType::Timestamp(..) => matches!(with_seconds(text), Cow::Owned(_)),
        _ => false,
    };
    wanted.then_some((text, field.data_type()))
}

fn read(expr: Expr) -> Result<Transformed<Expr>> {
    let Some((text, data_type)) = literal(&expr) else { return Ok(Transformed::no(expr)) };
    let value = match data_type {
        DataType::Timestamp(..) => ScalarValue::Utf8(Some(with_seconds(text).into_owned())),
        _ => ScalarValue::Binary(Some(bytes::of_text(text)?)),
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
    if matches!(to, DataType::Timestamp(..)) {
        return Ok(Arc::new(texts.iter().map(|t| t.map(with_seconds)).collect::<StringArray>()));
    }
    let all: Vec<Option<Vec<u8>>> = texts.iter().map(|t| t.map(bytes::of_text).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(BinaryArray::from_iter(all)))
}

/// `2026-05-01 08:00` with the seconds that it leaves out.
fn with_seconds(text: &str) -> Cow<'_, str> {
    let shape = b"0000-00-00 00:00";
    let trimmed = text.trim();
    let Some((minutes, rest)) = trimmed.split_at_checked(shape.len()) else { return Cow::Borrowed(text) };
    let fits = minutes.bytes().zip(shape).all(|(have, want)| match want {
        b'0' => have.is_ascii_digit(),
        b' ' => matches!(have, b' ' | b'T' | b't'),
        want => have == *want,
    });
    let ends = rest.chars().next().is_none_or(|c| matches!(c, ' ' | '+' | '-' | 'Z' | 'z'));
    if fits && ends { Cow::Owned(format!("{minutes}:00{rest}")) } else { Cow::Borrowed(text) }
}
