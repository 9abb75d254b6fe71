use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Window};
use fleuve_types::{Error, Result, SESSION_FUNCTIONS};

use super::{Lowering, close, loose};
use crate::operators::physical;
use crate::operators::session::{Session, SessionSpec};

/// True for what `SESSION` is planned as.
pub(super) fn is_session(window: &Window) -> bool {
    window.window_expr.iter().all(|e| call(e).is_some())
}

fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::WindowFunction(call) if SESSION_FUNCTIONS.contains(&call.fun.name()) => Some(call),
        _ => None,
    }
}

/// By column of the input: true if it is read by what stands over the sessions, the topmost first.
pub(super) fn read_of(chain: &[&LogicalPlan], window: &Window) -> Vec<bool> {
    let width = window.input.schema().fields().len();
    let mut read = vec![false; width];
    for step in chain.iter().rev() {
        for column in step.expressions().iter().flat_map(Expr::column_refs) {
            if let Some(read) = window.schema.maybe_index_of_column(column).and_then(|i| read.get_mut(i)) {
                *read = true;
            }
        }
        if matches!(step, LogicalPlan::Projection(_)) {
            return read;
        }
    }
    vec![true; width]
}

impl Lowering<'_> {
    /// `read` is as [`read_of`] gives it.
    pub(super) fn session(&mut self, window: &Window, read: &[bool]) -> Result<usize> {
        let calls: Vec<&WindowFunction> = window.window_expr.iter().filter_map(call).collect();
        let Some(one) = calls.first() else { return Err(Error::bug("a window without a function")) };
        let same =
            |c: &&WindowFunction| c.params.args == one.params.args && c.params.partition_by == one.params.partition_by;
        let [time, Expr::Literal(ScalarValue::Int64(Some(gap)), _)] = one.params.args.as_slice() else {
            return Err(Error::unsupported("sessions without a constant gap have no incremental operator"));
        };
        if !calls.iter().all(same) {
            return Err(Error::unsupported("sessions of several kinds at once have no incremental operator"));
        }
        let input = self.plan(&window.input)?;
        let schema = window.input.schema();
        let bug = |e: datafusion::error::DataFusionError| Error::bug(e.to_string());
        let type_of = |e: &std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>| {
            e.data_type(schema.as_arrow()).map_err(bug)
        };
        let by = &one.params.partition_by;
        let keys = by.iter().map(|k| physical(k, schema)).collect::<Result<Vec<_>>>()?;
        let key_types = keys.iter().map(type_of).collect::<Result<Vec<_>>>()?;
        let physical_time = physical(time, schema)?;
        let time_type = type_of(&physical_time)?;
        let DataType::Timestamp(unit, _) = &time_type else {
            return Err(Error::bug(format!("the time of a session is {time_type}")));
        };
        let schema_width = self.nodes[input].schema.fields().len();
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        let fields = schema.fields().iter().zip(read).filter(|(_, read)| **read);
        let columns: Vec<&str> = fields.map(|(f, _)| f.name().as_str()).collect();
        let (names, columns) = (names.join(", "), columns.join(", "));
        let key = self.nodes[input].key.clone().filter(|key| key.iter().all(|k| read[*k]));
        let spec = SessionSpec {
            label: format!("Session: by [{names}], {time}, gap {gap} {unit:?}s, of [{columns}]"),
            keys,
            key_types,
            time: physical_time,
            time_type,
            gap: *gap,
            read: read.to_vec(),
            append_only: self.nodes[input].append_only,
            bounds: calls.iter().map(|c| c.fun.name() == SESSION_FUNCTIONS[1]).collect(),
            input_schema: self.nodes[input].schema.clone(),
            schema: loose(&window.schema),
        };
        let schema = spec.schema.clone();
        let ends: Vec<usize> = spec.bounds.iter().enumerate().filter(|(_, is_end)| **is_end).map(|(i, _)| i).collect();
        let mut operator = Session::new(spec, self.shards)?;
        // A row that is not below the watermark changes no session that ends before it. Nothing of the kind holds for the
        // start of a session, or for the times of its rows.
        let time = self.time_keys(input, std::slice::from_ref(time), window.input.schema())?;
        let first = ends.first().map(|i| schema_width + i);
        let others: Vec<(usize, usize)> =
            first.iter().flat_map(|f| ends.iter().skip(1).map(|i| (*f, schema_width + i))).collect();
        let times = time.moved(|_| first).with_equals(&others);
        if !times.is_empty() {
            operator.close_by_end();
        }
        let node = self.node(Box::new(operator), vec![input], schema, false, key);
        self.shrinks(node, || "a session's bounds change when rows arrive".into());
        self.closes_by(node, times);
        self.loses(node, input, window.input.schema(), || {
            ("of a SESSION window_end alone follows the event time".into(), close::SESSION)
        });
        Ok(node)
    }
}
