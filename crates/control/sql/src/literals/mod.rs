//! Texts that become bytes or times, as PostgreSQL reads them.
//!
//! DataFusion (54.1) takes the letters of a text for its bytes, wants seconds in a time of day, and cuts off the digits
//! that a timestamp does not hold.

mod bytes;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDateTime, TimeDelta};
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
        DataType::Timestamp(unit, _) => matches!(of_time(text, *unit), Cow::Owned(_)),
        _ => false,
    };
    wanted.then_some((text, field.data_type()))
}

fn read(expr: Expr) -> Result<Transformed<Expr>> {
    let Some((text, data_type)) = literal(&expr) else { return Ok(Transformed::no(expr)) };
    let value = match data_type {
        DataType::Timestamp(unit, _) => ScalarValue::Utf8(Some(of_time(text, *unit).into_owned())),
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
    if let DataType::Timestamp(unit, _) = to {
        return Ok(Arc::new(texts.iter().map(|t| t.map(|t| of_time(t, *unit))).collect::<StringArray>()));
    }
    let all: Vec<Option<Vec<u8>>> = texts.iter().map(|t| t.map(bytes::of_text).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(BinaryArray::from_iter(all)))
}

/// The text of a time as DataFusion reads it: with seconds, and with no more digits behind them than the unit has.
fn of_time(text: &str, unit: TimeUnit) -> Cow<'_, str> {
    let digits = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    rounded(text, digits).map_or_else(|| with_seconds(text), Cow::Owned)
}

/// A time that has more digits behind its seconds, rounded to so many.
fn rounded(text: &str, digits: usize) -> Option<String> {
    let (whole, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (part, rest) = rest.split_at(end);
    if part.len() <= digits {
        return None;
    }
    let form = if whole.contains(['T', 't']) { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let whole = NaiveDateTime::parse_from_str(&whole.trim().replace('t', "T"), form).ok()?;
    let scale = 10_f64.powi(digits as i32);
    // As PostgreSQL does, which reads the part as a floating-point number.
    let count = (format!("0.{part}").parse::<f64>().ok()? * scale).round_ties_even();
    let nanos = TimeDelta::nanoseconds(count as i64 * 10_i64.pow(9 - digits as u32));
    let time = whole.checked_add_signed(nanos)?.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
    Some(format!("{}{rest}", &time[..time.len() - (9 - digits) - usize::from(digits == 0)]))
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
