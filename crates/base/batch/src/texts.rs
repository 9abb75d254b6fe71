//! Texts that are cast to numbers, times and lists, as PostgreSQL reads them. Arrow's casts want seconds in a timestamp, take neither blanks around
//! a value nor an exponent in a decimal, cut off digits that a timestamp does not hold, and make a list of a whole text.
//!
//! A cast is one to all rules; only what is about to run has a function in its place.

mod forms;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use fleuve_types::{sql_type_name, with_sql_types};

use crate::names::map_with_names;
pub use forms::{list_items, text_for, time_text};

/// The function that stands for the cast of a text.
pub const TEXT_CAST: &str = "cast_text";

/// The plan with functions in the place of such casts, to be run.
///
/// # Errors
/// DataFusion's.
pub(crate) fn with_read_texts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let node = |plan: LogicalPlan| {
        if !plan.expressions().iter().any(has_cast) {
            return Ok(Transformed::no(plan));
        }
        let schema = merge_schema(&plan.inputs());
        map_with_names(plan, |expr| expr.transform_up(|e| Ok(read_text(e, &schema))))
    };
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

/// An expression with functions in the place of such casts, to be run.
///
/// # Errors
/// DataFusion's.
pub fn reading_texts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if has_cast(&expr) { expr.transform_up(|e| Ok(read_text(e, schema))).map(|t| t.data) } else { Ok(expr) }
}

fn has_cast(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::Cast(cast) if is_read(cast.field.data_type())))).unwrap_or(false)
}

fn read_text(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::Cast(Cast { expr, field })
            if is_read(field.data_type()) && expr.get_type(schema).is_ok_and(|t| t.is_string()) =>
        {
            let signature = Signature::any(1, Volatility::Immutable);
            let func = Arc::new(ScalarUDF::new_from_impl(Read { to: field.data_type().clone(), signature }));
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: vec![*expr] }))
        }
        other => Transformed::no(other),
    }
}

/// True for the types that texts are read as here.
fn is_read(to: &DataType) -> bool {
    match to {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Time64(_) => true,
        DataType::List(of) => of.data_type().is_string() || is_read(of.data_type()) && !of.data_type().is_nested(),
        number => number.is_numeric(),
    }
}

/// `CAST(text AS type)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        TEXT_CAST
    }

    /// A cast has no name of its own.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map(|text| text.schema_name().to_string()).unwrap_or_default())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [text] = args.arg_fields else { return exec_err!("a cast is of one text") };
        Ok(Arc::new(text.as_ref().clone().with_data_type(self.to.clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Scalar(text)] => {
                let value = read(&text.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            [ColumnarValue::Array(texts)] => read(texts, &self.to).map(ColumnarValue::Array),
            _ => exec_err!("a cast is of one text"),
        }
    }
}

/// The values that are written in texts.
///
/// # Errors
/// A text that is none of the type.
fn read(texts: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let plain = |texts: &ArrayRef| {
        let texts = if texts.data_type() == &DataType::Utf8 {
            texts.clone()
        } else {
            arrow::compute::cast(texts, &DataType::Utf8)?
        };
        Ok::<_, ArrowError>(texts)
    };
    if let DataType::List(element) = to {
        return lists(plain(texts)?.as_string::<i32>(), element);
    }
    let other = |texts: &ArrayRef| respelled(texts.as_string::<i32>(), |text| text_for(text, to));
    if let DataType::Timestamp(..) = to {
        // More digits than it has are no error to Arrow.
        let texts = plain(texts)?;
        let texts = other(&texts).unwrap_or(texts);
        return cast_with_options(&texts, to, &strict).map_err(|e| failed(e, to));
    }
    cast_with_options(texts, to, &strict).or_else(|error| match other(&plain(texts)?) {
        Some(texts) => cast_with_options(&texts, to, &strict).map_err(|e| failed(e, to)),
        None => Err(failed(error, to)),
    })
}

/// The texts in another form; `None` if it is theirs already.
fn respelled(texts: &StringArray, form: impl Fn(&str) -> Cow<'_, str>) -> Option<ArrayRef> {
    let changes = texts.iter().flatten().any(|text| form(text) != text);
    changes.then(|| Arc::new(texts.iter().map(|text| text.map(&form)).collect::<StringArray>()) as ArrayRef)
}

/// `{1,2}` as lists.
fn lists(texts: &StringArray, element: &FieldRef) -> Result<ArrayRef> {
    let (mut items, mut lengths) = (vec![], vec![]);
    for text in texts {
        let before = items.len();
        if let Some(text) = text {
            let of_text = list_items(text).ok_or_else(|| exec_datafusion_err!("malformed array literal: '{text}'"))?;
            items.extend(of_text);
        }
        lengths.push(items.len() - before);
    }
    let items: ArrayRef = Arc::new(StringArray::from(items));
    let items = if element.data_type().is_string() {
        arrow::compute::cast(&items, element.data_type())?
    } else {
        read(&items, element.data_type())?
    };
    let element = Arc::new(Field::new(element.name(), element.data_type().clone(), true));
    let nulls = texts.nulls().cloned().map(|nulls| NullBuffer::new(nulls.into_inner()));
    Ok(Arc::new(ListArray::try_new(element, OffsetBuffer::from_lengths(lengths), items, nulls)?))
}

/// Arrow's error with the type's name in SQL.
fn failed(error: ArrowError, to: &DataType) -> DataFusionError {
    let message = match error {
        ArrowError::CastError(m) | ArrowError::ParseError(m) | ArrowError::InvalidArgumentError(m) => m,
        other => other.to_string(),
    };
    // Of decimals it names another type.
    match message.split_once(" to value of ") {
        Some((what, _)) => exec_datafusion_err!("{what} to value of {} type", sql_type_name(to)),
        None => exec_datafusion_err!("{}", with_sql_types(&message)),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT k, s FROM (VALUES (1, ' 12 '), (2, '7'), (3, NULL)) AS q (k, s)";

    #[tokio::test]
    async fn columns_of_texts_are_read() {
        for (text, to, expected) in [
            (" 12 ", "int", "|12|"),
            (" 1.5", "double precision", "|1.5|"),
            ("1e3", "numeric(10, 1)", "|1000.0|"),
            (" 12e-1 ", "numeric(10, 2)", "|1.20|"),
            ("2025-01-05 10:11", "timestamp", "|2025-01-05T10:11:00|"),
            (" 2025-01-05T10:11+02 ", "timestamptz", "|2025-01-05T08:11:00|"),
            ("2025-01-05 10:00:00.0000006", "timestamp", "|2025-01-05T10:00:00.000001|"),
            (" 2025-01-05 ", "date", "|2025-01-05|"),
            (" 10:11:12 ", "time", "|10:11:12|"),
            ("{1, NULL,\"3\"}", "int[]", "|[1,,3]|"),
            ("{}", "text[]", "|[]|"),
            ("{a,b}", "text[]", "|[a,b]|"),
            ("{2025-01-05 10:11}", "timestamp[]", "|[2025-01-05T10:11:00]|"),
        ] {
            let sql = format!("SELECT x::{to} AS v FROM (VALUES (1, '{text}'), (2, NULL)) AS q (k, x) ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), [expected, "||"], "{text}");
        }
        let sql = "SELECT k FROM t WHERE s::int > 10 GROUP BY k, s::int ORDER BY s::int";
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), ["|1|"]);
        let sql = "SELECT k, sum(s::int) OVER (ORDER BY s::int) AS v FROM t WHERE s IS NOT NULL ORDER BY s::int DESC";
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), ["|1|19|", "|2|7|"]);
    }

    #[tokio::test]
    async fn what_is_no_such_value_is_told() {
        for (expr, message) in [
            ("(s || '.5')::int", "Cannot cast string '12 .5' to value of INT type"),
            ("(s || 'x')::numeric(5,1)", "DECIMAL(5,1) type"),
            ("(s || 'x')::timestamp", "Error parsing timestamp from '12 x'"),
            ("('{' || s)::int[]", "malformed array literal: '{ 12 '"),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t");
            let error = testing::rows(TABLE, 1, &sql).await.unwrap_err().to_string();
            assert!(error.contains(message), "{expr}: {error}");
        }
    }
}
