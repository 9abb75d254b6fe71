//! Equal work is done once. Two parts of a query that come to the same may differ in names and in what they pass along beside; here
//! they are compared by what they compute over the relations, and an operator that is there already is used again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use fleuve_batch::can_fail_in;
use fleuve_types::{Error, Result};

use super::{Lowering, NodeKind};
use crate::operators::aggregate::AggregateCall;
use crate::operators::map::Stage;
use crate::operators::unwritten;

type Physical = Arc<dyn PhysicalExpr>;

/// Where columns are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Node(usize),
    /// In a relation that the circuit reads, by `(namespace, name)`, whichever of its columns a scan takes.
    Relation((String, String)),
}

/// What a node is, over its base: rows that pass the filters, with these columns.
#[derive(Clone)]
struct View {
    base: Base,
    filters: Vec<Physical>,
    columns: Vec<Physical>,
}

/// What an operator does. Operators of which this is equal put out the same rows.
pub(crate) struct Work {
    kind: &'static str,
    text: String,
    bases: Vec<Base>,
    exprs: Vec<Option<Physical>>,
}

impl PartialEq for Work {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text, &self.bases) == (other.kind, &other.text, &other.bases) && self.exprs == other.exprs
    }
}

/// What was lowered, to be found again.
#[derive(Default)]
pub(super) struct Shared {
    views: HashMap<usize, View>,
    work: Vec<(Work, usize)>,
}

impl Shared {
    /// What each node does of which it was noted.
    pub(super) fn into_work(self) -> BTreeMap<usize, Work> {
        self.work.into_iter().map(|(work, node)| (node, work)).collect()
    }

    /// Forgets nodes that were given up.
    pub(super) fn truncate(&mut self, nodes: usize) {
        self.views.retain(|node, _| *node < nodes);
        self.work.retain(|(_, node)| *node < nodes);
    }
}

/// An expression over other columns.
fn over(expr: &Physical, columns: &[Physical]) -> Result<Physical> {
    let new = expr.clone().transform_up(|e| {
        let column = (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>().map(Column::index);
        Ok(match column.and_then(|at| columns.get(at)) {
            Some(new) => Transformed::yes(unwritten(new.clone()).data),
            None => unwritten(e),
        })
    });
    new.map(|t| t.data).map_err(|e| Error::bug(e.to_string()))
}

fn without_names(expr: &Physical) -> Result<Physical> {
    let new = expr.clone().transform_up(|e| {
        let column = (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>().map(Column::index);
        Ok(column.map_or_else(|| unwritten(e), |at| Transformed::yes(nameless(at))))
    });
    new.map(|t| t.data).map_err(|e| Error::bug(e.to_string()))
}

/// The types of a schema.
pub(super) fn types(schema: &Schema) -> String {
    let types: Vec<String> = schema.fields().iter().map(|f| f.data_type().to_string()).collect();
    format!("({})", types.join(","))
}

fn nameless(at: usize) -> Physical {
    Arc::new(Column::new("", at))
}

impl Work {
    pub(super) fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text, bases: vec![], exprs: vec![] }
    }

    /// True if an operator of another circuit that does `other` puts out the same rows, where `is_same` tells which bases of the two
    /// are the same. An expression that gives another value each time is like no other.
    pub(crate) fn is_as(&self, other: &Work, is_same: impl Fn(&Base, &Base) -> bool) -> bool {
        (self.kind, &self.text, self.bases.len()) == (other.kind, &other.text, other.bases.len())
            && self.bases.iter().zip(&other.bases).all(|(own, base)| is_same(own, base))
            && self.exprs == other.exprs
            && !self.exprs.iter().flatten().any(is_volatile)
    }

    /// What makes a difference beside expressions.
    pub(super) fn tell(&mut self, texts: &[String]) {
        texts.iter().for_each(|t| self.text.push_str(t));
    }

    /// Expressions over an input of the operator, with the input.
    fn add<'e>(&mut self, view: &View, exprs: impl IntoIterator<Item = Option<&'e Physical>>) -> Result<()> {
        self.bases.push(view.base.clone());
        self.exprs.extend(view.filters.iter().cloned().map(Some));
        self.exprs.push(None);
        for expr in exprs {
            self.exprs.push(expr.map(|e| over(e, &view.columns)).transpose()?);
        }
        self.exprs.push(None);
        Ok(())
    }
}

/// The expressions of a call, and the rest of it as text.
pub(super) fn of_call(call: &AggregateCall) -> (String, Vec<Option<&Physical>>) {
    let options: Vec<_> = call.order.iter().map(|(_, o)| *o).collect();
    let text = format!(
        "{}|{}|{}|{:?}|{options:?}|{}|{}|{};",
        call.function,
        call.distinct,
        call.ignores_null,
        call.parameter,
        call.output,
        call.arguments.len(),
        call.is_partial
    );
    let exprs = call.arguments.iter().map(Some).chain(call.order.iter().map(|(e, _)| Some(e)));
    (text, exprs.chain([call.filter.as_ref()]).collect())
}

impl Lowering<'_> {
    fn view_of(&self, node: usize) -> View {
        if let Some(view) = self.shared.views.get(&node) {
            return view.clone();
        }
        if let NodeKind::Input(number) = self.nodes[node].kind {
            let input = &self.inputs[number];
            let columns = input.columns.iter().map(|part| nameless(part.at)).collect();
            let base = Base::Relation(input.table.clone());
            return View { base, filters: vec![], columns };
        }
        let columns = (0..self.nodes[node].schema.fields().len()).map(nameless).collect();
        View { base: Base::Node(node), filters: vec![], columns }
    }

    /// A node that does the same. `exprs` are over the columns of `input`.
    pub(super) fn same<'e>(
        &self,
        work: &mut Work,
        input: usize,
        exprs: impl IntoIterator<Item = Option<&'e Physical>>,
    ) -> Result<Option<usize>> {
        work.add(&self.view_of(input), exprs)?;
        Ok(self.find(work))
    }

    fn find(&self, work: &Work) -> Option<usize> {
        self.shared.work.iter().find(|(w, _)| w == work).map(|(_, node)| *node)
    }

    /// A node that does the same with the same rows, all columns of these inputs in their order. `exprs` are over them.
    pub(super) fn same_rows<'e>(
        &self,
        work: &mut Work,
        inputs: &[usize],
        exprs: impl IntoIterator<Item = Option<&'e Physical>>,
    ) -> Result<Option<usize>> {
        for input in inputs {
            let own: Vec<Physical> = (0..self.nodes[*input].schema.fields().len()).map(nameless).collect();
            work.add(&self.view_of(*input), own.iter().map(Some))?;
            work.text.push_str(&types(&self.nodes[*input].schema));
        }
        for expr in exprs {
            work.exprs.push(expr.map(without_names).transpose()?);
        }
        Ok(self.find(work))
    }

    /// What was looked for and not found is what this node does.
    pub(super) fn does(&mut self, node: usize, work: Work) {
        self.shared.work.push((work, node));
    }

    /// Projections and filters over a node, the topmost first, as a view of what is under it. None if an expression may fail: that
    /// a row is left out here must not show elsewhere.
    fn mapped(&self, chain: &[&LogicalPlan], stages: &[Stage], input: usize) -> Result<Option<View>> {
        let is_safe = chain.iter().all(|step| match step {
            LogicalPlan::Filter(f) => !can_fail_in(&f.predicate, f.input.schema()),
            LogicalPlan::Projection(p) => p.expr.iter().all(|e| !can_fail_in(e, p.input.schema())),
            _ => true,
        });
        if !is_safe {
            return Ok(None);
        }
        let mut view = self.view_of(input);
        for stage in stages {
            if let Some(filter) = &stage.filter {
                view.filters.push(over(filter, &view.columns)?);
            }
            if let Some(project) = &stage.project {
                view.columns = project.iter().map(|e| over(e, &view.columns)).collect::<Result<_>>()?;
            }
        }
        Ok(Some(view))
    }

    /// A node that maps the same, or what is to be noted about the new one.
    pub(super) fn same_map(
        &self,
        chain: &[&LogicalPlan],
        stages: &[Stage],
        input: usize,
    ) -> Result<std::result::Result<usize, MapWork>> {
        let schema = stages.last().map_or(&self.nodes[input].schema, |s| &s.schema);
        let mut work = Work::new("map", types(schema));
        let view = self.mapped(chain, stages, input)?;
        match &view {
            Some(view) => {
                let own: Vec<Physical> = (0..view.columns.len()).map(nameless).collect();
                work.add(view, own.iter().map(Some))?;
            }
            None => {
                let exprs: Vec<Option<&Physical>> = stages
                    .iter()
                    .flat_map(|s| [s.filter.as_ref(), None].into_iter().chain(s.project.iter().flatten().map(Some)))
                    .collect();
                work.kind = "map that may fail";
                work.bases.push(Base::Node(input));
                for expr in exprs {
                    work.exprs.push(expr.map(without_names).transpose()?);
                }
            }
        }
        Ok(match self.find(&work) {
            Some(node) => Ok(node),
            None => Err(MapWork { work, view }),
        })
    }

    /// Notes what a new map does.
    pub(super) fn maps(&mut self, node: usize, map: MapWork) {
        self.does(node, map.work);
        if let Some(view) = map.view {
            self.shared.views.insert(node, view);
        }
    }
}

/// What a map does.
pub(super) struct MapWork {
    work: Work,
    view: Option<View>,
}
