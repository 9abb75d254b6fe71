//! Times and floating-point numbers that become texts, as PostgreSQL writes them: `2026-05-01 08:00:00+00` and `1e+20`. Arrow (58) writes
//! `2026-05-01T08:00:00Z` and `1e20`, and `100000.0` for a whole number.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use chrono::DateTime;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::names::map_with_names;

/// The function that stands for such a cast.
pub(crate) const TEXT_OF: &str = "fleuve_text";

/// Puts a function in the place of such casts. To come after types are settled, where that is what an object's edition says.
#[derive(Debug)]
pub struct WrittenValues;

impl AnalyzerRule for WrittenValues {
    fn name(&self) -> &str {
        "written_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.exists(|e| Ok(matches!(e, Expr::Cast(cast) if cast.field.data_type().is_string())))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&plan.inputs());
    map_with_names(plan, |expr| expr.transform_up(|e| Ok(written(e, &schema))))
}

fn written(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(Text { signature: Signature::any(1, Volatility::Immutable) }))
    });
    match expr {
        Expr::Cast(Cast { expr, field })
            if field.data_type().is_string() && expr.get_type(schema).is_ok_and(|t| is_written(&t)) =>
        {
            let text = FUNCTION.call(vec![*expr]);
            Transformed::yes(match field.data_type() {
                DataType::Utf8 => text,
                _ => Expr::Cast(Cast { expr: Box::new(text), field }),
            })
        }
        other => Transformed::no(other),
    }
}

fn is_written(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(..) | DataType::Float32 | DataType::Float64)
}

/// `CAST(value AS TEXT)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Text {
    signature: Signature,
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        TEXT_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Scalar(value)] => {
                let text = texts(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&text, 0)?))
            }
            [ColumnarValue::Array(values)] => texts(values).map(ColumnarValue::Array),
            _ => exec_err!("a cast is of one value"),
        }
    }
}

fn texts(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().iter().map(|v| v.map(double)).collect::<StringArray>())
        }
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().iter().map(|v| v.map(real)).collect::<StringArray>())
        }
        DataType::Timestamp(unit, zone) => Arc::new(times(values, *unit, zone.is_some())?),
        other => return exec_err!("no texts are made of {other} here"),
    })
}

fn times(values: &ArrayRef, unit: TimeUnit, has_zone: bool) -> Result<StringArray> {
    let counts = arrow::compute::cast(values, &DataType::Int64)?;
    let moment = |count: i64| match unit {
        TimeUnit::Second => DateTime::from_timestamp_secs(count),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(count),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(count),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(count)),
    };
    let text = |count: i64| {
        let time = moment(count).ok_or_else(|| exec_datafusion_err!("a timestamp is out of range"))?;
        let text = time.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
        let text = text.trim_end_matches('0').trim_end_matches('.');
        Ok(format!("{text}{}", if has_zone { "+00" } else { "" }))
    };
    counts.as_primitive::<Int64Type>().iter().map(|count| count.map(text).transpose()).collect()
}

fn double(value: f64) -> String {
    number(&format!("{value:e}"), 15)
}

fn real(value: f32) -> String {
    number(&format!("{value:e}"), 6)
}

/// A number in the fewest digits that it can be read again from, given as `d.ddde-x`: with an exponent from 10 to the power of `most` on, and below
/// 0.0001 (PostgreSQL 15, 8.1.3).
fn number(shortest: &str, most: i32) -> String {
    let (sign, rest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest),
    };
    let Some((mantissa, exponent)) = rest.split_once('e') else {
        // Rust writes `inf` and `NaN`.
        return if rest == "inf" { format!("{sign}Infinity") } else { rest.to_owned() };
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    if exponent < -4 || exponent >= most {
        let (way, size) = if exponent < 0 { ('-', -exponent) } else { ('+', exponent) };
        return format!("{sign}{mantissa}e{way}{size:02}");
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits:0<whole$}");
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

#[cfg(test)]
mod tests {
    use super::{double, real};

    #[test]
    fn numbers_are_written_as_postgresql_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100_000.0, "100000"),
            (123_456.789, "123456.789"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e20, "1.5e+20"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1_234_567_890_123_456.7, "1.2345678901234568e+15"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (0.1, "0.1"),
            (1e-300, "1e-300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double(value), text);
        }
        for (value, text) in [
            (0.1_f32, "0.1"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (123_456.7, "123456.7"),
            (1_234_567.0, "1.234567e+06"),
        ] {
            assert_eq!(real(value), text);
        }
    }
}
