//! GROUPING SETS, ROLLUP and CUBE: an aggregate by all their keys and the number of the set, over expanded rows. The set without
//! keys is an aggregate of its own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use fleuve_types::{Error, Result};

use super::time::Times;
use super::{Lowering, close, loose};
use crate::operators::aggregate::AggregateCall;
use crate::operators::expand::{self, Expand};
use crate::operators::map::{Map, Stage};
use crate::operators::physical;
use crate::operators::union::Union;

/// The grouping sets of an aggregate, if it has any.
pub(super) fn sets_of(plan: &Aggregate) -> Option<&GroupingSet> {
    plan.group_expr.iter().find_map(|e| match e {
        Expr::GroupingSet(set) => Some(set),
        _ => None,
    })
}

/// By set: which of `keys` are in it.
fn members(set: &GroupingSet, keys: &[&Expr]) -> Result<Vec<Vec<bool>>> {
    let with = |set: &[Expr]| keys.iter().map(|k| set.contains(k)).collect();
    Ok(match set {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|s| with(s)).collect(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).map(|n| with(&exprs[..n])).collect(),
        GroupingSet::Cube(exprs) => {
            let sets = u32::try_from(exprs.len()).ok().and_then(|n| 1_usize.checked_shl(n));
            let sets = sets.filter(|n| *n <= MAX_SETS).ok_or_else(too_many)?;
            let chosen = |n: usize| {
                let of: Vec<Expr> =
                    exprs.iter().enumerate().filter(|(i, _)| n >> i & 1 == 1).map(|(_, e)| e.clone()).collect();
                with(&of)
            };
            (0..sets).map(chosen).collect()
        }
    })
}

/// As many as DataFusion takes.
const MAX_SETS: usize = 65_535;

fn too_many() -> Error {
    Error::unsupported(format!("more than {MAX_SETS} grouping sets"))
}

/// DataFusion's `__grouping_id`: a bit for each key that is not in the set, the last key's the lowest; above them how many equal
/// sets came before.
fn ids(sets: &[Vec<bool>], id_type: &DataType) -> Result<Vec<ScalarValue>> {
    let mut before: HashMap<&[bool], u64> = HashMap::new();
    let mut ids = vec![];
    for set in sets {
        let equal = before.entry(set).or_default();
        let id = set.iter().fold(*equal, |id, has| (id << 1) | u64::from(!has));
        *equal += 1;
        ids.push(ScalarValue::UInt64(Some(id)).cast_to(id_type).map_err(|_| too_many())?);
    }
    Ok(ids)
}

impl Lowering<'_> {
    pub(super) fn grouping_sets(&mut self, plan: &Aggregate, set: &GroupingSet, input: usize) -> Result<usize> {
        let exprs = set.distinct_expr();
        let members = members(set, &exprs)?;
        let schema = loose(&plan.schema);
        // Where a set leaves the time out it is NULL, and no such row would ever be shown: only what all sets have closes them.
        let owned: Vec<Expr> = exprs.iter().map(|e| (*e).clone()).collect();
        let times = self.time_keys(input, &owned, plan.input.schema())?;
        let times = times.moved(|key| members.iter().all(|set| set[key]).then_some(key));
        let ids = ids(&members, schema.field(exprs.len()).data_type())?;
        let sets = members.into_iter().zip(ids).map(|(has, id)| expand::GroupingSet { has, id });
        let (some, empty): (Vec<_>, Vec<_>) = sets.partition(|s| s.has.contains(&true));
        let mut parts = vec![];
        if !some.is_empty() {
            let keys = exprs.iter().map(|e| physical(e, plan.input.schema())).collect::<Result<Vec<_>>>()?;
            let (expanded, keys) = self.expand(input, keys, some, &schema);
            let calls = self.calls_again(plan, input)?;
            parts.push(self.aggregate_by(expanded, (keys, times), (calls, None), schema.clone())?);
        }
        for set in empty {
            parts.push(self.total(plan, input, set.id, &schema)?);
        }
        let node = match parts.as_slice() {
            [one] => *one,
            _ => {
                let key = Some((0..=exprs.len()).collect());
                let append_only = parts.iter().all(|p| self.nodes[*p].append_only);
                self.node(Box::new(Union { schema: schema.clone() }), parts, schema, append_only, key)
            }
        };
        self.loses(node, input, plan.input.schema(), || {
            ("a grouping set leaves out the event time, and its rows belong to no window".into(), close::GROUP_BY)
        });
        Ok(node)
    }

    fn calls_again(&self, plan: &Aggregate, input: usize) -> Result<Vec<AggregateCall>> {
        let calls = self.aggregate_calls(plan, self.nodes[input].append_only)?;
        calls.ok_or_else(|| Error::bug("an aggregate that could be kept up to date cannot any more"))
    }

    /// `input` with each row once for each set. Gives the node and the keys to aggregate by.
    fn expand(
        &mut self,
        input: usize,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        sets: Vec<expand::GroupingSet>,
        answer: &SchemaRef,
    ) -> (usize, Vec<Arc<dyn PhysicalExpr>>) {
        let width = self.nodes[input].schema.fields().len();
        let mut fields: Vec<Field> = self.nodes[input].schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(answer.fields().iter().take(keys.len() + 1).map(|f| f.as_ref().clone()));
        let columns = (width..fields.len()).map(|i| column(fields[i].name(), i)).collect();
        let schema = Arc::new(Schema::new(fields));
        let append_only = self.nodes[input].append_only;
        let operator = Expand { keys, sets, schema: schema.clone() };
        (self.node(Box::new(operator), vec![input], schema, append_only, None), columns)
    }

    /// The set without keys: one row, also over no rows.
    fn total(&mut self, plan: &Aggregate, input: usize, id: ScalarValue, schema: &SchemaRef) -> Result<usize> {
        let results = schema.fields().len() - plan.aggr_expr.len();
        let fields: Vec<Field> = schema.fields().iter().skip(results).map(|f| f.as_ref().clone()).collect();
        let calls = self.calls_again(plan, input)?;
        let total =
            self.aggregate_by(input, (vec![], Times::default()), (calls, None), Arc::new(Schema::new(fields.clone())))?;
        let mut project: Vec<Arc<dyn PhysicalExpr>> = vec![];
        for field in schema.fields().iter().take(results - 1) {
            let null = ScalarValue::try_from(field.data_type()).map_err(|e| Error::bug(e.to_string()))?;
            project.push(Arc::new(Literal::new(null)));
        }
        project.push(Arc::new(Literal::new(id)));
        project.extend(fields.iter().enumerate().map(|(i, f)| column(f.name(), i)));
        let stage = Stage { filter: None, project: Some(project), schema: schema.clone() };
        let map = Map { stages: vec![stage], guard: self.guard.clone() };
        Ok(self.node(Box::new(map), vec![total], schema.clone(), false, Some(vec![])))
    }
}

fn column(name: &str, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, at))
}
