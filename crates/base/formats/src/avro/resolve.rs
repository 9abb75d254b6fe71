use super::read::{Fields, Leaf, Step};
use super::schema::{AvroType, Node};
use crate::column::{Column, Data, StructData};
use crate::json::Slot;
use crate::limits::MAX_SCHEMA_NODES;

/// Resolves a writer's types to columns. Steps are counted, because a schema can name a type many times.
pub(crate) struct Resolver<'n> {
    nodes: &'n [Node],
    steps_left: usize,
}

impl<'n> Resolver<'n> {
    pub(crate) fn new(nodes: &'n [Node]) -> Self {
        Self { nodes, steps_left: MAX_SCHEMA_NODES }
    }

    /// # Errors
    /// Why the schema cannot be used.
    pub(crate) fn record(&mut self, fields: &[(String, usize)], columns: &StructData) -> Result<Step, String> {
        let mut steps = Vec::with_capacity(fields.len());
        for (name, node) in fields {
            let slot = columns.keys.slot(name.as_bytes());
            steps.push(match slot {
                Slot::Column { child, .. } if columns.children[child].loose => {
                    let left = self.steps_left;
                    let step = self.step(*node, &columns.children[child]);
                    self.steps_left = left;
                    match (step, slot) {
                        (Ok(step), Slot::Column { child, exact }) => {
                            (Some((child, exact)), Step::Loose(Box::new(step), *node))
                        }
                        _ => (None, Step::Skip(*node)),
                    }
                }
                Slot::Column { child, exact } => (Some((child, exact)), self.step(*node, &columns.children[child])?),
                Slot::Skip => (None, Step::Skip(*node)),
            });
        }
        Ok(Step::Record(Fields::new(steps, columns)))
    }

    fn step(&mut self, node: usize, column: &Column) -> Result<Step, String> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or("it is too large when spread out")?;
        let nodes = self.nodes;
        Ok(match (&nodes[node].avro, &column.data) {
            (AvroType::Union(branches), _) => {
                let steps: Vec<Step> = branches.iter().map(|b| self.step(*b, column)).collect::<Result<_, _>>()?;
                let is_null = |at: usize| nodes[branches[at]].avro == AvroType::Null;
                match &steps[..] {
                    [_, Step::Leaf(leaf)] if is_null(0) => Step::OrNull(0, *leaf),
                    [Step::Leaf(leaf), _] if is_null(1) => Step::OrNull(1, *leaf),
                    _ => Step::Union(steps),
                }
            }
            (AvroType::Record(fields), Data::Struct(children)) => self.record(fields, children)?,
            (AvroType::Array(item), Data::List { child, .. }) => Step::Array(Box::new(self.step(*item, child)?)),
            (AvroType::Record(_) | AvroType::Array(_) | AvroType::Map(_), Data::Text(_)) => Step::Json(node),
            (AvroType::Int | AvroType::Long, Data::Int { .. }) => Step::Leaf(Leaf::Integer(node)),
            (AvroType::String, Data::Text(_) | Data::Bytes(_)) => Step::Leaf(Leaf::Text),
            _ => Step::Leaf(Leaf::Value(node)),
        })
    }
}
