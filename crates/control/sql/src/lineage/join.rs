//! Joins: both partners of a pair; of a row that stands alone, itself.

use std::sync::Arc;

use datafusion::common::{JoinConstraint, JoinType};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator};
use fleuve_types::Result;

use super::Wanted;
use super::names::{condition, words};
use super::trace::{Step, Tracer};
use super::wanted::{TAG, gather, plain, same_columns};
use crate::errors::of_datafusion;

/// Which input of a join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn of(self, join: &Join) -> &Arc<LogicalPlan> {
        match self {
            Self::Left => &join.left,
            Self::Right => &join.right,
        }
    }
}

/// What the way says of a join.
fn named(join: &Join) -> String {
    let kind = match join.join_type {
        JoinType::Inner => "JOIN",
        JoinType::Left => "LEFT JOIN",
        JoinType::Right => "RIGHT JOIN",
        JoinType::Full => "FULL JOIN",
        JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftMark | JoinType::RightMark => "IN or EXISTS",
        JoinType::LeftAnti | JoinType::RightAnti => "NOT IN or NOT EXISTS",
    };
    let (left, right) = (join.left.as_ref(), join.right.as_ref());
    let equal = |(l, r): &(Expr, Expr)| {
        let (l, r) = (words(l, &[left])?, words(r, &[right])?);
        // A subquery is joined by the columns of the other side that it names.
        (l != r).then(|| format!("{l} = {r}"))
    };
    let mut conditions: Vec<String> = join.on.iter().filter_map(equal).collect();
    conditions.extend(join.filter.iter().flat_map(|f| condition(f, &[left, right])));
    if conditions.is_empty() { kind.into() } else { format!("{kind} on {}", conditions.join(" AND ")) }
}

impl Tracer {
    pub(super) async fn join(&self, step: &Step, join: &Join) -> Result<Vec<Step>> {
        use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
        let name = named(join);
        let (l, r) = (join.left.schema().fields().len(), join.right.schema().fields().len());
        let to = |side: Side, wanted: Wanted| {
            let word = if side == Side::Left { "left" } else { "right" };
            step.of(side.of(join), wanted).via(format!("{word} side of {name}"))
        };
        let wanted = &step.wanted;
        Ok(match join.join_type {
            LeftSemi | LeftMark => {
                let own = wanted.only(0..l)?;
                let shown = match join.join_type {
                    // A false mark says that there is no partner; nothing is behind that.
                    LeftMark => own.clone(),
                    _ => wanted.clone(),
                };
                let partners = self.partners(join, Side::Right, &shown, None).await?;
                vec![to(Side::Left, own), to(Side::Right, partners)]
            }
            RightSemi | RightMark => {
                let own = wanted.only(0..r)?;
                let partners = self.partners(join, Side::Left, &own, None).await?;
                vec![to(Side::Right, own), to(Side::Left, partners)]
            }
            LeftAnti => vec![to(Side::Left, wanted.clone())],
            RightAnti => vec![to(Side::Right, wanted.clone())],
            Inner => vec![to(Side::Left, wanted.only(0..l)?), to(Side::Right, wanted.only(l..l + r)?)],
            Left => {
                let partners = self.partners(join, Side::Right, wanted, Some(l)).await?;
                vec![to(Side::Left, wanted.only(0..l)?), to(Side::Right, partners)]
            }
            Right => {
                let partners = self.partners(join, Side::Left, wanted, Some(0)).await?;
                vec![to(Side::Left, partners), to(Side::Right, wanted.only(l..l + r)?)]
            }
            Full => {
                let mut steps = vec![];
                for side in [Side::Left, Side::Right] {
                    let (own, others) = match side {
                        Side::Left => (0..l, l..l + r),
                        Side::Right => (l..l + r, 0..l),
                    };
                    let pairs = self.partners(join, side, wanted, Some(own.start)).await?;
                    let alone = wanted.all_null(others, true)?.only(own)?;
                    let plan = side.of(join);
                    let alone = self.behind(plan, &same_columns(plan), &alone).await?;
                    steps.push(to(side, pairs.with(alone)?));
                }
                steps
            }
        })
    }

    /// The rows of `side` that meet the join's condition with the other side's columns of the wanted rows; with `own`, only those
    /// that are the wanted rows' own columns from there on. NULLs in place of a partner meet no condition, and so find none.
    async fn partners(&self, join: &Join, side: Side, wanted: &Wanted, own: Option<usize>) -> Result<Wanted> {
        let (here, there) = (side.of(join), side.other().of(join));
        let width = here.schema().fields().len();
        let from = match (side, own) {
            // The wanted rows hold both sides' columns.
            (Side::Left, Some(_)) => width,
            _ => 0,
        };
        let build = || -> datafusion::error::Result<LogicalPlanBuilder> {
            let external = |e: fleuve_types::Error| datafusion::error::DataFusionError::External(Box::new(e));
            // The other side as the condition knows it, made of the wanted rows.
            let mut columns = vec![plain(TAG)];
            for (i, (qualifier, field)) in there.schema().iter().enumerate() {
                columns.push(plain(format!("w{}", from + i)).alias_qualified(qualifier.cloned(), field.name()));
            }
            let mut filter = join.filter.clone();
            if let Some(own) = own {
                for (i, column) in here.schema().columns().into_iter().enumerate() {
                    columns.push(plain(format!("w{}", own + i)).alias(format!("__own{i}")));
                    let same = Expr::BinaryExpr(BinaryExpr::new(
                        Box::new(plain(format!("__own{i}"))),
                        Operator::IsNotDistinctFrom,
                        Box::new(Expr::Column(column)),
                    ));
                    filter = Some(match filter {
                        Some(filter) => filter.and(same),
                        None => same,
                    });
                }
            }
            let others = Arc::new(wanted.scan().map_err(external)?.project(columns)?.build()?);
            let (left, right) = match side {
                Side::Right => (others, here.clone()),
                Side::Left => (here.clone(), others),
            };
            let pairs = Join::try_new(
                left,
                right,
                join.on.clone(),
                filter,
                JoinType::Inner,
                JoinConstraint::On,
                join.null_equality,
                false,
            )?;
            let kept = here.schema().columns().into_iter().enumerate();
            let kept = kept.map(|(i, c)| Expr::Column(c).alias(format!("c{i}")));
            let kept: Vec<Expr> = std::iter::once(plain(TAG)).chain(kept).collect();
            LogicalPlanBuilder::from(LogicalPlan::Join(pairs)).project(kept)
        };
        let found = gather(&self.ground.context, build().map_err(|e| of_datafusion(&e))?).await?;
        Ok(Wanted { cut: found.cut || wanted.cut, ..found })
    }
}
