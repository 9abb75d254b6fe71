//! The order of lists, and of structs. In SQL a NULL in them comes behind all other values. DataFusion 54.1 sorts them like that, but compares
//! them (`a < b`, and a sort with LIMIT what it still needs) with a NULL before all others, so that `ORDER BY tags LIMIT 5` loses rows.
//!
//! Such values are encoded as bytes that have their order (Arrow's row format).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, BinaryBuilder};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::names::map_with_names;

/// Compares lists and structs by the order that they have in SQL. To come after types are settled.
#[derive(Debug)]
pub(crate) struct OrderedLists;

impl AnalyzerRule for OrderedLists {
    fn name(&self) -> &str {
        "ordered_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let mut is_of_interest = false;
    plan.apply_expressions(|expr| {
        is_of_interest = is_of_interest || expr.exists(|e| Ok(compares_nested(e, &schema)))?;
        Ok(if is_of_interest { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !is_of_interest {
        return Ok(Transformed::no(plan));
    }
    map_with_names(plan, |expr| {
        expr.transform_up(|e| match e {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_order(op) && is_nested(&left, &schema) => {
                let (left, right) = (Box::new(in_order(*left, false)), Box::new(in_order(*right, false)));
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
            }
            Expr::Between(between) if is_nested(&between.expr, &schema) => {
                let [expr, low, high] =
                    [between.expr, between.low, between.high].map(|e| Box::new(in_order(*e, false)));
                Ok(Transformed::yes(Expr::Between(Between { expr, low, high, ..between })))
            }
            other => Ok(Transformed::no(other)),
        })
    })
}

fn compares_nested(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(both) => is_order(both.op) && is_nested(&both.left, schema),
        Expr::Between(between) => is_nested(&between.expr, schema),
        _ => false,
    }
}

fn is_order(op: Operator) -> bool {
    matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn is_nested(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| matches!(t, DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_)))
}

/// A value as bytes that have its order, with NULLs in it behind or before all other values.
pub(crate) fn in_order(value: Expr, nulls_first: bool) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(InOrder { signature: Signature::any(2, Volatility::Immutable) }))
    });
    FUNCTION.call(vec![value, lit(nulls_first)])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    signature: Signature,
}

impl ScalarUDFImpl for InOrder {
    fn name(&self) -> &str {
        "fleuve_in_order"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [values, ColumnarValue::Scalar(ScalarValue::Boolean(Some(nulls_first)))] = args.args.as_slice() else {
            return exec_err!("{} takes a value and where its NULLs come", self.name());
        };
        let values = &values.to_array(args.number_rows)?;
        let options = SortOptions { descending: false, nulls_first: *nulls_first };
        let converter = RowConverter::new(vec![SortField::new_with_options(values.data_type().clone(), options)])?;
        let rows = converter.convert_columns(std::slice::from_ref(values))?;
        let nulls = values.logical_nulls();
        let mut bytes = BinaryBuilder::with_capacity(values.len(), rows.size());
        for (place, row) in rows.iter().enumerate() {
            bytes.append_option(nulls.as_ref().is_none_or(|n| n.is_valid(place)).then(|| row.data()));
        }
        Ok(ColumnarValue::Array(Arc::new(bytes.finish()) as ArrayRef))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS
        SELECT column1 AS id, column2 AS a, CASE WHEN column1 <> 4 THEN named_struct('x', column3, 'y', column4) END AS s FROM (VALUES
        (1, ['a'], 1, 'a'), (2, ['b', 'a'], NULL, 'a'), (3, [NULL, 'a'], 1, NULL), (4, ['c'], NULL, NULL), (5, [NULL, 'b'], 0, 'z'),
        (11, ['a'], 1, 'a'), (12, ['b', 'a'], NULL, 'a'), (13, [NULL, 'a'], 1, NULL), (14, NULL, 2, ''), (15, [NULL, 'b'], 0, 'z'))";

    async fn ids(partitions: usize, sql: &str) -> String {
        let rows = testing::rows(TABLE, partitions, sql).await.unwrap();
        rows.iter().map(|r| r.trim_matches('|').split('|').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_first_rows_are_the_first() {
        for partitions in [1, 4] {
            for (order, expected) in [
                ("a, id", "1 11 2 12 4 3 13 5 15 14"),
                ("a DESC, id", "14 5 15 3 13 4 2 12 1 11"),
                // NULLs in a value go with the others.
                ("a DESC NULLS LAST, id", "4 2 12 1 11 5 15 3 13 14"),
                ("s, id", "5 15 1 11 3 13 14 2 12 4"),
                ("s DESC, id DESC", "4 12 2 14 13 3 11 1 15 5"),
            ] {
                for limit in [3, 5, 9] {
                    let expected: Vec<&str> = expected.split(' ').take(limit).collect();
                    let input = "(SELECT * FROM t WHERE id < 10 UNION ALL SELECT * FROM t WHERE id > 10)";
                    let sql = format!("SELECT id, a, s FROM {input} q ORDER BY {order} LIMIT {limit}");
                    assert_eq!(ids(partitions, &sql).await, expected.join(" "), "{order} LIMIT {limit}");
                }
            }
        }
    }

    #[tokio::test]
    async fn lists_are_compared_by_their_order() {
        for (condition, expected) in [
            ("a < ['b']", "1 11"),
            ("a >= ['c']", "3 4 5 13 15"),
            ("a <= [NULL, 'a'] AND a > ['b']", "2 3 4 12 13"),
            ("NOT a < ['c']", "3 4 5 13 15"),
            ("a BETWEEN ['b'] AND [NULL, 'a']", "2 3 4 12 13"),
            ("a NOT BETWEEN ['b'] AND [NULL, 'a']", "1 5 11 15"),
            ("s < named_struct('x', 1, 'y', 'b')", "1 5 11 15"),
            ("s > named_struct('x', 1, 'y', 'b')", "2 3 12 13 14"),
            ("id IN (SELECT x.id FROM t x JOIN t y ON x.a > y.a AND y.id = 4)", "3 5 13 15"),
        ] {
            let sql = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
            assert_eq!(ids(2, &sql).await, expected, "{condition}");
        }
        let sql = "SELECT make_array(1, NULL) < make_array(1, 2) AS a, make_array(1) < make_array(1, 2) AS b, make_array(2) < NULL AS c";
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), ["|false|true||"]);
    }
}
