//! Tables and subqueries of a `FROM`, planned with the dependencies that hold. DataFusion's planner (54.1) adds to the groups of a query what they
//! tell by the dependencies of its `FROM`; where these are wrong, groups fall apart.

use std::cell::Cell;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::dependencies::corrected;

/// Has to come before other planners.
#[derive(Debug)]
pub struct CarefulRelations;

thread_local! {
    /// The next relation is the one that was just handed on.
    static HANDED_ON: Cell<bool> = const { Cell::new(false) };
}

impl RelationPlanner for CarefulRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let is_meant = matches!(relation, TableFactor::Derived { .. } | TableFactor::Table { .. });
        if HANDED_ON.replace(false) || !is_meant {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        HANDED_ON.set(true);
        let plan = context.plan(relation);
        HANDED_ON.set(false);
        let plan = plan?;
        let plan = if plan.schema().functional_dependencies().is_empty() { plan } else { corrected(plan)? };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn groups_do_not_fall_apart() {
        let table = "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 7), (2, 1, NULL), (3, 3, 7), (4, 4, 9)";
        let grouped = "SELECT max(v) + 1 AS m, k AS g FROM t GROUP BY k";
        let numbered = "SELECT abs(k) AS m, row_number() OVER (ORDER BY id) AS g FROM t";
        for (sql, expected) in [
            (format!("SELECT m, count(*) AS n FROM ({grouped}) q GROUP BY m ORDER BY m"), &["|8|2|", "|10|1|"][..]),
            (format!("SELECT m, count(*) AS n FROM ({grouped}) GROUP BY m ORDER BY m"), &["|8|2|", "|10|1|"]),
            (
                format!("WITH q AS ({grouped}) SELECT m, count(*) AS n FROM q GROUP BY m ORDER BY m"),
                &["|8|2|", "|10|1|"],
            ),
            (
                format!("SELECT m, count(*) AS n FROM ({numbered}) q GROUP BY m ORDER BY m"),
                &["|1|2|", "|3|1|", "|4|1|"],
            ),
            (
                format!(
                    "SELECT m, count(*) AS n FROM (SELECT * FROM ({numbered}) a) q JOIN t ON m = k GROUP BY m ORDER BY m"
                ),
                &["|1|4|", "|3|1|", "|4|1|"],
            ),
            (
                format!("SELECT m, g, count(*) AS n FROM ({grouped}) q GROUP BY m, g ORDER BY m, g DESC"),
                &["|8|3|1|", "|8|1|1|", "|10|4|1|"],
            ),
        ] {
            for partitions in [1, 2] {
                assert_eq!(testing::rows(table, partitions, &sql).await.unwrap(), expected, "{sql}");
            }
        }
    }
}
