//! Joins to a view by the view's key: the rows of that side are looked up in the view's answer instead of being kept by the join.
//!
//! A build counts rows that are looked up as there from the beginning, and so they must not appear but in pairs with rows of the other
//! side, or by what they do to those. Where both sides are looked up, a build takes in the one that may.

use arrow::datatypes::FieldRef;
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join as JoinPlan, LogicalPlan, TableScan};

use super::map::plain_column;
use super::{Lowering, columns_of, table_of};
use crate::lookup::LookUp;
use crate::operators::join::Alone;

/// What is looked up of a join's sides.
#[derive(Default)]
pub(super) struct LookedUp {
    pub(super) left: Option<LookUp>,
    pub(super) right: Option<LookUp>,
    /// The pairs of the condition in the order of the key.
    pub(super) order: Vec<usize>,
}

impl LookedUp {
    /// The names of the views in whose answers the left side and the right one are looked up.
    pub(super) fn answers(&self, plan: &JoinPlan) -> [Option<String>; 2] {
        let name =
            |side: &LogicalPlan| scan_of(side).map(table_of).map(|(namespace, name)| format!("{namespace}.{name}"));
        let left = self.left.as_ref().and_then(|_| name(&plan.left));
        [left, self.right.as_ref().and_then(|_| name(&plan.right))]
    }
}

/// The scan that a plan is, and nothing else.
pub(super) fn scan_of(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan),
        LogicalPlan::SubqueryAlias(alias) => scan_of(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => scan_of(&sort.input),
        LogicalPlan::Repartition(r) => scan_of(&r.input),
        _ => None,
    }
}

impl Lowering<'_> {
    /// Which sides of a join are looked up; `alone` is how rows of the left side, and of the right one, appear besides in pairs.
    pub(super) fn looked_up(&self, plan: &JoinPlan, alone: (Alone, Alone)) -> LookedUp {
        let as_written = || LookedUp { order: (0..plan.on.len()).collect(), ..LookedUp::default() };
        let nulls_match = plan.null_equality == NullEquality::NullEqualsNull;
        // How many partners a row has is not found again for each step.
        let counts_rows = plan.filter.is_some() && alone != (Alone::No, Alone::No);
        if plan.on.is_empty() || nulls_match || counts_rows || self.on_close || self.leaves.is_some() {
            return as_written();
        }
        let left = self.key_side(&plan.left, plan.on.iter().map(|(l, _)| l));
        let right = self.key_side(&plan.right, plan.on.iter().map(|(_, r)| r));
        let taken_in = |side: Option<(LookUp, Vec<usize>)>, order: &[usize]| {
            side.filter(|(_, own)| own == order).map(|(lookup, _)| LookUp { is_taken_in: true, ..lookup })
        };
        let found = match (left, right) {
            (left, Some((right, order))) if alone.1 == Alone::No => {
                LookedUp { left: taken_in(left, &order), right: Some(right), order }
            }
            (Some((left, order)), right) if alone.0 == Alone::No => {
                LookedUp { left: Some(left), right: taken_in(right, &order), order }
            }
            _ => return as_written(),
        };
        let only_grows =
            |side: &LogicalPlan| scan_of(side).is_some_and(|s| self.relations.is_append_only(&table_of(s)));
        // Where no row goes a semi join need not keep those that have a partner; to look the partners up it would have to.
        if plan.join_type == JoinType::LeftSemi && plan.filter.is_none() && only_grows(&plan.right) {
            return as_written();
        }
        found
    }

    /// How rows of a side are looked up whose columns in the condition are `exprs`, and the order in which these are the key.
    fn key_side<'e>(&self, side: &LogicalPlan, exprs: impl Iterator<Item = &'e Expr>) -> Option<(LookUp, Vec<usize>)> {
        let scan = scan_of(side)?;
        let (table, columns) = (table_of(scan), columns_of(scan));
        let (answer, key) = (self.relations.answer(&table)?, self.relations.key(&table)?);
        let named = exprs.map(|e| plain_column(e, side.schema()).map(|at| columns[at])).collect::<Option<Vec<_>>>()?;
        let is_key = named.len() == key.len() && named.iter().all(|column| key.contains(column));
        let order = key.iter().map(|k| named.iter().position(|n| n == k)).collect::<Option<Vec<_>>>()?;
        let is_alike = |(at, field): (&usize, &FieldRef)| {
            answer.fields().get(*at).is_some_and(|own| own.data_type() == field.data_type())
        };
        let fits = columns.iter().zip(scan.projected_schema.fields()).all(is_alike);
        (is_key && fits).then_some((LookUp { key, is_taken_in: false }, order))
    }
}
