//! `||`, `@>`, `<@` and `&&` of lists, what is compared with one, and `(list)[i]` and `(list)[i:j]`, as functions that answer as PostgreSQL's do. Beside
//! a list NULL, a text that is one (`'{1,2}'`) and a parameter are lists of its type.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field};
use datafusion::common::utils::list_ndims;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_nested::concat::{array_append_udf, array_concat_udf, array_prepend_udf};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::careful::careful;
use super::{sets, subscripts};
use crate::texts::list_items;

/// Plans these. To come before DataFusion's planners.
#[derive(Debug)]
pub(crate) struct ListOperators;

impl ExprPlanner for ListOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{ArrowAt, AtArrow, Eq, Gt, GtEq, Lt, LtEq, NotEq, PGOverlap, StringConcat};
        if !matches!(expr.op, StringConcat | AtArrow | ArrowAt | PGOverlap | Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return Ok(PlannerResult::Original(expr));
        }
        let types = [&expr.left, &expr.right].map(|side| side.get_type(schema).ok());
        let Some(list) = types.iter().flatten().find(|t| matches!(t, DataType::List(_))).cloned() else {
            return Ok(PlannerResult::Original(expr));
        };
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = (beside(left, &list), beside(right, &list));
        if matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let dimensions = |side: &Expr| side.get_type(schema).map(|t| list_ndims(&t));
        let (of_left, of_right) = (dimensions(&left)?, dimensions(&right)?);
        Ok(PlannerResult::Planned(match op {
            StringConcat if of_left == of_right => CONCAT.call(vec![left, right]),
            StringConcat if of_left > of_right => APPEND.call(vec![left, right]),
            StringConcat => PREPEND.call(vec![left, right]),
            AtArrow if of_left.min(of_right) > 0 => sets::contains().call(vec![left, right]),
            ArrowAt if of_left.min(of_right) > 0 => sets::contains().call(vec![right, left]),
            PGOverlap if of_left.min(of_right) > 0 => sets::overlaps().call(vec![left, right]),
            op => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        }))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { expr: list, field_access } = expr;
        let is_list = matches!(list.get_type(schema), Ok(DataType::List(_)));
        Ok(match field_access {
            GetFieldAccess::ListIndex { key } if is_list && !is_place(&key) => {
                PlannerResult::Planned(subscripts::element().call(vec![list, *key]))
            }
            GetFieldAccess::ListRange { start, stop, stride } if is_list && !(is_place(&start) && is_place(&stop)) => {
                PlannerResult::Planned(subscripts::slice().call(vec![list, *start, *stop, *stride]))
            }
            field_access => PlannerResult::Original(RawFieldAccessExpr { expr: list, field_access }),
        })
    }
}

static APPEND: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| careful(array_append_udf()));
static CONCAT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| careful(array_concat_udf()));
static PREPEND: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| careful(array_prepend_udf()));

/// What stands beside a list of that type.
fn beside(side: Expr, list: &DataType) -> Expr {
    match side {
        Expr::Literal(ScalarValue::Null, _) => cast(side, list.clone()),
        Expr::Literal(ScalarValue::Utf8(Some(ref text)), _) => match list_items(text) {
            Some(items) => {
                let items = items.into_iter().map(|item| Expr::Literal(ScalarValue::Utf8(item), None)).collect();
                cast(make_array(items), list.clone())
            }
            None => side,
        },
        Expr::Placeholder(Placeholder { id, field: None }) => {
            Expr::Placeholder(Placeholder::new_with_field(id, Some(Arc::new(Field::new("", list.clone(), true)))))
        }
        side => side,
    }
}

/// A place that is written, which DataFusion's functions know.
fn is_place(key: &Expr) -> bool {
    matches!(key, Expr::Literal(ScalarValue::Int64(Some(1..=0x7fff_ffff)), _))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT * FROM (VALUES
        (1, [1, 2], ['a'], 7), (2, [NULL], arrow_cast([], 'List(Utf8)'), NULL), (3, NULL, NULL, 2)) AS q (k, l, s, n)";

    #[tokio::test]
    async fn lists_are_put_together() {
        for (expr, expected) in [
            ("l || n", ["|[1,2,7]|", "|[,]|", "|[2]|"]),
            ("n || l", ["|[7,1,2]|", "|[,]|", "|[2]|"]),
            ("l || l", ["|[1,2,1,2]|", "|[,]|", "||"]),
            ("l || NULL", ["|[1,2]|", "|[]|", "||"]),
            ("NULL || l", ["|[1,2]|", "|[]|", "||"]),
            ("l || NULL::bigint", ["|[1,2,]|", "|[,]|", "|[]|"]),
            ("NULL::bigint || nullif(l, l)", ["|[]|", "|[]|", "|[]|"]),
            ("l || '{8,NULL}'", ["|[1,2,8,]|", "|[,8,]|", "|[8,]|"]),
            ("s || 'b'", ["|[a,b]|", "|[b]|", "|[b]|"]),
            ("s || '{b,c}'", ["|[a,b,c]|", "|[b,c]|", "|[b,c]|"]),
            ("s || n::text", ["|[a,7]|", "|[]|", "|[2]|"]),
            ("l = '{1,2}'", ["|true|", "|false|", "||"]),
            ("'{1,3}' > l", ["|true|", "|false|", "||"]),
            ("'{x}' <> s", ["|true|", "|true|", "||"]),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            let rows = testing::rows(TABLE, 1, &sql).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.map(String::from).to_vec()), "{expr}");
        }
    }
}
