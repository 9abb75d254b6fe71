//! `avg(n), avg(coalesce(n, n)) … GROUP BY ROLLUP (k)`: two calls that come to the same one. DataFusion 54.1 computes such a call once, and loses the
//! column that tells which of the GROUPING SETS a row is of ("no field named __grouping_id").

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// In the place of the rule that computes once what is there twice: it finds no calls twice in GROUPING SETS.
pub(crate) fn repeated(
    rule: &CommonSubexprEliminate,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let once = plan.transform_up(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) if has_sets(&aggregate) && repeats(&aggregate) => {
            calls_once(aggregate).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    once.transform_data(|plan| rule.rewrite(plan, config))
}

fn has_sets(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)))
}

/// For each call the first that is the same.
fn firsts(calls: &[Expr]) -> impl Iterator<Item = usize> + '_ {
    let same = |a: &Expr, b: &Expr| a.clone().unalias() == b.clone().unalias();
    calls.iter().enumerate().map(move |(i, call)| calls[..i].iter().position(|c| same(c, call)).unwrap_or(i))
}

fn repeats(aggregate: &Aggregate) -> bool {
    firsts(&aggregate.aggr_expr).enumerate().any(|(i, first)| i != first)
}

/// The aggregate with each call once, and its columns above.
fn calls_once(aggregate: Aggregate) -> Result<LogicalPlan> {
    let columns = aggregate.schema.columns();
    let groups = columns.len() - aggregate.aggr_expr.len();
    let firsts: Vec<usize> = firsts(&aggregate.aggr_expr).collect();
    let mut shown: Vec<Expr> = columns[..groups].iter().cloned().map(Expr::Column).collect();
    shown.extend(firsts.iter().enumerate().map(|(i, first)| {
        let (own, of) = (columns[groups + i].clone(), Expr::Column(columns[groups + first].clone()));
        if i == *first { of } else { of.alias_qualified(own.relation, own.name) }
    }));
    let calls = aggregate.aggr_expr.into_iter().zip(&firsts).enumerate().filter(|(i, (_, first))| i == *first);
    let calls = calls.map(|(_, (call, _))| call).collect();
    let once = Aggregate::try_new(aggregate.input, aggregate.group_expr, calls)?;
    Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(once)))?))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn calls_that_come_to_the_same_in_grouping_sets() {
        let table = "CREATE TABLE t (k INT, y INT, n INT) AS VALUES (1, 1, 2), (1, 2, 3), (2, 1, NULL)";
        for partitions in [1, 3] {
            let sql = "SELECT k, max(n), max(coalesce(n, n)) + 1, count(*), count(1), grouping(k) FROM t GROUP BY ROLLUP (k) ORDER BY k";
            let expected = ["|1|3|4|2|2|0|", "|2|||1|1|0|", "||3|4|3|3|1|"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
            let sql = "SELECT k, y, sum(n), sum(CASE WHEN true THEN n ELSE k END) FROM t GROUP BY CUBE (k, y) HAVING count(*) > 1 ORDER BY k, y";
            let expected = ["|1||5|5|", "||1|2|2|", "|||5|5|"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
        }
    }
}
