//! The recursive term of `WITH RECURSIVE` over all its rounds at once: every row carries the number of its round in a column of its
//! own, and what a row meets of the recursive relation is of the same round. So one circuit holds all rounds, and what does not
//! depend on the recursion is held in it once.
//!
//! This is the indexed sum of the rounds' streams in DBSP's nested streams (Budiu et al., VLDB 2023), with the index as data.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinConstraint, JoinType, NullEquality, TableReference};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Extension, Filter, Join, LogicalPlan, Projection, RecursiveQuery, SubqueryAlias,
    TableScan, Union, UserDefinedLogicalNodeCore,
};

/// The column of the round.
const ROUND: &str = "__round";
/// The rounds that have rows.
const ROUNDS: &str = "__rounds";

/// What a term reads, in the place of a scan or of a plan that does not depend on the recursion.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// 0 is the recursive relation, `n + 1` is [`Lifted::others`]`[n]`.
    pub(super) number: usize,
    pub(super) name: String,
    /// Which of its columns.
    pub(super) columns: Vec<usize>,
    pub(super) schema: DFSchemaRef,
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        (self.number, &self.columns, &self.schema) == (other.number, &other.columns, &other.schema)
    }
}

impl Eq for Leaf {}

impl Hash for Leaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.number, &self.columns).hash(state);
    }
}

impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.number, &self.columns).partial_cmp(&(other.number, &other.columns))
    }
}

impl UserDefinedLogicalNodeCore for Leaf {
    fn name(&self) -> &str {
        "Leaf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> DfResult<Self> {
        Ok(self.clone())
    }
}

/// A term over all rounds.
pub(super) struct Lifted {
    /// The term's columns and the round of the rows that its rows were made of.
    pub(super) term: LogicalPlan,
    /// What it reads besides the recursive relation.
    pub(super) others: Vec<LogicalPlan>,
    /// Every row of the term comes of one row of the recursive relation, whatever else is in its round.
    pub(super) is_linear: bool,
}

/// Lifts the recursive term of a query.
///
/// # Errors
/// When there is something in it for which rounds cannot be told apart.
pub(super) fn lift(query: &RecursiveQuery) -> DfResult<Lifted> {
    let mut lift = Lift { name: &query.name, others: vec![], is_linear: true, own: None };
    lift.own = Some(lift.find(&query.recursive_term)?);
    let (plan, round) = lift.plan(&query.recursive_term)?;
    let Some(round) = round else { return not_yet("a recursive term that does not read its own relation") };
    let exprs = query.recursive_term.schema().columns().into_iter().chain([round]).map(Expr::Column).collect();
    let term = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    Ok(Lifted { term, others: lift.others, is_linear: lift.is_linear })
}

fn not_yet<T>(what: &str) -> DfResult<T> {
    Err(DataFusionError::NotImplemented(format!("{what} has no incremental form")))
}

struct Lift<'a> {
    name: &'a str,
    others: Vec<LogicalPlan>,
    is_linear: bool,
    /// What stands for the scan of the recursive relation, of which there is one.
    own: Option<LogicalPlan>,
}

/// A plan, and the column of its round if it depends on the recursion.
type Part = (LogicalPlan, Option<Column>);

impl Lift<'_> {
    fn is_own(&self, scan: &TableScan) -> bool {
        scan.table_name.schema().is_none() && scan.table_name.table() == self.name
    }

    fn find(&self, term: &LogicalPlan) -> DfResult<LogicalPlan> {
        let mut found = vec![];
        term.apply_with_subqueries(|p| {
            if let LogicalPlan::TableScan(scan) = p
                && self.is_own(scan)
            {
                found.push(scan.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match found.as_slice() {
            [scan] if scan.filters.is_empty() && scan.fetch.is_none() => {
                let width = scan.source.schema().fields().len();
                let mut columns: Vec<usize> = scan.projection.clone().unwrap_or_else(|| (0..width).collect());
                columns.push(width);
                let schema = with_round(&scan.projected_schema, Some(scan.table_name.clone()))?;
                Ok(leaf(Leaf { number: 0, name: self.name.to_string(), columns, schema }))
            }
            _ => not_yet("a recursive term that does not read its own relation once"),
        }
    }

    fn depends(&self, plan: &LogicalPlan) -> DfResult<bool> {
        let mut found = false;
        plan.apply_with_subqueries(|p| {
            if let LogicalPlan::TableScan(scan) = p
                && self.is_own(scan)
            {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    fn plan(&mut self, plan: &LogicalPlan) -> DfResult<Part> {
        if !self.depends(plan)? {
            self.others.push(plan.clone());
            let (number, schema) = (self.others.len(), plan.schema().clone());
            let columns = (0..schema.fields().len()).collect();
            return Ok((leaf(Leaf { number, name: format!("input {number}"), columns, schema }), None));
        }
        match plan {
            LogicalPlan::TableScan(_) => {
                let own = self.own()?;
                let round = own.schema().columns().pop();
                Ok((own, round))
            }
            LogicalPlan::Projection(p) => {
                let (input, round) = self.part(&p.input)?;
                let exprs = p.expr.iter().cloned().chain([Expr::Column(round.clone())]).collect();
                Ok((LogicalPlan::Projection(Projection::try_new(exprs, input)?), Some(round)))
            }
            LogicalPlan::Filter(f) => {
                let (input, round) = self.part(&f.input)?;
                Ok((LogicalPlan::Filter(Filter::try_new(f.predicate.clone(), input)?), Some(round)))
            }
            LogicalPlan::SubqueryAlias(a) => {
                let (input, round) = self.part(&a.input)?;
                let alias = SubqueryAlias::try_new(input, a.alias.clone())?;
                Ok((LogicalPlan::SubqueryAlias(alias), Some(Column::new(Some(a.alias.clone()), round.name))))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.plan(&sort.input),
            LogicalPlan::Repartition(r) => self.plan(&r.input),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let (input, round) = self.part(input)?;
                Ok((LogicalPlan::Distinct(Distinct::All(input)), Some(round)))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            other => not_yet(&format!("{} in a recursive term", other.display())),
        }
    }

    /// A plan that depends on the recursion.
    fn part(&mut self, plan: &LogicalPlan) -> DfResult<(Arc<LogicalPlan>, Column)> {
        match self.plan(plan)? {
            (plan, Some(round)) => Ok((Arc::new(plan), round)),
            (_, None) => not_yet("a part without a round"),
        }
    }

    fn own(&self) -> DfResult<LogicalPlan> {
        self.own.clone().map_or_else(|| not_yet("a recursive term that does not read its own relation"), Ok)
    }

    fn aggregate(&mut self, plan: &Aggregate) -> DfResult<Part> {
        // Without keys there is an answer over no rows, too, as long as the recursion goes on.
        if plan.group_expr.is_empty() || plan.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return not_yet("an aggregate over all rows in a recursive term");
        }
        let (input, round) = self.part(&plan.input)?;
        self.is_linear &= plan.aggr_expr.is_empty();
        let keys = plan.group_expr.iter().cloned().chain([Expr::Column(round.clone())]).collect();
        let aggregate = Aggregate::try_new(input, keys, plan.aggr_expr.clone())?;
        Ok((LogicalPlan::Aggregate(aggregate), Some(round)))
    }

    fn join(&mut self, plan: &Join) -> DfResult<Part> {
        let (left, right) = (self.plan(&plan.left)?, self.plan(&plan.right)?);
        let of_left = matches!(
            plan.join_type,
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
        );
        let of_right = matches!(
            plan.join_type,
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        );
        let (left, right) = match (&left.1, &right.1) {
            (Some(_), None) if of_left => (left, right),
            (None, Some(_)) if of_right => (left, right),
            // Rows of one side that may be shown alone, in each round anew.
            _ => (self.in_each_round(left)?, self.in_each_round(right)?),
        };
        let mut on = plan.on.clone();
        if let (Some(l), Some(r)) = (&left.1, &right.1) {
            on.push((Expr::Column(l.clone()), Expr::Column(r.clone())));
        }
        let round = match (of_left, of_right) {
            (true, _) => left.1.or(right.1),
            (_, true) => right.1,
            _ => return not_yet("FULL JOIN in a recursive term"),
        };
        let join = Join::try_new(
            Arc::new(left.0),
            Arc::new(right.0),
            on,
            plan.filter.clone(),
            plan.join_type,
            plan.join_constraint,
            plan.null_equality,
            plan.null_aware,
        )?;
        Ok((LogicalPlan::Join(join), round))
    }

    fn union(&mut self, plan: &Union) -> DfResult<Part> {
        let mut inputs = vec![];
        for input in &plan.inputs {
            let columns = input.schema().columns();
            let part = self.plan(input)?;
            let (input, Some(round)) = self.in_each_round(part)? else { return not_yet("a part without a round") };
            let exprs = columns.into_iter().chain([round]).map(Expr::Column).collect();
            inputs.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)));
        }
        let schema = with_round(&plan.schema, None)?;
        Ok((LogicalPlan::Union(Union { inputs, schema }), Some(Column::new_unqualified(ROUND))))
    }

    /// A plan with its rows in every round in which the recursion goes on.
    fn in_each_round(&mut self, (plan, round): Part) -> DfResult<Part> {
        if round.is_some() {
            return Ok((plan, round));
        }
        let own = self.own()?;
        self.is_linear = false;
        let round = own.schema().columns().pop().map(Expr::Column);
        let rounds = Aggregate::try_new(Arc::new(own), round.into_iter().collect(), vec![])?;
        let rounds = SubqueryAlias::try_new(Arc::new(LogicalPlan::Aggregate(rounds)), ROUNDS)?;
        let join = Join::try_new(
            Arc::new(plan),
            Arc::new(LogicalPlan::SubqueryAlias(rounds)),
            vec![],
            None,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok((LogicalPlan::Join(join), Some(Column::new(Some(ROUNDS), ROUND))))
    }
}

fn leaf(leaf: Leaf) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(leaf) })
}

/// A schema with the round after its columns.
fn with_round(schema: &DFSchema, qualifier: Option<TableReference>) -> DfResult<DFSchemaRef> {
    let round = Arc::new(Field::new(ROUND, DataType::Int64, true));
    let own = schema.iter().map(|(q, f)| (q.cloned(), f.clone()));
    let fields = own.chain([(qualifier, round)]).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
