//! What a subquery gives for each combination of the outer columns that it names, in one plan (Neumann and Kemper, "Unnesting Arbitrary
//! Queries", BTW 2015): the different combinations, the domain, are joined to where the subquery does not name them, and are grouped and
//! numbered by on the way up.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullEquality, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprFunctionExt, FetchType, Join, JoinType, Limit, LogicalPlan, LogicalPlanBuilder,
    Projection, SkipType, Union, Unnest, Window, lit, when,
};

use crate::counts::row_number;
use crate::outer::subquery_of;

/// Aggregates that are NULL over no rows; `count` is 0. Of others a join does not tell what they are.
const NULL_OVER_NOTHING: [&str; 24] = [
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "mode",
    "nth_value",
    "percentile_cont",
    "percentile_disc",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// What each result of an aggregate comes to over no rows; None where that is not known of one.
pub(super) fn over_nothing(aggregate: &Aggregate) -> Option<Vec<Expr>> {
    let results = aggregate.schema.fields().iter().skip(aggregate.group_expr.len());
    let of = |(call, field): (&Expr, &FieldRef)| match call.clone().unalias() {
        Expr::AggregateFunction(call) if call.func.name() == "count" => Some(lit(0_i64)),
        Expr::AggregateFunction(call) if NULL_OVER_NOTHING.contains(&call.func.name()) => {
            ScalarValue::try_from(field.data_type()).ok().map(lit)
        }
        _ => None,
    };
    aggregate.aggr_expr.iter().zip(results).map(of).collect()
}

/// The different combinations of the outer columns that a subquery names; or, of what is made of each row alone, all rows.
pub(super) struct Domain<'a> {
    outer: &'a LogicalPlan,
    columns: Vec<Column>,
    is_of_rows: bool,
    numbers: &'a Cell<usize>,
}

/// A plan for all combinations at once.
pub(super) struct Dependent {
    /// Its first columns are the combination, those of the subquery come after them.
    pub(super) plan: LogicalPlan,
    /// The table that the columns of the combination are of.
    pub(super) table: String,
}

impl<'a> Domain<'a> {
    /// None for a subquery that names nothing of `outer`, or something that stands neither there nor in itself.
    pub(super) fn of(subquery: &LogicalPlan, outer: &'a LogicalPlan, numbers: &'a Cell<usize>) -> Result<Option<Self>> {
        let mut columns = vec![];
        let is_whole = named(subquery, outer.schema(), &[], &mut columns)?;
        let is_closed = named(outer, &DFSchema::empty(), &[], &mut vec![])?;
        let fits = is_whole && !columns.is_empty() && is_closed && !is_volatile(outer)?;
        Ok(fits.then_some(Self { outer, columns, is_of_rows: false, numbers }))
    }

    /// All rows in place of the combinations, if `plan` makes of each row what does not depend on others.
    pub(super) fn of_rows(&self, plan: &LogicalPlan) -> Result<Option<Self>> {
        let columns = self.outer.schema().columns();
        Ok(self.is_of_each_row(plan)?.then_some(Self { columns, is_of_rows: true, ..*self }))
    }

    /// True for conditions, expressions and lists of a row and of rows of a table.
    fn is_of_each_row(&self, plan: &LogicalPlan) -> Result<bool> {
        match plan {
            LogicalPlan::Projection(projection) => self.is_of_each_row(&projection.input),
            LogicalPlan::SubqueryAlias(alias) => self.is_of_each_row(&alias.input),
            LogicalPlan::Filter(filter) => self.is_of_each_row(&filter.input),
            LogicalPlan::Unnest(unnest) => self.is_of_each_row(&unnest.input),
            other => Ok(!self.is_named_in(other)?),
        }
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    /// True if only the subquery itself names them, not a subquery in it.
    pub(super) fn is_named_directly(&self, subquery: &LogicalPlan) -> bool {
        let mut is_direct = true;
        let walked = subquery.apply(|node| {
            let own = merge_schema(&node.inputs());
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Some(inner) = subquery_of(expr) {
                        let mut columns = vec![];
                        named(&inner.subquery, self.outer.schema(), &[&own], &mut columns)?;
                        is_direct &= columns.is_empty();
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        is_direct && walked.is_ok()
    }

    /// A name that no other table has.
    pub(super) fn table(&self, name: &str) -> String {
        self.numbers.set(self.numbers.get() + 1);
        format!("__{name}_{}", self.numbers.get())
    }

    /// The columns of a combination.
    pub(super) fn keys(&self, table: &str) -> Vec<Column> {
        (0..self.columns.len()).map(|i| Column::new(Some(table), format!("__outer_{i}"))).collect()
    }

    fn combinations(&self) -> Result<Dependent> {
        let table = self.table("domain");
        let named = self.columns.iter().zip(self.keys(&table));
        let named = named.map(|(outer, key)| Expr::Column(outer.clone()).alias_qualified(key.relation, key.name));
        let plan = LogicalPlanBuilder::from(self.outer.clone()).project(named)?;
        let plan = if self.is_of_rows { plan } else { plan.distinct()? };
        Ok(Dependent { plan: plan.build()?, table })
    }

    fn is_named_in(&self, plan: &LogicalPlan) -> Result<bool> {
        let mut columns = vec![];
        named(plan, self.outer.schema(), &[], &mut columns)?;
        Ok(!columns.is_empty())
    }

    /// `plan` for all combinations; None where that is not so simple.
    #[recursive::recursive]
    pub(super) fn dependent(&self, plan: &LogicalPlan) -> Result<Option<Dependent>> {
        if is_one_empty_row(plan) {
            return Ok(Some(self.combinations()?));
        }
        if !self.is_named_in(plan)? {
            let Dependent { plan: combinations, table } = self.combinations()?;
            let plan = LogicalPlanBuilder::from(combinations).cross_join(plan.clone())?.build()?;
            return Ok(Some(Dependent { plan, table }));
        }
        match plan {
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Aggregate(aggregate) => match self.grouped(aggregate)? {
                Some(grouped) if aggregate.group_expr.is_empty() => self.with_empty_groups(grouped, aggregate),
                grouped => Ok(grouped),
            },
            LogicalPlan::Projection(Projection { input, .. })
            | LogicalPlan::Distinct(Distinct::All(input))
            | LogicalPlan::Window(Window { input, .. })
            | LogicalPlan::Unnest(Unnest { input, .. }) => self.over(plan, input),
            LogicalPlan::SubqueryAlias(alias) => self.over(plan, &alias.input),
            LogicalPlan::Filter(filter) => self.over(plan, &filter.input),
            LogicalPlan::Distinct(Distinct::On(on)) => self.over(plan, &on.input),
            // A table function is one.
            LogicalPlan::Subquery(subquery) => self.dependent(&subquery.subquery),
            // Rows that nothing numbers have no order.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.dependent(&sort.input),
            _ => Ok(None),
        }
    }

    /// A node over its one input.
    fn over(&self, node: &LogicalPlan, input: &LogicalPlan) -> Result<Option<Dependent>> {
        let Some(Dependent { plan, table }) = self.dependent(input)? else { return Ok(None) };
        let all = |exprs: &[Expr]| self.all_replaced(node, exprs, &table);
        let keys = || self.keys(&table).into_iter().map(Expr::Column);
        let builder = LogicalPlanBuilder::from(plan);
        let plan = match node {
            LogicalPlan::Projection(projection) => builder.project(keys().chain(all(&projection.expr)?))?.build()?,
            LogicalPlan::Filter(filter) => {
                builder.filter(self.replaced(filter.predicate.clone(), &table)?.data)?.build()?
            }
            LogicalPlan::Distinct(Distinct::All(_)) => builder.distinct()?.build()?,
            LogicalPlan::SubqueryAlias(alias) => {
                let named = input.schema().columns().into_iter();
                let named = named.map(|c| (c.name.clone(), Expr::Column(c)));
                let named = named.map(|(name, c)| c.alias_qualified(Some(alias.alias.clone()), name));
                builder.project(keys().chain(named))?.build()?
            }
            LogicalPlan::Distinct(Distinct::On(on)) => {
                let first = keys().map(|k| k.sort(true, false));
                let sort = on.sort_expr.as_ref().map(|s| self.sorted(s, &table)).transpose()?;
                let sort = sort.map(|s| first.chain(s).collect());
                let (on, select) = (all(&on.on_expr)?, all(&on.select_expr)?);
                builder.distinct_on(keys().chain(on).collect(), keys().chain(select).collect(), sort)?.build()?
            }
            LogicalPlan::Unnest(unnest) => {
                let columns = unnest.exec_columns.clone();
                builder.unnest_columns_with_options(columns, unnest.options.clone())?.build()?
            }
            LogicalPlan::Window(window) => {
                let before = builder.schema().fields().len();
                let mut exprs = vec![];
                for expr in &window.window_expr {
                    let Expr::WindowFunction(mut call) = self.replaced(expr.clone().unalias(), &table)?.data else {
                        return Ok(None);
                    };
                    let WindowFunction { params, .. } = call.as_mut();
                    params.partition_by = keys().chain(std::mem::take(&mut params.partition_by)).collect();
                    exprs.push(Expr::WindowFunction(call));
                }
                let plan = builder.window(exprs)?.build()?;
                let computed = (before..plan.schema().fields().len()).map(|i| column(&plan, i));
                let names = (input.schema().fields().len()..).map(|i| window.schema.qualified_field(i));
                let computed = computed.zip(names).map(|(c, (q, f))| c.alias_qualified(q.cloned(), f.name()));
                let inputs = input.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<Expr> = keys().chain(inputs).chain(computed).collect();
                LogicalPlanBuilder::from(plan).project(columns)?.build()?
            }
            _ => return Ok(None),
        };
        Ok(Some(Dependent { plan: self.within(plan, &table, input.schema())?, table }))
    }

    /// An aggregate, grouped by the combination, too: without the groups that are empty.
    pub(super) fn grouped(&self, aggregate: &Aggregate) -> Result<Option<Dependent>> {
        if aggregate.aggr_expr.iter().any(|call| call.contains_outer() && !call.any_column_refs()) {
            return plan_err!(
                "an aggregate of nothing but columns of the tables outside of its subquery is not offered"
            );
        }
        let is_set = |e: &Expr| matches!(e, Expr::GroupingSet(_));
        if is_sorted(&aggregate.input) || aggregate.group_expr.iter().any(is_set) {
            return Ok(None);
        }
        let Some(Dependent { plan, table }) = self.dependent(&aggregate.input)? else { return Ok(None) };
        let node = LogicalPlan::Aggregate(aggregate.clone());
        let own = self.all_replaced(&node, &aggregate.group_expr, &table)?;
        let by = self.keys(&table).into_iter().map(Expr::Column).chain(own);
        let calls = self.all_replaced(&node, &aggregate.aggr_expr, &table)?;
        let plan = LogicalPlanBuilder::from(plan).aggregate(by, calls)?.build()?;
        Ok(Some(Dependent { plan: self.within(plan, &table, aggregate.input.schema())?, table }))
    }

    /// An aggregate over all rows has a row for a combination without rows, too.
    fn with_empty_groups(&self, grouped: Dependent, aggregate: &Aggregate) -> Result<Option<Dependent>> {
        let Some(nothing) = over_nothing(aggregate) else { return Ok(None) };
        let values = self.table("values");
        let columns: Vec<Expr> = grouped.plan.schema().columns().into_iter().map(Expr::Column).collect();
        let grouped = LogicalPlanBuilder::from(grouped.plan)
            .project(columns.into_iter().chain([lit(true).alias("__mark")]))?
            .alias(values.as_str())?
            .build()?;
        let Dependent { plan: combinations, table } = self.combinations()?;
        let on = (self.keys(&table), self.keys(&values));
        let plan = LogicalPlanBuilder::from(combinations)
            .join_detailed(grouped, JoinType::Left, on, None, NullEquality::NullEqualsNull)?
            .build()?;
        let is_empty = || Expr::Column(Column::new(Some(values.as_str()), "__mark")).is_null();
        let first = 2 * self.columns.len();
        let mut columns: Vec<Expr> = self.keys(&table).into_iter().map(Expr::Column).collect();
        for (i, nothing) in nothing.into_iter().enumerate() {
            let (qualifier, field) = aggregate.schema.qualified_field(i);
            let value = when(is_empty(), nothing).otherwise(column(&plan, first + i))?;
            columns.push(value.alias_qualified(qualifier.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        Ok(Some(Dependent { plan, table }))
    }

    fn join(&self, join: &Join) -> Result<Option<Dependent>> {
        if is_lateral(join)? || join.null_aware {
            return Ok(None);
        }
        let (in_left, in_right) = (self.is_named_in(&join.left)?, self.is_named_in(&join.right)?);
        let (to_left, to_right) = match join.join_type {
            JoinType::Inner => (in_left || !in_right, in_right),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, in_right),
            JoinType::Right => (in_left, true),
            _ => return Ok(None),
        };
        let side = |plan: &LogicalPlan, is_dependent: bool| -> Result<Option<(LogicalPlan, Option<String>)>> {
            if !is_dependent {
                return Ok(Some((plan.clone(), None)));
            }
            Ok(self.dependent(plan)?.map(|d| (d.plan, Some(d.table))))
        };
        let (Some((left, of_left)), Some((right, of_right))) =
            (side(&join.left, to_left)?, side(&join.right, to_right)?)
        else {
            return Ok(None);
        };
        let both = of_left.clone().zip(of_right.clone());
        let of_rows = if join.join_type == JoinType::Right { of_right } else { of_left.or(of_right) };
        let Some(table) = of_rows else { return Ok(None) };
        let replaced = |e: &Expr| self.replaced(e.clone(), &table).map(|e| e.data);
        let mut filter: Vec<Expr> = join.filter.iter().map(replaced).collect::<Result<_>>()?;
        let mut on: Vec<(Expr, Expr)> =
            join.on.iter().map(|(l, r)| Ok((replaced(l)?, replaced(r)?))).collect::<Result<_>>()?;
        let mut null_equality = join.null_equality;
        if let Some((of_left, of_right)) = both {
            if null_equality == NullEquality::NullEqualsNothing {
                filter.extend(on.drain(..).map(|(l, r)| l.eq(r)));
                null_equality = NullEquality::NullEqualsNull;
            }
            let keys = self.keys(&of_left).into_iter().zip(self.keys(&of_right));
            on.extend(keys.map(|(l, r)| (Expr::Column(l), Expr::Column(r))));
        }
        let near = merge_schema(&[join.left.as_ref(), join.right.as_ref()]);
        let new = LogicalPlan::Join(Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            conjunction(filter),
            join.join_type,
            join.join_constraint,
            null_equality,
            false,
        )?);
        let new = self.within(new, &table, &near)?;
        Ok(Some(self.with_columns(new, table, &join.schema)?))
    }

    fn union(&self, union: &Union) -> Result<Option<Dependent>> {
        let mut inputs = vec![];
        for input in &union.inputs {
            let Some(Dependent { plan, table }) = self.dependent(input)? else { return Ok(None) };
            // Under the names that the union gives them: one input may be all that is left of it.
            let keys = self.keys(&table).into_iter().map(|key| (key.name.clone(), Expr::Column(key)));
            let own = input.schema().columns().into_iter().map(Expr::Column);
            let own = union.schema.fields().iter().map(|f| f.name().clone()).zip(own);
            let columns: Vec<Expr> = keys.chain(own).map(|(name, column)| column.alias(name)).collect();
            inputs.push(Arc::new(LogicalPlanBuilder::from(plan).project(columns)?.build()?));
        }
        let plan = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        let table = self.table("domain");
        let first = self.columns.len();
        let keys = self.keys(&table).into_iter().enumerate();
        let keys = keys.map(|(i, key)| column(&plan, i).alias_qualified(key.relation, key.name));
        let own = union.schema.iter().enumerate();
        let own = own.map(|(i, (q, f))| column(&plan, first + i).alias_qualified(q.cloned(), f.name()));
        let columns: Vec<Expr> = keys.chain(own).collect();
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        Ok(Some(Dependent { plan, table }))
    }

    /// LIMIT and OFFSET: the rows of each combination are numbered.
    fn limit(&self, limit: &Limit) -> Result<Option<Dependent>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Ok(None);
        };
        let (input, order) = match limit.input.as_ref() {
            // Which rows there are does not depend on what is made of them.
            LogicalPlan::Projection(projection) => {
                let input = LogicalPlan::Limit(Limit { input: projection.input.clone(), ..limit.clone() });
                let projection = Projection::try_new(projection.expr.clone(), Arc::new(input))?;
                return self.dependent(&LogicalPlan::Projection(projection));
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (&sort.input, sort.expr.as_slice()),
            other if is_sorted(other) => return Ok(None),
            _ => (&limit.input, &[][..]),
        };
        let Some(Dependent { plan, table }) = self.dependent(input)? else { return Ok(None) };
        let keys = self.keys(&table).into_iter().map(Expr::Column).collect();
        let mut number = row_number().partition_by(keys);
        if !order.is_empty() {
            number = number.order_by(self.sorted(order, &table)?);
        }
        let name = self.table("row");
        let plan = LogicalPlanBuilder::from(plan).window([number.build()?])?.build()?;
        let last = plan.schema().fields().len() - 1;
        let mut columns: Vec<Expr> = (0..last).map(|i| column(&plan, i)).collect();
        columns.push(column(&plan, last).alias(&name));
        let number = || Expr::Column(Column::from_name(&name));
        let at = |row: usize| lit(i64::try_from(row).unwrap_or(i64::MAX));
        let from = (skip > 0).then(|| number().gt(at(skip)));
        let to = fetch.map(|fetch| number().lt_eq(at(skip.saturating_add(fetch))));
        let is_taken = conjunction(from.into_iter().chain(to)).unwrap_or_else(|| lit(true));
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.filter(is_taken)?.build()?;
        let plan = self.within(plan, &table, input.schema())?;
        Ok(Some(self.with_columns(plan, table, input.schema())?))
    }

    fn sorted(&self, order: &[SortExpr], table: &str) -> Result<Vec<SortExpr>> {
        let new = |s: &SortExpr| Ok(SortExpr { expr: self.replaced(s.expr.clone(), table)?.data, ..s.clone() });
        order.iter().map(new).collect()
    }

    /// The combination and then the columns of `schema`, out of a plan that has these and others.
    fn with_columns(&self, plan: LogicalPlan, table: String, schema: &DFSchema) -> Result<Dependent> {
        let columns = self.keys(&table).into_iter().chain(schema.columns()).map(Expr::Column);
        Ok(Dependent { plan: LogicalPlanBuilder::from(plan).project(columns)?.build()?, table })
    }

    /// Expressions of a node with the combination's columns in place of outer ones, under their names.
    fn all_replaced(&self, node: &LogicalPlan, exprs: &[Expr], table: &str) -> Result<Vec<Expr>> {
        let names = NamePreserver::new(node);
        let own = |expr: &Expr| {
            let name = names.save(expr);
            let new = self.replaced(expr.clone(), table)?;
            Ok(if new.transformed { name.restore(new.data) } else { new.data })
        };
        exprs.iter().map(own).collect()
    }

    /// The expression with the combination's columns in place of outer ones.
    pub(super) fn replaced(&self, expr: Expr, table: &str) -> Result<Transformed<Expr>> {
        expr.transform(|e| match &e {
            Expr::OuterReferenceColumn(_, column) => match self.columns.iter().position(|c| c == column) {
                Some(at) => Ok(Transformed::yes(Expr::Column(self.keys(table)[at].clone()))),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        })
    }

    /// The same within the subqueries of a node, but for names that mean something nearer.
    fn within(&self, node: LogicalPlan, table: &str, near: &DFSchema) -> Result<LogicalPlan> {
        Ok(node.map_subqueries(|subquery| self.renamed(subquery, table, &[near]))?.data)
    }

    #[recursive::recursive]
    fn renamed(&self, plan: LogicalPlan, table: &str, nearer: &[&DFSchema]) -> Result<Transformed<LogicalPlan>> {
        let rename = |expr: Expr| {
            let Expr::OuterReferenceColumn(field, column) = expr else { return Ok(Transformed::no(expr)) };
            let is_near = nearer.iter().any(|schema| schema.has_column(&column));
            Ok(match self.columns.iter().position(|c| *c == column) {
                Some(at) if !is_near => {
                    Transformed::yes(Expr::OuterReferenceColumn(field, self.keys(table)[at].clone()))
                }
                _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
            })
        };
        let plan = match plan {
            LogicalPlan::Subquery(mut subquery) => {
                for column in &mut subquery.outer_ref_columns {
                    *column = rename(std::mem::take(column))?.data;
                }
                LogicalPlan::Subquery(subquery)
            }
            plan => plan,
        };
        let own = merge_schema(&plan.inputs());
        let inside: Vec<&DFSchema> = nearer.iter().copied().chain([&own]).collect();
        let left = match &plan {
            LogicalPlan::Join(join) if is_lateral(join)? => Some(join.left.schema().clone()),
            _ => None,
        };
        let plan = plan.map_expressions(|expr| expr.transform(rename))?.data;
        let plan = plan.map_subqueries(|subquery| self.renamed(subquery, table, &inside))?.data;
        let mut n = 0;
        let plan = plan.map_children(|input| {
            n += 1;
            match &left {
                Some(left) if n == 2 => {
                    let beside: Vec<&DFSchema> = nearer.iter().copied().chain([left.as_ref()]).collect();
                    self.renamed(input, table, &beside)
                }
                _ => self.renamed(input, table, nearer),
            }
        })?;
        Ok(Transformed::yes(plan.data))
    }
}

/// The outer columns that a plan and the subqueries in it name; false if it names one that is neither of `outer` nor of a table `nearer`.
#[recursive::recursive]
fn named(plan: &LogicalPlan, outer: &DFSchema, nearer: &[&DFSchema], columns: &mut Vec<Column>) -> Result<bool> {
    let own = merge_schema(&plan.inputs());
    let mut is_whole = true;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if let Expr::OuterReferenceColumn(_, column) = expr
                && !nearer.iter().any(|schema| schema.has_column(column))
            {
                if !outer.has_column(column) {
                    is_whole = false;
                } else if !columns.contains(column) {
                    columns.push(column.clone());
                }
            }
            if let Some(subquery) = subquery_of(expr) {
                let nearer: Vec<&DFSchema> = nearer.iter().copied().chain([&own]).collect();
                is_whole &= named(&subquery.subquery, outer, &nearer, columns)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    for input in plan.inputs() {
        is_whole &= match plan {
            LogicalPlan::Join(join) if std::ptr::eq(input, join.right.as_ref()) && is_lateral(join)? => {
                let nearer: Vec<&DFSchema> = nearer.iter().copied().chain([join.left.schema().as_ref()]).collect();
                named(input, outer, &nearer, columns)?
            }
            _ => named(input, outer, nearer, columns)?,
        };
    }
    Ok(is_whole)
}

/// True for a join with a subquery on its right side that names columns of the left one.
pub(super) fn is_lateral(join: &Join) -> Result<bool> {
    if !join.right.exists(|plan| Ok(matches!(plan, LogicalPlan::Subquery(_))))? {
        return Ok(false);
    }
    Ok(opened(&join.right, join.left.schema(), &[])?.transformed)
}

/// The plan with such subqueries as parts of it: those that name columns of `left`, and of no other table.
#[recursive::recursive]
pub(super) fn opened(plan: &LogicalPlan, left: &DFSchema, nearer: &[&DFSchema]) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Subquery(subquery) = plan {
        let mut columns = vec![];
        let is_whole = named(&subquery.subquery, left, nearer, &mut columns)?;
        return Ok(match is_whole && !columns.is_empty() {
            true => Transformed::yes(subquery.subquery.as_ref().clone()),
            false => Transformed::no(plan.clone()),
        });
    }
    let mut is_changed = false;
    let mut inputs = vec![];
    for (n, input) in plan.inputs().into_iter().enumerate() {
        let new = match plan {
            LogicalPlan::Join(join) if n == 1 => {
                let nearer: Vec<&DFSchema> = nearer.iter().copied().chain([join.left.schema().as_ref()]).collect();
                opened(input, left, &nearer)?
            }
            _ => opened(input, left, nearer)?,
        };
        is_changed |= new.transformed;
        inputs.push(new.data);
    }
    match is_changed {
        true => Ok(Transformed::yes(plan.with_new_exprs(plan.expressions(), inputs)?)),
        false => Ok(Transformed::no(plan.clone())),
    }
}

/// What a SELECT without FROM reads.
fn is_one_empty_row(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row)
}

fn column(plan: &LogicalPlan, at: usize) -> Expr {
    Expr::Column(Column::from(plan.schema().qualified_field(at)))
}

/// True if rows come in an order that an aggregate may tell.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::Filter(filter) => is_sorted(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(node.expressions().iter().any(Expr::is_volatile)))
}
