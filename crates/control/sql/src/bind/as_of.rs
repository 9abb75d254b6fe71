//! `ASOF JOIN` as ordinary relational nodes: the rows of both sides together, and of each key in the order of time the last right row.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, cast, lit,
};

use crate::parse::AS_OF_MARK;
use crate::window::{as_of_part, as_of_value};

/// Joins with the mark of `ASOF`, planned.
pub(super) fn joined(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut marked = false;
    plan.apply_with_subqueries(|node| {
        marked |= matches!(node, LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_mark));
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    if !marked {
        return Ok(plan);
    }
    let joined = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_mark) => as_of(join).map(Transformed::yes),
        // Its columns may have become nullable.
        node => node.recompute_schema().map(Transformed::yes),
    })?;
    Ok(joined.data)
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(f) if f.func.name() == AS_OF_MARK)
}

fn has_mark(expr: &Expr) -> bool {
    expr.exists(|e| Ok(is_mark(e))).unwrap_or(false)
}

/// The condition of an as-of join.
struct Condition {
    /// Equal on both sides: left, right.
    keys: Vec<(Expr, Expr)>,
    /// `left op right`
    time: (Expr, Operator, Expr),
}

impl Condition {
    fn of(join: &Join) -> Result<Self> {
        let mut keys = join.on.clone();
        let mut time = None;
        for part in join.filter.iter().cloned().flat_map(split_conjunction_owned).filter(|e| !is_mark(e)) {
            let wrong = || {
                plan_err!(
                    "the condition of an ASOF JOIN is equalities between its sides and one comparison of times, joined by AND; it cannot have {part}"
                )
            };
            let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &part else { return wrong() };
            let (left, op, right) = if of_side(left, join.left.schema()) && of_side(right, join.right.schema()) {
                (left, *op, right)
            } else if of_side(right, join.left.schema()) && of_side(left, join.right.schema()) {
                let Some(op) = op.swap() else { return wrong() };
                (right, op, left)
            } else {
                return wrong();
            };
            let pair = (left.as_ref().clone(), right.as_ref().clone());
            match op {
                Operator::Eq => keys.push(pair),
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if time.is_none() => {
                    time = Some((pair.0, op, pair.1));
                }
                _ => return wrong(),
            }
        }
        match time {
            Some(time) => Ok(Self { keys, time }),
            None => plan_err!("an ASOF JOIN compares times: a.ts >= b.ts"),
        }
    }
}

/// True for an expression of columns of `schema` alone, and of at least one.
fn of_side(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    let is_outer = |e: &Expr| Ok(matches!(e, Expr::OuterReferenceColumn(..)));
    !columns.is_empty()
        && columns.iter().all(|c| schema.maybe_index_of_column(c).is_some())
        && !expr.exists(is_outer).unwrap_or(true)
}

fn column(prefix: &str, number: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("__{prefix}{number}")))
}

/// A name in the common columns.
fn named(expr: Expr, prefix: &str, number: usize) -> Expr {
    expr.alias(format!("__{prefix}{number}"))
}

fn nothing(data_type: &DataType) -> Result<Expr> {
    Ok(lit(ScalarValue::try_new_null(data_type)?))
}

fn own(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// Both sides of a comparison in one type.
fn alike(left: &Expr, right: &Expr, join: &Join) -> Result<(Expr, Expr)> {
    let (l, r) = (left.get_type(join.left.schema())?, right.get_type(join.right.schema())?);
    let both = fleuve_batch::compared_as(&l, &r)
        .ok_or_else(|| plan_datafusion_err!("an ASOF JOIN cannot compare {left} ({l}) with {right} ({r})"))?;
    let as_both = |e: &Expr, t: DataType| if t == both { e.clone() } else { cast(e.clone(), both.clone()) };
    Ok((as_both(left, l), as_both(right, r)))
}

/// True if rows can be put in order by a type.
fn is_sortable(data_type: &DataType) -> bool {
    data_type.is_primitive()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
        )
}

fn as_of(join: Join) -> Result<LogicalPlan> {
    let Condition { keys, time: (left_time, op, right_time) } = Condition::of(&join)?;
    let is_left = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        other => return plan_err!("an ASOF JOIN is inner or LEFT, not {other}"),
    };
    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
    let both = keys.iter().map(|(l, r)| alike(l, r, &join)).collect::<Result<Vec<_>>>()?;
    let times = alike(&left_time, &right_time, &join)?;
    // Nothing is known of these columns but that they are there.
    let part =
        |time: &Expr, value: Expr, number: usize| as_of_part().call(vec![time.clone(), value, lit(number as i64)]);
    let (mut of_left, mut of_right) = (vec![], vec![]);
    for (n, (expr, field)) in own(&left).into_iter().zip(left.fields()).enumerate() {
        of_left.push(named(expr, "l", n));
        of_right.push(named(nothing(field.data_type())?, "l", n));
    }
    for (n, (expr, field)) in own(&right).into_iter().zip(right.fields()).enumerate() {
        of_left.push(named(part(&times.0, nothing(field.data_type())?, n), "r", n));
        of_right.push(named(part(&times.1, expr, n), "r", n));
    }
    let behind = right.fields().len();
    for (n, (l, r)) in both.iter().enumerate() {
        of_left.push(named(part(&times.0, l.clone(), behind + n), "k", n));
        of_right.push(named(part(&times.1, r.clone(), behind + n), "k", n));
    }
    for (of, time, is_right) in [(&mut of_left, &times.0, false), (&mut of_right, &times.1, true)] {
        of.push(named(time.clone(), "t", 0));
        of.push(named(part(time, lit(is_right), behind + both.len()), "side", 0));
    }
    // A right row without a time or a part of the key is nobody's partner.
    let known = both.iter().map(|(_, r)| r).chain([&times.1]).map(|e| e.clone().is_not_null());
    let known = conjunction(known).unwrap_or_else(|| lit(true));
    let right_rows = LogicalPlanBuilder::from(join.right.as_ref().clone()).filter(known)?.project(of_right)?.build()?;
    let rows = LogicalPlanBuilder::from(join.left.as_ref().clone()).project(of_left)?.union(right_rows)?;

    let (time, side) = (column("t", 0), column("side", 0));
    let earlier = matches!(op, Operator::Gt | Operator::GtEq);
    let strict = matches!(op, Operator::Gt | Operator::Lt);
    let mut order = vec![time.clone().sort(earlier, false), side.clone().sort(strict, false)];
    let fields = right.fields();
    order.extend(
        (0..fields.len()).filter(|n| is_sortable(fields[*n].data_type())).map(|n| column("r", n).sort(true, true)),
    );
    let partition: Vec<Expr> = (0..both.len()).map(|n| column("k", n)).collect();
    let value = |of: Expr| {
        let call = as_of_value().call(vec![of, side.clone(), time.clone()]);
        call.partition_by(partition.clone()).order_by(order.clone()).build()
    };
    let of_right = (0..fields.len()).map(|n| value(column("r", n))).collect::<Result<Vec<_>>>()?;
    let found = value(side.clone())?;
    let name = |call: &Expr| Expr::Column(Column::new_unqualified(call.schema_name().to_string()));
    let mut wanted = side.clone().is_false();
    if !is_left {
        wanted = wanted.and(name(&found).is_not_null());
    }
    let shown = left.iter().enumerate().map(|(n, (qualifier, field))| {
        // Event time is followed through the column that both sides have.
        let is_time = matches!(&times.0, Expr::Column(c) if left.maybe_index_of_column(c) == Some(n));
        let of = if is_time { time.clone() } else { column("l", n) };
        of.alias_qualified(qualifier.cloned(), field.name())
    });
    let partners = right
        .iter()
        .zip(&of_right)
        .map(|((qualifier, field), call)| name(call).alias_qualified(qualifier.cloned(), field.name()));
    let shown: Vec<Expr> = shown.chain(partners).collect();
    let calls = of_right.iter().cloned().chain((!is_left).then_some(found));
    rows.window(calls)?.filter(wanted)?.project(shown)?.build()
}
