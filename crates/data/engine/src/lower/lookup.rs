//! Joins to a view by the view's key, or to a stream or view by the columns of an index: the rows of that side are looked up in the view's
//! answer, or in the index, instead of being kept by the join.
//!
//! A build counts rows that are looked up as there from the beginning, and so they must not appear but in pairs with rows of the other
//! side, or by what they do to those. Where both sides are looked up, a build takes in the one that may.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join as JoinPlan, LogicalPlan, TableScan};
use fleuve_types::{Error, ObjectId, Result};

use super::map::plain_column;
use super::share::Work;
use super::{Lowering, NodeKind, columns_of, table_of};
use crate::lookup::LookUp;
use crate::operators::arrange::Arrange;
use crate::operators::join::Alone;

/// What is looked up of a join's sides.
#[derive(Default)]
pub(super) struct LookedUp {
    pub(super) left: Option<LookUp>,
    pub(super) right: Option<LookUp>,
    /// The pairs of the condition in the order of the key.
    pub(super) order: Vec<usize>,
}

/// A way in which rows of a side are looked up, and the order in which the columns of the condition are the key.
type Way = (LookUp, Vec<usize>);

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
        let left = self.ways(&plan.left, plan.on.iter().map(|(l, _)| l));
        let right = self.ways(&plan.right, plan.on.iter().map(|(_, r)| r));
        let taken_in = |side: Vec<Way>, order: &[usize]| {
            let way = side.into_iter().find(|(_, own)| own == order);
            way.map(|(lookup, _)| LookUp { is_taken_in: true, ..lookup })
        };
        let found = match (left.first().cloned(), right.first().cloned()) {
            (_, Some((way, order))) if alone.1 == Alone::No => {
                LookedUp { left: taken_in(left, &order), right: Some(way), order }
            }
            (Some((way, order)), _) if alone.0 == Alone::No => {
                LookedUp { left: Some(way), right: taken_in(right, &order), order }
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

    /// How rows of a side can be looked up whose columns in the condition are `exprs`: by the view's key, then in indexes.
    fn ways<'e>(&self, side: &LogicalPlan, exprs: impl Iterator<Item = &'e Expr>) -> Vec<Way> {
        let Some(scan) = scan_of(side) else { return vec![] };
        let (table, columns) = (table_of(scan), columns_of(scan));
        let named = exprs.map(|e| plain_column(e, side.schema()).map(|at| columns[at])).collect::<Option<Vec<_>>>();
        let Some(named) = named else { return vec![] };
        let way = |key: Vec<usize>, index: Option<ObjectId>, type_of: &dyn Fn(usize) -> Option<DataType>| {
            let is_key = named.len() == key.len() && named.iter().all(|column| key.contains(column));
            let order = key.iter().map(|k| named.iter().position(|n| n == k)).collect::<Option<Vec<_>>>()?;
            let is_alike = |(at, field): (&usize, &FieldRef)| type_of(*at).as_ref() == Some(field.data_type());
            let fits = columns.iter().zip(scan.projected_schema.fields()).all(is_alike);
            (is_key && fits).then_some((LookUp { key, is_taken_in: false, index }, order))
        };
        let mut ways = vec![];
        if let (Some(answer), Some(key)) = (self.relations.answer(&table), self.relations.key(&table)) {
            ways.extend(way(key, None, &|at| answer.fields().get(at).map(|own| own.data_type().clone())));
        }
        for index in self.relations.indexes(&table) {
            let held = |at| index.holds.iter().find(|(column, _)| *column == at).map(|(_, own)| own.clone());
            ways.extend(way(index.by.clone(), Some(index.id), &held));
        }
        ways
    }

    /// What the left side and the right one of a join are looked up in, in words.
    pub(super) fn places(&self, looked_up: &LookedUp, plan: &JoinPlan) -> [Option<String>; 2] {
        let place = |lookup: &Option<LookUp>, side: &LogicalPlan| {
            let (lookup, table) = (lookup.as_ref()?, table_of(scan_of(side)?));
            let Some(id) = lookup.index else { return Some(format!("the answer of {}.{}", table.0, table.1)) };
            let index = self.relations.indexes(&table).into_iter().find(|index| index.id == id)?;
            Some(format!("the index {}", index.name))
        };
        [place(&looked_up.left, &plan.left), place(&looked_up.right, &plan.right)]
    }

    /// The operator that keeps the rows of an input by some of its columns.
    pub(super) fn index(&mut self, rows: usize, by: &[usize]) -> Result<usize> {
        if !matches!(self.nodes[rows].kind, NodeKind::Input(_)) {
            return Err(Error::bug("an index is of the rows of a stream or view as they are"));
        }
        let mut work = Work::new("index", format!("{by:?}"));
        self.same_rows(&mut work, &[rows], [])?;
        let schema = self.nodes[rows].schema.clone();
        let operator = Arrange::new(schema.clone(), by.to_vec(), self.shards)?;
        let node = self.node(Box::new(operator), vec![rows], schema, true, None);
        self.does(node, work);
        Ok(node)
    }
}
