//! Which columns tell others (functional dependencies). DataFusion 54.1 takes what tells some columns of an aggregate's input, as the groups of one
//! side of a join do, for what tells all columns of its output, does not notice that `unnest` makes several rows of one, and takes a column that a
//! projection computes for the one behind it. It then leaves columns out of a `GROUP BY` or `ORDER BY` above, and rows fall together.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Dependency, FunctionalDependence, FunctionalDependencies, Result};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, Sort};
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The plan with the dependencies that hold.
pub(crate) fn corrected(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut is_right = true;
    plan.apply_with_subqueries(|node| {
        is_right &= claims_nothing_wrong(node);
        Ok(if is_right { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    if is_right {
        return Ok(plan);
    }
    let node = |node: LogicalPlan| match node.recompute_schema()? {
        LogicalPlan::Aggregate(mut aggregate) => {
            let right = of_aggregate(&aggregate);
            aggregate.schema = Arc::new(aggregate.schema.as_ref().clone().with_functional_dependencies(right)?);
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        LogicalPlan::Projection(mut projection) => {
            let right = of_projection(&projection);
            projection.schema = Arc::new(projection.schema.as_ref().clone().with_functional_dependencies(right)?);
            Ok(Transformed::yes(LogicalPlan::Projection(projection)))
        }
        LogicalPlan::Unnest(mut unnest) => {
            let schema = unnest.schema.as_ref().clone();
            unnest.schema = Arc::new(schema.with_functional_dependencies(FunctionalDependencies::empty())?);
            Ok(Transformed::yes(LogicalPlan::Unnest(unnest)))
        }
        node => Ok(Transformed::yes(node)),
    };
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn claims_nothing_wrong(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Aggregate(aggregate) => *aggregate.schema.functional_dependencies() == of_aggregate(aggregate),
        LogicalPlan::Projection(projection) => {
            *projection.schema.functional_dependencies() == of_projection(projection)
        }
        LogicalPlan::Unnest(unnest) => unnest.schema.functional_dependencies().is_empty(),
        LogicalPlan::SubqueryAlias(alias) => {
            alias.schema.functional_dependencies() == alias.input.schema().functional_dependencies()
        }
        LogicalPlan::Join(_) | LogicalPlan::Window(_) => is_up_to_date(node),
        _ => true,
    }
}

/// False if an input claims other things than when the node was made.
fn is_up_to_date(node: &LogicalPlan) -> bool {
    let of = |plan: &LogicalPlan| plan.schema().functional_dependencies().clone();
    if of(node).is_empty() && node.inputs().iter().all(|input| of(input).is_empty()) {
        return true;
    }
    node.clone().recompute_schema().is_ok_and(|again| of(&again) == of(node))
}

/// What tells the group of a row tells all of the group's row: the columns that it is grouped by, and those of them that tell all of the input.
fn of_aggregate(aggregate: &Aggregate) -> FunctionalDependencies {
    let claimed = aggregate.schema.functional_dependencies();
    if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        return claimed.clone();
    }
    let input = aggregate.input.schema();
    let (names, width) = (input.field_names(), input.fields().len());
    let groups: Vec<String> = aggregate.group_expr.iter().map(|e| e.schema_name().to_string()).collect();
    let tells_all = |claim: &&FunctionalDependence| {
        claim.source_indices.len() == groups.len()
            || input.functional_dependencies().iter().any(|of_input| {
                let source = |at: &usize| groups.iter().position(|group| *group == names[*at]);
                let sources: Option<Vec<usize>> = of_input.source_indices.iter().map(source).collect();
                of_input.target_indices.len() == width
                    && sources.is_some_and(|mut s| {
                        s.sort_unstable();
                        s == claim.source_indices
                    })
            })
    };
    let mut right: Vec<FunctionalDependence> = claimed.iter().filter(tells_all).cloned().collect();
    if right.is_empty() && !groups.is_empty() {
        let fields = aggregate.schema.fields();
        let nullable = (0..groups.len()).any(|i| fields[i].is_nullable());
        let all = (0..fields.len()).collect();
        let whole = FunctionalDependence::new((0..groups.len()).collect(), all, nullable);
        right.push(whole.with_mode(Dependency::Single));
    }
    FunctionalDependencies::new(right)
}

/// What tells others in the input does where it is passed on.
fn of_projection(projection: &Projection) -> FunctionalDependencies {
    let input = projection.input.schema();
    if input.functional_dependencies().is_empty() {
        return FunctionalDependencies::empty();
    }
    let names = input.field_names();
    let passed = projection.expr.iter().map(|e| {
        let name = e.clone().unalias().to_string();
        names.iter().position(|n| *n == name)
    });
    let passed: Vec<Option<usize>> = passed.collect();
    let place = |of_input: &usize| passed.iter().position(|p| p.as_ref() == Some(of_input));
    let claims = input.functional_dependencies().iter().filter_map(|claim| {
        let sources = claim.source_indices.iter().map(place).collect::<Option<Vec<_>>>()?;
        let targets = match claim.mode {
            Dependency::Single => (0..projection.expr.len()).collect(),
            Dependency::Multi => claim.target_indices.iter().filter_map(place).collect(),
        };
        Some(FunctionalDependence::new(sources, targets, claim.nullable).with_mode(claim.mode))
    });
    FunctionalDependencies::new(claims.collect())
}

/// In the place of the rule that makes groups of DISTINCT. It leaves DISTINCT out where the rows were groups, also where a join came between.
pub(crate) fn distinct(
    rule: &ReplaceDistinctWithAggregate,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let input = match plan {
        LogicalPlan::Distinct(Distinct::All(input)) => input,
        LogicalPlan::Distinct(Distinct::On(_)) => {
            return rule.rewrite(plan, config)?.transform_data(groups_as_they_are);
        }
        plan => return rule.rewrite(plan, config),
    };
    let input = Arc::new(corrected(Arc::unwrap_or_clone(input))?);
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let may_repeat = |claim: &FunctionalDependence| claim.mode == Dependency::Multi;
    if columns.is_empty() || !input.schema().functional_dependencies().iter().any(may_repeat) {
        return rule.rewrite(LogicalPlan::Distinct(Distinct::All(input)), config);
    }
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input, columns, vec![])?)))
}

/// What DISTINCT ON goes by, as that: the rule takes it from the first row, `first_value(k)`, which is the same and tells nobody that it is
/// the key. A floating-point number stays: of what counts as equal the first row shows its own.
fn groups_as_they_are(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = &plan else { return Ok(Transformed::yes(plan)) };
    let below = match projection.input.as_ref() {
        LogicalPlan::Sort(sort) => sort.input.as_ref(),
        input => input,
    };
    let LogicalPlan::Aggregate(aggregate) = below else { return Ok(Transformed::yes(plan)) };
    let groups = aggregate.group_expr.len();
    let group_of = |e: &Expr| match e {
        Expr::AggregateFunction(call) => {
            let [argument] = call.params.args.as_slice() else { return None };
            let argument = &argument.clone().unalias();
            let at = aggregate.group_expr.iter().position(|group| group == argument)?;
            let is_same = !argument.is_volatile() && !holds_floats(aggregate.schema.field(at).data_type());
            is_same.then(|| Expr::Column(aggregate.schema.columns().swap_remove(at)))
        }
        _ => None,
    };
    let of_group: Vec<Option<Expr>> = aggregate.aggr_expr.iter().map(group_of).collect();
    let taken = |expr: Expr| {
        let (column, alias) = match &expr {
            Expr::Alias(alias) => (alias.expr.as_ref(), Some(alias)),
            expr => (expr, None),
        };
        let at = column.try_as_col().and_then(|c| aggregate.schema.maybe_index_of_column(c));
        let group = at.and_then(|at| of_group.get(at.checked_sub(groups)?)?.clone());
        match (group, alias) {
            (Some(group), Some(alias)) => group.alias_qualified(alias.relation.clone(), alias.name.clone()),
            _ => expr,
        }
    };
    let (expr, input) = (projection.expr.iter().cloned().map(taken).collect(), projection.input.clone());
    let schema = projection.schema.clone();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new_with_schema(expr, input, schema)?)))
}

fn holds_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            holds_floats(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|f| holds_floats(f.data_type())),
        DataType::Map(field, _) => holds_floats(field.data_type()),
        DataType::Dictionary(_, values) => holds_floats(values),
        _ => false,
    }
}

/// In the place of the rule that leaves out what an ORDER BY says twice.
pub(crate) fn orders(
    rule: &EliminateDuplicatedExpr,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) if sort.expr.len() > 1 => {
            let input = Arc::new(corrected(Arc::unwrap_or_clone(sort.input))?);
            rule.rewrite(LogicalPlan::Sort(Sort { input, ..sort }), config)
        }
        plan => rule.rewrite(plan, config),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::logical_expr::LogicalPlan;

    use crate::testing;

    #[tokio::test]
    async fn distinct_on_shows_what_it_goes_by() {
        let context = testing::context(2);
        let table = "CREATE TABLE t (id INT, v INT, d DOUBLE) AS VALUES (1, 7, 0.0), (1, 8, -0.0), (2, NULL, 1.5), (NULL, 9, NULL), (NULL, 3, 2.0)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for (sql, wanted, rows) in [
            (
                "SELECT DISTINCT ON (id) id, v, id AS again FROM t ORDER BY id, v DESC",
                1,
                &["|1|8|1|", "|2||2|", "||9||"][..],
            ),
            (
                "SELECT DISTINCT ON (id + 1, id) v, id + 1 AS m FROM t ORDER BY id + 1, id, v",
                1,
                &["|7|2|", "||3|", "|3||"],
            ),
            ("SELECT DISTINCT ON (id) id + 1 AS n, v FROM t ORDER BY id DESC, v", 2, &["|3||", "|2|7|", "||3|"]),
            // Which NaN or zero a group shows, its first row says.
            ("SELECT DISTINCT ON (d) d, v FROM t WHERE id = 1 ORDER BY d, v DESC", 2, &["|-0.0|8|", "|0.0|7|"]),
        ] {
            let plan = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
            let mut firsts = 0;
            plan.apply(|node| {
                if let LogicalPlan::Aggregate(aggregate) = node {
                    firsts += aggregate.aggr_expr.len();
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
            assert_eq!(firsts, wanted, "{sql}: {}", plan.display_indent());
            let mut found = testing::rows_of(&context, sql).await.unwrap();
            let mut rows = rows.to_vec();
            found.sort();
            rows.sort_unstable();
            assert_eq!(found, rows, "{sql}");
        }
    }

    #[tokio::test]
    async fn what_is_grouped_and_sorted_by_stays() {
        let table = "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 7), (2, 1, NULL), (3, 3, 7), (4, NULL, 9)";
        let crossed =
            "(SELECT DISTINCT d.k, u.v AS x, u.id AS y FROM (SELECT DISTINCT k FROM t WHERE k > 0) d CROSS JOIN t u) q";
        let listed = "(SELECT k, unnest(l) AS e FROM (SELECT k, array_agg(id) AS l FROM t WHERE k > 0 GROUP BY k) g) q";
        for (sql, expected) in [
            (
                format!("SELECT q.k, max(q.y) AS m FROM {crossed} GROUP BY q.k, q.x ORDER BY 1, 2"),
                &["|1|2|", "|1|3|", "|1|4|", "|3|2|", "|3|3|", "|3|4|"][..],
            ),
            (
                format!("SELECT q.k, q.y FROM {crossed} ORDER BY q.k, q.y DESC"),
                &["|1|4|", "|1|3|", "|1|2|", "|1|1|", "|3|4|", "|3|3|", "|3|2|", "|3|1|"],
            ),
            (
                format!("SELECT q.k, count(*) AS n FROM {listed} GROUP BY q.k, q.e ORDER BY 1, 2"),
                &["|1|1|", "|1|1|", "|3|1|"],
            ),
            (
                "SELECT DISTINCT q.n FROM (SELECT k % 2 AS n, count(*) AS c FROM t GROUP BY 1) q CROSS JOIN t x WHERE q.n = 1"
                    .to_string(),
                &["|1|"],
            ),
            (format!("SELECT DISTINCT q.k FROM {listed}"), &["|1|", "|3|"]),
            (
                "SELECT m, count(*) AS n FROM (SELECT max(v) + 1 AS m, k AS g FROM t GROUP BY k) q GROUP BY m, g ORDER BY 1, 2"
                    .to_string(),
                &["|8|1|", "|8|1|", "|10|1|"],
            ),
            (
                "SELECT a, b FROM (SELECT DISTINCT n AS a, g + 1 AS b, g AS c, m AS d FROM (SELECT count(*) AS n, id AS g, count(*) AS m FROM t
                 GROUP BY id) q) r ORDER BY a, d DESC, b DESC, c".to_string(),
                &["|1|5|", "|1|4|", "|1|3|", "|1|2|"],
            ),
            (
                "SELECT m, g FROM (SELECT max(v) + 1 AS m, k AS g FROM t WHERE k > 0 GROUP BY k) q ORDER BY m, g DESC".to_string(),
                &["|8|3|", "|8|1|"],
            ),
            (
                "SELECT g FROM (SELECT DISTINCT k + 1 AS a, row_number() OVER (ORDER BY id) AS b, 1 AS g FROM t WHERE k > 0) q"
                    .to_string(),
                &["|1|", "|1|", "|1|"],
            ),
            ("SELECT DISTINCT g.k FROM (SELECT k FROM t WHERE k > 0 GROUP BY k) g JOIN t u ON u.v = 7 ORDER BY 1".to_string(), &["|1|", "|3|"]),
        ] {
            for partitions in [1, 2] {
                assert_eq!(testing::rows(table, partitions, &sql).await.unwrap(), expected, "{sql}");
            }
        }
    }
}
