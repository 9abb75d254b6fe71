//! A subquery for one value whose plan does not say that it gives no more than one row: `(SELECT name FROM r WHERE r.k = s.k)`. DataFusion 54.1
//! plans one that is correlated only if it is an aggregate. Here its values are collected, and where they are used there must not be several.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, exec_err, internal_err};
use datafusion::functions_aggregate::expr_fn::array_agg;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, FetchType, Filter, LogicalPlan, LogicalPlanBuilder, Projection, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Sort, Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::{has_subquery, map_with_names};

/// Collects the values of such subqueries. To come before what makes joins of subqueries.
#[derive(Debug)]
pub(crate) struct SingleValues;

impl AnalyzerRule for SingleValues {
    fn name(&self) -> &str {
        "single_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !plan.expressions().iter().any(has_subquery) {
        return Ok(Transformed::no(plan));
    }
    let checked = |expr: Expr| expr.transform(checked);
    match plan {
        // What rows are sorted by has no name.
        LogicalPlan::Sort(_) => plan.map_expressions(checked),
        plan => map_with_names(plan, checked),
    }
}

fn checked(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else { return Ok(Transformed::no(expr)) };
    let mut rows = subquery.subquery.as_ref();
    // DataFusion takes the value of one that is not correlated for what it is where there is a row: a count, for instance, is never NULL.
    let is_null_told = !subquery.outer_ref_columns.is_empty()
        || has_row(rows)
        || rows.schema().fields().iter().all(|f| f.is_nullable());
    if rows.schema().fields().len() != 1 || is_one_row(rows)? && is_null_told {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    while let LogicalPlan::Sort(sort) = rows
        && sort.fetch.is_none()
    {
        rows = &sort.input;
    }
    let value = Expr::Column(Column::from(rows.schema().qualified_field(0)));
    let values = LogicalPlanBuilder::from(rows.clone()).aggregate(Vec::<Expr>::new(), [array_agg(value)])?.build()?;
    let values = Expr::ScalarSubquery(Subquery { subquery: Arc::new(values), ..subquery });
    Ok(Transformed::yes(ScalarUDF::new_from_impl(SingleValue::new()).call(vec![values])))
}

/// True for a query that gives a row, whatever there is.
fn has_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) => has_row(input),
        LogicalPlan::SubqueryAlias(alias) => has_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// True for a query that gives no more than one row, as it is written. (`LogicalPlan::max_rows` takes some keys for unique that are not.)
pub(crate) fn is_one_row(plan: &LogicalPlan) -> Result<bool> {
    Ok(match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::Sort(Sort { input, .. })
        | LogicalPlan::Distinct(Distinct::All(input)) => is_one_row(input)?,
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input)?,
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type()?, FetchType::Literal(Some(0 | 1))) || is_one_row(&limit.input)?
        }
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() <= 1,
        _ => false,
    })
}

/// `single_value(list)`: the element of a list of one, NULL of an empty one and of NULL.
///
/// # Errors
/// For a list of several.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl SingleValue {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::List(element)] => Ok(element.data_type().clone()),
            other => internal_err!("single_value of {other:?}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(lists) = arrays.first().and_then(|a| a.as_list_opt::<i32>()) else {
            return internal_err!("single_value of no list");
        };
        let mut at = Vec::with_capacity(lists.len());
        for row in 0..lists.len() {
            let is_known = lists.is_valid(row);
            match lists.value_length(row) {
                1 if is_known => at.push(u32::try_from(lists.value_offsets()[row]).ok()),
                2.. if is_known => return exec_err!("a subquery for one value gives several rows"),
                _ => at.push(None),
            }
        }
        let values: ArrayRef = take(lists.values(), &UInt32Array::from(at), None)?;
        Ok(ColumnarValue::Array(values))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const T: &str =
        "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 10), (2, 1, NULL), (3, 2, 30), (4, NULL, 40)";

    #[tokio::test]
    async fn there_may_be_one_row_or_none() {
        for (sql, expected) in [
            (
                "SELECT id, (SELECT u.v FROM t u WHERE u.id = t.id - 1) AS n FROM t",
                ["|1||", "|2|10|", "|3||", "|4|30|"],
            ),
            (
                "SELECT id, (SELECT u.v FROM t u WHERE u.v > t.v) AS n FROM t WHERE id >= 3 OR v IS NULL",
                ["|2||", "|3|40|", "|4||", ""],
            ),
            (
                "SELECT id, (SELECT u.v FROM t u WHERE u.id = 3 ORDER BY u.v) AS n FROM t",
                ["|1|30|", "|2|30|", "|3|30|", "|4|30|"],
            ),
            (
                "SELECT id, coalesce((SELECT u.k FROM t u WHERE u.k = t.k AND u.id <> t.id), 0) AS n FROM t",
                ["|1|1|", "|2|1|", "|3|0|", "|4|0|"],
            ),
            // A count that is not there.
            ("SELECT id, (SELECT count(*) FROM t u HAVING max(u.k) > 5) AS n FROM t", ["|1||", "|2||", "|3||", "|4||"]),
            // Where a value is not used, it may be several.
            (
                "SELECT id, CASE WHEN k = 2 THEN (SELECT u.id FROM t u WHERE u.k = t.k) END AS n FROM t",
                ["|1||", "|2||", "|3|3|", "|4||"],
            ),
        ] {
            let rows = testing::rows(T, 2, &format!("{sql} ORDER BY id")).await;
            let expected: Vec<String> = expected.iter().filter(|r| !r.is_empty()).map(|r| r.to_string()).collect();
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected), "{sql}");
        }
        for sql in [
            "SELECT id, (SELECT u.v FROM t u WHERE u.k = t.k) AS n FROM t",
            "SELECT id FROM t WHERE v = (SELECT u.v FROM t u)",
            "SELECT id FROM t ORDER BY (SELECT u.v FROM t u)",
        ] {
            let error = testing::rows(T, 2, sql).await.unwrap_err().to_string();
            assert!(error.contains("gives several rows"), "{sql}: {error}");
        }
    }
}
