//! Bytes out of text, and how many there are.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The bytes that PostgreSQL reads in a text: two digits each behind `\x`, else its letters, with `\\` and `\` with three octal digits.
///
/// # Errors
/// Anything else.
pub fn of_text(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => of_digits(digits),
        None => of_escapes(text),
    }
}

fn of_digits(digits: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(digits.len() / 2);
    let mut rest = digits.chars().filter(|c| !c.is_ascii_whitespace());
    let value = |c: char| match c.to_digit(16) {
        Some(digit) => Ok(digit as u8),
        None => exec_err!("\"{c}\" is not a hexadecimal digit, and a BYTEA that begins with \\x has no other"),
    };
    while let Some(first) = rest.next() {
        let Some(second) = rest.next() else {
            return exec_err!("a BYTEA that begins with \\x has two digits for each byte, and here is one too few");
        };
        out.push(value(first)? * 16 + value(second)?);
    }
    Ok(out)
}

fn of_escapes(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                tail
            }
            (b'\\', _) => {
                return exec_err!(
                    "in a BYTEA a backslash stands before x at its beginning, before three octal digits, or before another one"
                );
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    Ok(out)
}

/// `text::bytea`
pub(crate) fn bytea() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Bytea { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bytea {
    signature: Signature,
}

impl ScalarUDFImpl for Bytea {
    fn name(&self) -> &str {
        "bytea"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        match of {
            [t] if t.is_string() || t.is_binary() || t.is_null() => Ok(DataType::Binary),
            [t] => plan_err!("a {} cannot be cast to BYTEA", fleuve_types::sql_type_name(t)),
            _ => plan_err!("bytea takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return exec_err!("bytea takes one value") };
        if let ColumnarValue::Scalar(scalar) = value
            && let Some(text) = scalar.try_as_str()
        {
            return Ok(ColumnarValue::Scalar(ScalarValue::Binary(text.map(of_text).transpose()?)));
        }
        let array = value.to_array(args.number_rows)?;
        let bytes = super::assigned(&array, &DataType::Binary)?;
        Ok(ColumnarValue::Array(arrow::compute::cast(&bytes, &DataType::Binary)?))
    }
}

/// Plans the length of bytes, which DataFusion (54.1) knows of text alone, as a function of the same name.
pub(crate) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::ScalarFunction(mut f)
                    if f.func.name() == "character_length"
                        && f.args.first().and_then(|e| e.get_type(&schema).ok()).is_some_and(|t| t.is_binary()) =>
                {
                    let signature = Signature::any(1, Volatility::Immutable);
                    f.func = Arc::new(ScalarUDF::new_from_impl(Length { signature }));
                    Ok(Transformed::yes(Expr::ScalarFunction(f)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(counted.data)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "character_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return exec_err!("length takes one value") };
        let array = arrow::compute::cast(&value.to_array(args.number_rows)?, &DataType::Binary)?;
        let array: &BinaryArray = array.as_binary();
        let lengths: Int32Array = array.iter().map(|b| b.map(|b| b.len() as i32)).collect();
        Ok(ColumnarValue::Array(Arc::new(lengths) as ArrayRef))
    }
}
