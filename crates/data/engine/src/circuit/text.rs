//! A circuit as text: for EXPLAIN, and its shape, which tells whether saved state fits.

use arrow::datatypes::DataType;

use super::{Circuit, CircuitInput, Node, NodeKind};
use crate::event_time::{TimeColumn, shown};
use crate::profile::OperatorStatus;

impl Circuit {
    /// A stable text of the circuit's shape: state of one circuit fits another exactly if this is the same.
    pub fn shape(&self) -> String {
        let mut out = String::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let what = match &node.kind {
                // By the names of its columns: where they stand in the relation may change.
                NodeKind::Input(i) => {
                    let CircuitInput { table, columns, lookup } = &self.inputs[*i];
                    let names = node.schema.fields().iter().map(|f| f.name());
                    let parts: Vec<_> = names.zip(columns.iter().map(|c| &c.fields)).collect();
                    let lookup = lookup.as_ref().map_or(String::new(), |lookup| {
                        let place = |key: &usize| columns.iter().position(|c| c.at == *key);
                        let key: Vec<_> = lookup.key.iter().map(place).collect();
                        format!(" looked up by {key:?} {}", lookup.is_taken_in)
                    });
                    format!("{table:?} {parts:?}{lookup}")
                }
                NodeKind::Operator(o) => o.describe(),
            };
            let inner = match &node.kind {
                NodeKind::Operator(o) => o.inner().map_or(String::new(), |c| format!("[{}]", c.shape())),
                NodeKind::Input(_) => String::new(),
            };
            let closes: Vec<usize> = node.close_by.iter().map(|t| node.times[*t].column).collect();
            let types: Vec<String> = node.schema.fields().iter().map(|f| f.data_type().to_string()).collect();
            let types = types.join(",");
            out.push_str(&format!("{n}:{what}{inner}:{:?}:{types}:{}:{closes:?}\n", node.inputs, node.append_only));
        }
        out
    }

    /// The circuit as a tree of text lines. With `numbers`, what each operator has done and holds.
    pub fn explain(&self, numbers: bool) -> Vec<String> {
        let mut out = Vec::new();
        let figures = if numbers { self.profile.operators() } else { vec![] };
        self.explain_node(self.root, 0, &figures, &|_| String::new(), &mut out);
        out
    }

    /// With what `note` has to say of each node.
    pub(crate) fn explain_node(
        &self,
        n: usize,
        depth: usize,
        figures: &[OperatorStatus],
        note: &dyn Fn(usize) -> String,
        out: &mut Vec<String>,
    ) {
        let node = &self.nodes[n];
        let mut line = node.describe(&self.inputs);
        if node.append_only {
            line.push_str(" (append-only)");
        } else if let Some(why) = &node.shrinks {
            line.push_str(&format!(" (not append-only: {why})"));
        }
        if !node.times.is_empty() {
            let time = |t: &TimeColumn| {
                let field = node.schema.field(t.column);
                match t.watermark.filter(|_| !figures.is_empty()) {
                    Some(w) => format!("{} at {}", field.name(), shown(w, field.data_type())),
                    None => field.name().clone(),
                }
            };
            let times: Vec<String> = node.times.iter().map(time).collect();
            line.push_str(&format!(" | watermark on {}", times.join(", ")));
        }
        if let NodeKind::Operator(o) = &node.kind
            && let Some(closing) = o.closing()
        {
            line.push_str(&format!("; {closing}"));
        }
        if self.on_close && node.inputs.is_empty() && !node.times.is_empty() {
            line.push_str("; late rows are left out");
        }
        if let Some(own) = figures.get(n) {
            line.push_str(&format!(" | {}", own.done()));
            if let NodeKind::Operator(o) = &node.kind {
                line.push_str(&own.share_of(figures));
                line.push_str(&format!(", state {} rows, {} bytes", o.state_rows(), o.state_bytes()));
                if let Some(pages) = o.pages().filter(|p| p.is_active()) {
                    line.push_str(&format!(", {} bytes on disk", pages.disk_bytes()));
                }
            } else if !own.busy.is_zero() {
                line.push_str(&own.share_of(figures));
            }
        }
        line.push_str(&note(n));
        out.push(format!("{}{line}", "  ".repeat(depth)));
        if let NodeKind::Operator(o) = &node.kind
            && let Some(inner) = o.inner()
        {
            out.push(format!("{}each round:", "  ".repeat(depth + 1)));
            let lines = inner.explain(!figures.is_empty());
            out.extend(lines.into_iter().map(|l| format!("{}{l}", "  ".repeat(depth + 2))));
        }
        for i in &node.inputs {
            self.explain_node(*i, depth + 1, figures, note, out);
        }
    }
}

impl Node {
    /// One line for EXPLAIN.
    pub(super) fn describe(&self, inputs: &[CircuitInput]) -> String {
        match &self.kind {
            NodeKind::Input(i) => {
                let CircuitInput { table, columns, .. } = &inputs[*i];
                let columns: Vec<String> = self
                    .schema
                    .fields()
                    .iter()
                    .zip(columns)
                    .map(|(f, part)| match (f.data_type(), &part.fields) {
                        (DataType::Struct(fields), Some(_)) => {
                            let fields: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                            format!("{}({})", f.name(), fields.join(", "))
                        }
                        _ => f.name().clone(),
                    })
                    .collect();
                format!("Input: {}.{} [{}]", table.0, table.1, columns.join(", "))
            }
            NodeKind::Operator(o) => o.describe(),
        }
    }
}
