//! `x = ANY (list)` and the like: true where it is of an element, else NULL where it is NULL of one, else false. DataFusion 54.1 knows no NULL in a
//! list, and none before an empty one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array};
use arrow::compute::{kernels::cmp, take};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, in_list, lit,
};
use datafusion::physical_expr_common::datum::compare_op_for_nested;

use super::careful::{columns, lists_of, truth, whole};

/// The functions, which take a list and a value, and what they are called.
const FUNCTIONS: [(Operator, &str); 6] = [
    (Operator::Eq, "any_equal"),
    (Operator::NotEq, "any_not_equal"),
    (Operator::Lt, "any_greater"),
    (Operator::LtEq, "any_greater_or_equal"),
    (Operator::Gt, "any_less"),
    (Operator::GtEq, "any_less_or_equal"),
];

/// The function for `x op ANY (list)`.
pub fn any_function(op: Operator) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(of, _)| *of == op).map(|(_, name)| *name)
}

/// The operator of such a function.
pub fn operator_of_any(name: &str) -> Option<Operator> {
    FUNCTIONS.iter().find(|(_, of)| *of == name).map(|(op, _)| *op)
}

/// `any(list)`, to be shown behind an operator.
pub(crate) fn any_of(list: Expr) -> Expr {
    ScalarUDF::from(AnyOf { of: array_has_udf(), op: Operator::Eq, name: "any" }).call(vec![list])
}

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    FUNCTIONS.into_iter().map(|(op, name)| AnyOf { of: array_has_udf(), op, name }.into())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AnyOf {
    /// What knows the types.
    of: Arc<ScalarUDF>,
    op: Operator,
    name: &'static str,
}

impl ScalarUDFImpl for AnyOf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [Expr::Literal(list @ ScalarValue::List(_), _), value] = args.as_slice() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        if self.op != Operator::Eq || list.is_null() {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let elements = ScalarValue::convert_array_to_scalar_vec(&list.to_array()?)?.into_iter().flatten().flatten();
        let (nulls, elements): (Vec<_>, Vec<_>) = elements.partition(ScalarValue::is_null);
        let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
        Ok(ExprSimplifyResult::Simplified(match (elements.is_empty(), nulls.is_empty()) {
            (true, true) => lit(false),
            (true, false) => unknown,
            (false, _) => {
                let is_one = in_list(value.clone(), elements.into_iter().map(lit).collect(), false);
                if nulls.is_empty() { is_one } else { is_one.or(unknown) }
            }
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arrays, is_one) = columns(&args)?;
        let [lists, values] = arrays.as_slice() else { return exec_err!("{} takes an array and a value", self.name) };
        if lists.data_type().is_null() {
            return truth(BooleanArray::new_null(lists.len()), is_one);
        }
        let lists = lists_of(lists)?;
        let ranges: Vec<_> = (0..lists.len()).map(|row| whole(lists, row)).collect();
        let places = ranges.iter().flatten().cloned().flatten();
        let elements = take(lists.values(), &Int32Array::from_iter_values(places), None)?;
        let rows =
            ranges.iter().zip(0..).flat_map(|(range, row)| range.iter().flat_map(|r| r.clone()).map(move |_| row));
        let values = take(values, &Int32Array::from_iter_values(rows), None)?;
        let compared = compared(&values, self.op, &elements)?;
        let mut at = 0;
        let one = |range: Option<std::ops::Range<i32>>| {
            let places = at..at + range.as_ref().map_or(0, ExactSizeIterator::len);
            at = places.end;
            range?;
            let is_true = |at: usize| compared.is_valid(at) && compared.value(at);
            if places.clone().any(is_true) {
                return Some(true);
            }
            if places.into_iter().any(|at| compared.is_null(at)) { None } else { Some(false) }
        };
        truth(ranges.into_iter().map(one).collect(), is_one)
    }
}

fn compared(values: &ArrayRef, op: Operator, elements: &ArrayRef) -> Result<BooleanArray> {
    if elements.data_type().is_null() || values.data_type().is_null() {
        return Ok(BooleanArray::new_null(elements.len()));
    }
    if elements.data_type().is_nested() {
        return compare_op_for_nested(op, values, elements);
    }
    Ok(match op {
        Operator::Eq => cmp::eq(values, elements),
        Operator::NotEq => cmp::neq(values, elements),
        Operator::Lt => cmp::lt(values, elements),
        Operator::LtEq => cmp::lt_eq(values, elements),
        Operator::Gt => cmp::gt(values, elements),
        Operator::GtEq => cmp::gt_eq(values, elements),
        other => return exec_err!("{other} ANY is not offered"),
    }?)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, 2, [1, 2]), (2, 3, [1, NULL]), (3, NULL, [1]), (4, NULL, arrow_cast([], 'List(Int64)')), (5, 1, NULL), (6, 1, [NULL, 1])) AS q (k, x, l)";

    #[tokio::test]
    async fn any_knows_null() {
        for (call, expected) in [
            ("any_equal(l, x)", ["|true|", "||", "||", "|false|", "||", "|true|"]),
            ("any_not_equal(l, x)", ["|true|", "|true|", "||", "|false|", "||", "||"]),
            ("any_greater(l, x)", ["|false|", "||", "||", "|false|", "||", "||"]),
            ("any_greater_or_equal(l, x)", ["|true|", "||", "||", "|false|", "||", "|true|"]),
            ("any_less(l, x)", ["|true|", "|true|", "||", "|false|", "||", "||"]),
            ("any_less_or_equal(l, x)", ["|true|", "|true|", "||", "|false|", "||", "|true|"]),
            ("any_equal(nullif(l, l), x)", ["||"; 6]),
            ("any_equal(l, 2)", ["|true|", "||", "|false|", "|false|", "||", "||"]),
            ("any_equal([1, NULL], x)", ["||", "||", "||", "||", "|true|", "|true|"]),
            ("any_equal([2, 3], x)", ["|true|", "|true|", "||", "||", "|false|", "|false|"]),
            ("any_equal([2, 3], x + 0.0)", ["|true|", "|true|", "||", "||", "|false|", "|false|"]),
            ("any_equal(arrow_cast([], 'List(Int64)'), x)", ["|false|"; 6]),
            ("any_equal([1, NULL], 3)", ["||"; 6]),
            ("any_equal(NULL, x)", ["||"; 6]),
            ("any_less(['a', 'b'], 'b')", ["|true|"; 6]),
        ] {
            let sql = format!("SELECT {call} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{call}");
        }
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        let shown: Vec<String> =
            super::functions().map(|f| crate::in_words(&f.call(vec![col("l"), col("x") + lit(1)]))).collect();
        assert_eq!(shown[0], "x + 1 = any(l)");
        assert_eq!(shown[5], "x + 1 >= any(l)");
        let contains = crate::arrays::sets::contains().call(vec![col("a"), col("b")]);
        assert_eq!(crate::in_words(&contains), "a @> b");
    }

    #[tokio::test]
    async fn a_list_that_is_written_is_one_of_values() {
        let context = testing::context(1);
        context.sql(TABLE).await.unwrap().collect().await.unwrap();
        let plan = context.sql("SELECT k FROM t WHERE any_equal([1, 2, 3, 4], x)").await.unwrap().into_optimized_plan();
        let plan = plan.unwrap().display_indent().to_string();
        assert!(plan.contains("IN (["), "{plan}");
    }
}
