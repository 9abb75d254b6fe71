//! Binding `CREATE STREAM`, its checks and its dead-letter stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::sqlparser::ast::{Ident, SelectItem, SetExpr};
use fleuve_catalog::ObjectKind;
use fleuve_formats::FormatSpec;
use fleuve_types::{Error, ErrorKind, Result};

use super::types::arrow_type;
use super::view::{at_once, to_plan};
use crate::context::{ObjectCatalog, binding_state, single};
use crate::errors::{Where, at_statement};
use crate::options::{OptionOf, check};
use crate::parse::{self, ColumnSpec, CreateStream, Name, OptionEntry, OptionValue, option, select_all_from};
use crate::rewrite::{Of, Relations, rewrite};
use crate::{StreamSpec, Watermark};

/// What the name of a stream's dead-letter stream ends with.
pub const DEAD_SUFFIX: &str = "__dead";

/// Binds `CREATE STREAM`, by the rules of an edition.
pub(crate) fn bind_stream(create: &CreateStream, edition: u32) -> Result<StreamSpec> {
    let format = option(&create.options, "format").map(|o| o.value.text().to_lowercase());
    let format = format.unwrap_or_else(|| "json".into());
    let checked = check(OptionOf::Stream, Some(&format), &create.options)?;
    let declared = create.columns.as_deref().map(declared_schema).transpose()?;
    let spec = FormatSpec::new(&format, &checked.specific, declared).map_err(|e| {
        // The place of the column or option that the message names.
        let column = create.columns.iter().flatten().find(|c| e.message.contains(&format!("'{}'", c.name)));
        let entry = create.options.iter().find(|o| e.message.contains(&o.key));
        let at = column.map(|c| &c.at).or(entry.map(|o| &o.at)).unwrap_or(&create.name.at);
        e.clone().at(at.clone())
    })?;
    let schema = spec.schema().clone();
    let mut watermark = watermark(create, &schema, &format)?;
    for (key, meaning) in
        [("idle_timeout", "how long a partition holds the watermark back"), ("late", "rows behind the watermark")]
    {
        let Some(entry) = checked.entry(key) else { continue };
        let Some(watermark) = &mut watermark else {
            return Err(Error::input(format!("option \"{key}\" is about {meaning}, and the stream has no watermark"))
                .at(entry.at.clone())
                .hint("declare WATERMARK FOR ts AS ts - INTERVAL '5 seconds' among the columns"));
        };
        match checked.duration_us(key).filter(|_| key == "idle_timeout") {
            Some(us) => watermark.idle_timeout_us = us,
            None => watermark.late_to_dead_letters = entry.value.text() == "dead_letter",
        }
    }
    let mut checks = Vec::with_capacity(create.checks.len());
    for (expr, at) in &create.checks {
        let text = parse::canonical(expr);
        bind_check(&schema, &text, edition).map_err(|e| Error { location: None, ..e }.at(at.clone()))?;
        checks.push(text);
    }
    let retention_ms = checked.duration_us("retention").map(|us| (us / 1000).max(1));
    Ok(StreamSpec {
        schema,
        watermark,
        format,
        format_options: checked.specific.clone(),
        partitions: checked.integer("partitions").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        retention_ms,
        retention_bytes: checked.size_bytes("retention_bytes"),
        checks,
        edition,
    })
}

fn declared_schema(columns: &[ColumnSpec]) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let data_type = arrow_type(&column.data_type).map_err(|e| e.at(column.at.clone()))?;
        fields.push(Field::new(&column.name, data_type, column.nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn watermark(create: &CreateStream, schema: &Schema, format: &str) -> Result<Option<Watermark>> {
    let Some(clause) = &create.watermark else {
        // An access log that says nothing has its time as event time.
        let is_log = format == "combined_log" && create.columns.is_none() && schema.column_with_name("ts").is_some();
        return Ok(is_log.then(|| Watermark::new("ts", 0)));
    };
    let names = schema.fields().iter().map(|f| f.name().as_str());
    let Some((_, field)) = schema.column_with_name(&clause.column) else {
        let error =
            Error::not_found(format!("the watermark's column \"{}\" is not a column of the stream", clause.column))
                .at(clause.at.clone());
        return Err(match crate::suggest::nearest(&clause.column, names) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error,
        });
    };
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        return Err(Error::input(format!(
            "the watermark's column \"{}\" is {}, not TIMESTAMP",
            clause.column,
            fleuve_types::sql_type_name(field.data_type())
        ))
        .at(clause.at.clone()));
    }
    Ok(Some(Watermark::new(&clause.column, clause.delay_us)))
}

/// The checks of a stream as expressions over its own columns; a row passes a check that is true or NULL.
///
/// # Errors
/// A check that is not a deterministic condition on the stream's columns.
pub fn check_expressions(spec: &StreamSpec) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    spec.checks.iter().map(|text| bind_check(&spec.schema, text, spec.edition)).collect()
}

/// Refuses a check that fails whatever a row holds. For new streams only: one that has such a check stays, with dead letters.
///
/// # Errors
/// The first such check.
pub(crate) fn refuse_hopeless_checks(create: &CreateStream, spec: &StreamSpec) -> Result<()> {
    let none = RecordBatch::new_empty(spec.schema.clone());
    for (check, (_, at)) in check_expressions(spec)?.iter().zip(&create.checks) {
        check.evaluate(&none).map_err(|e| {
            Error::input(format!("the CHECK cannot be computed for any row: {}", e.strip_backtrace())).at(at.clone())
        })?;
    }
    Ok(())
}

/// The rows that a check of [`check_expressions`] refuses, in order, and why it could not be computed for one if that is the reason.
///
/// # Errors
/// When it is no condition.
pub fn refused_rows(check: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<Vec<(usize, Option<String>)>> {
    let mut refused = vec![];
    // Whole pieces, and where one fails its halves, down to the row that does.
    let mut pieces = vec![(0, batch.num_rows())];
    while let Some((from, len)) = pieces.pop() {
        match check.evaluate(&batch.slice(from, len)).and_then(|v| v.into_array(len)) {
            Ok(value) => {
                let value = value.as_boolean_opt().ok_or_else(|| Error::input("a CHECK is a condition"))?;
                refused.extend((0..len).filter(|i| value.is_valid(*i) && !value.value(*i)).map(|i| (from + i, None)));
            }
            Err(e) if len == 1 => refused.push((from, Some(e.strip_backtrace()))),
            Err(_) => pieces.extend([(from + len / 2, len - len / 2), (from, len / 2)]),
        }
    }
    Ok(refused)
}

struct NoRelations;

impl Relations for NoRelations {
    fn find(&self, namespace: &str, name: &str) -> Option<bool> {
        (namespace == "check" && name == "row").then_some(false)
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![]
    }

    fn refusal(&self, _: &Name) -> Option<Error> {
        Some(Error::unsupported("a CHECK sees only the columns of its own row"))
    }
}

fn bind_check(schema: &SchemaRef, text: &str, edition: u32) -> Result<Arc<dyn PhysicalExpr>> {
    let at = fleuve_types::Location { file: None, line: 1, column: 1 };
    let place = Where { text, at: &at };
    let fail = |e: datafusion::error::DataFusionError| at_statement(&e, place);
    let parsed = crate::parse::parse_one(&format!("SELECT {text}"))?;
    let crate::parse::Statement::Query(mut query) = parsed.statement else {
        return Err(Error::input("a CHECK is one condition"));
    };
    let from = select_all_from(datafusion::sql::sqlparser::ast::ObjectName::from(vec![
        Ident::new("check"),
        Ident::new("row"),
    ]));
    match (query.body.as_mut(), *from.body) {
        (SetExpr::Select(select), SetExpr::Select(from)) if select.from.is_empty() && select.projection.len() == 1 => {
            if !matches!(select.projection[0], SelectItem::UnnamedExpr(_)) {
                return Err(Error::input("a CHECK is one condition"));
            }
            select.from = from.from;
        }
        _ => return Err(Error::input("a CHECK is one condition")),
    }
    rewrite(&mut query, &NoRelations, edition, Of::Answer)?;
    let mut state = binding_state(edition);
    state.register_catalog_list(single(Arc::new(ObjectCatalog::of_table("check", "row", schema.clone()))));
    let plan = at_once(to_plan(&state, *query)).map_err(fail)?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).map_err(fail)?;
    let LogicalPlan::Projection(projection) = &plan else {
        return Err(Error::unsupported("a CHECK has no aggregates or window functions"));
    };
    if !matches!(projection.input.as_ref(), LogicalPlan::TableScan(_)) {
        return Err(Error::unsupported("a CHECK has no aggregates, subqueries or window functions"));
    }
    let [condition] = projection.expr.as_slice() else { return Err(Error::input("a CHECK is one condition")) };
    refuse_in_check(condition)?;
    if *plan.schema().field(0).data_type() != DataType::Boolean {
        return Err(Error::input(format!(
            "a CHECK is a condition, and {text} is {}",
            fleuve_types::sql_type_name(plan.schema().field(0).data_type())
        )));
    }
    let unqualified = DFSchema::try_from(schema.as_ref().clone()).map_err(fail)?;
    let condition = condition.clone().unalias();
    let condition = datafusion::common::tree_node::TreeNode::transform(condition, |e| match e {
        Expr::Column(c) => Ok(datafusion::common::tree_node::Transformed::yes(super::view::exact(&c.name))),
        other => Ok(datafusion::common::tree_node::Transformed::no(other)),
    })
    .map_err(fail)?
    .data;
    let condition = fleuve_batch::reading_texts(condition, &unqualified).map_err(fail)?;
    create_physical_expr(&condition, &unqualified, state.execution_props()).map_err(fail)
}

fn refuse_in_check(condition: &Expr) -> Result<()> {
    let mut bad = None;
    let walk = condition.apply(|e| {
        match e {
            Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable => {
                bad = Some(format!("{}() gives another value each time, so a CHECK cannot use it", f.func.name()));
            }
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
                bad = Some("a CHECK has no subqueries".into());
            }
            Expr::Placeholder(_) => bad = Some("a CHECK has no parameters".into()),
            _ => {}
        }
        Ok(if bad.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walk.map_err(|e| Error::bug(e.to_string()))?;
    match bad {
        Some(message) => Err(Error::new(ErrorKind::Unsupported, message)),
        None => Ok(()),
    }
}

/// The statement of a stream's dead-letter stream.
pub(crate) fn dead_letters(of: &Name, kind: ObjectKind) -> CreateStream {
    use datafusion::sql::sqlparser::ast::{DataType as Sql, TimezoneInfo};
    let column =
        |name: &str, data_type: Sql| ColumnSpec { name: name.into(), data_type, nullable: true, at: of.at.clone() };
    let columns = match kind {
        // The row that an operator of the view was given, as JSON.
        ObjectKind::View => vec![
            column("reason", Sql::Text),
            column("operator", Sql::Text),
            column("row", Sql::Text),
            column("epoch", Sql::BigInt(None)),
        ],
        _ => vec![
            column("reason", Sql::Text),
            column("partition", Sql::Int(None)),
            column("offset", Sql::BigInt(None)),
            column("timestamp", Sql::Timestamp(None, TimezoneInfo::None)),
            column("key", Sql::Bytea),
            column("value", Sql::Bytea),
        ],
    };
    CreateStream {
        if_not_exists: false,
        name: Name { namespace: of.namespace.clone(), name: format!("{}{DEAD_SUFFIX}", of.name), at: of.at.clone() },
        columns: Some(columns),
        watermark: None,
        checks: vec![],
        options: vec![OptionEntry { key: "format".into(), value: OptionValue::Text("json".into()), at: of.at.clone() }],
    }
}

/// The columns of a schema as a statement declares them.
pub(crate) fn columns_as_sql(schema: &Schema) -> Result<Vec<ColumnSpec>> {
    schema
        .fields()
        .iter()
        .map(|f| {
            let name = fleuve_types::sql_type_name(f.data_type());
            let text = match f.data_type() {
                DataType::Timestamp(unit, zone) => timestamp_name(*unit, zone.is_some()),
                _ => name,
            };
            let data_type = crate::parse::parse_type(&text).map_err(|_| {
                Error::unsupported(format!("column \"{}\" is {text}, which a stream cannot hold", f.name()))
            })?;
            let fits = arrow_type(&data_type).is_ok_and(|t| t == *f.data_type());
            if !fits {
                return Err(Error::unsupported(format!(
                    "column \"{}\" is {text}, which a stream cannot hold",
                    f.name()
                ))
                .hint("CAST it to another type in the view"));
            }
            let at = fleuve_types::Location::default();
            Ok(ColumnSpec { name: f.name().clone(), data_type, nullable: f.is_nullable(), at })
        })
        .collect()
}

fn timestamp_name(unit: arrow::datatypes::TimeUnit, zoned: bool) -> String {
    use arrow::datatypes::TimeUnit;
    let digits = match unit {
        TimeUnit::Second => "(0)",
        TimeUnit::Millisecond => "(3)",
        TimeUnit::Microsecond => "",
        TimeUnit::Nanosecond => "(9)",
    };
    format!("TIMESTAMP{digits}{}", if zoned { " WITH TIME ZONE" } else { "" })
}

/// The options of a format, as they go into a statement.
pub(crate) fn format_options(format: &str, more: &BTreeMap<String, String>) -> Vec<OptionEntry> {
    let at = fleuve_types::Location::default();
    let entry = |key: &str, value: &str| OptionEntry {
        key: key.into(),
        value: OptionValue::Text(value.into()),
        at: at.clone(),
    };
    std::iter::once(entry("format", format)).chain(more.iter().map(|(k, v)| entry(k, v))).collect()
}
