//! `(list)[i]` and `(list)[i:j]`, whose first place is 1: there is nothing before it. DataFusion's functions (54.1) count places below 1 from the end.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::Result;
use datafusion::functions_nested::extract::{array_element_udf, array_slice_udf};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::careful::{answer, with_bare_nulls};

/// The function for an element.
pub(super) fn element() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(Subscript { of: array_element_udf() }.into()));
    FUNCTION.clone()
}

/// The function for a slice.
pub(super) fn slice() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Subscript { of: array_slice_udf() }.into()));
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Subscript {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Subscript {
    as_its_own!();

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.of.schema_name(args)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(ColumnarValue::Array(lists)) = args.args.first_mut() {
            *lists = with_bare_nulls(lists)?;
        }
        match args.args.as_mut_slice() {
            [_, place] => *place = each(place, of_element)?,
            [_, from, to, ..] => {
                let is_one = [&*from, &*to].into_iter().all(|bound| matches!(bound, ColumnarValue::Scalar(_)));
                let rows = if is_one { 1 } else { args.number_rows };
                let (lower, upper) = (from.to_array(rows)?, to.to_array(rows)?);
                let bounds = lower.as_primitive::<Int64Type>().iter().zip(upper.as_primitive::<Int64Type>());
                let (lower, upper): (Vec<_>, Vec<_>) = bounds.map(|(from, to)| of_slice(from, to)).unzip();
                (*from, *to) = (as_given(lower, is_one)?, as_given(upper, is_one)?);
            }
            _ => {}
        }
        self.of.invoke_with_args(args)
    }
}

const MOST: i64 = i32::MAX as i64;

/// A place as DataFusion's function takes it; 0 is none.
fn of_element(place: Option<i64>) -> Option<i64> {
    Some(place.filter(|place| (1..=MOST).contains(place)).unwrap_or(0))
}

/// Bounds as DataFusion's function takes them.
fn of_slice(from: Option<i64>, to: Option<i64>) -> (Option<i64>, Option<i64>) {
    match (from, to) {
        (Some(_), Some(to)) if to < 1 => (Some(MOST), Some(MOST)),
        (from, to) => (from.map(|from| from.clamp(1, MOST)), to.map(|to| to.min(MOST))),
    }
}

fn each(values: &ColumnarValue, of: impl Fn(Option<i64>) -> Option<i64>) -> Result<ColumnarValue> {
    let is_one = matches!(values, ColumnarValue::Scalar(_));
    let array = values.to_array(1)?;
    as_given(array.as_primitive::<Int64Type>().iter().map(of).collect(), is_one)
}

fn as_given(values: Vec<Option<i64>>, is_one: bool) -> Result<ColumnarValue> {
    answer(Arc::new(Int64Array::from(values)), is_one)
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, [1, 2, 3], 2), (2, [4], NULL), (3, NULL, 1), (4, arrow_cast([], 'List(Int64)'), -1), (5, [5, 6], 0)) AS q (k, l, n)";

    #[tokio::test]
    async fn nothing_is_before_the_first() {
        for (expr, expected) in [
            ("l[n]", ["|2|", "||", "||", "||", "||"]),
            ("l[-1]", ["||"; 5]),
            ("l[nullif(n, n)]", ["||"; 5]),
            ("l[n:3]", ["|[2,3]|", "||", "||", "|[]|", "|[5,6]|"]),
            ("l[-1:2]", ["|[1,2]|", "|[4]|", "||", "|[]|", "|[5,6]|"]),
            ("l[0:0]", ["|[]|", "|[]|", "||", "|[]|", "|[]|"]),
            ("l[2:n]", ["|[2]|", "||", "||", "|[]|", "|[]|"]),
            ("l[-2:-1]", ["|[]|", "|[]|", "||", "|[]|", "|[]|"]),
            ("l[2:99999999999]", ["|[2,3]|", "|[]|", "||", "|[]|", "|[6]|"]),
            ("l[n - 9999999999]", ["||"; 5]),
            ("[7, 8][n]", ["|8|", "||", "|7|", "||", "||"]),
            ("array_element(l, -1)", ["|3|", "|4|", "||", "||", "|6|"]),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{expr}");
        }
        let sql = "SELECT (array_agg(k ORDER BY k))[2] AS v FROM t";
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), ["|2|"]);
    }
}
