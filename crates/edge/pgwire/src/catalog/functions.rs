//! PostgreSQL's information functions.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use fleuve_sql::Backend;

use super::relations::Relations;
use super::{DATABASE, OWNER};
use crate::settings::{SERVER_VERSION, Settings};
use crate::sql::SetValue;

type Run = Arc<dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync>;

/// A function given by a closure; any number and type of arguments, as PostgreSQL has many forms of each.
struct Function {
    name: String,
    signature: Signature,
    returns: DataType,
    run: Run,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.run, &other.run)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let out = (self.run)(&arrays, rows)?;
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?))
        } else {
            Ok(ColumnarValue::Array(out))
        }
    }
}

fn function(
    name: &str,
    returns: DataType,
    run: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
    ScalarUDF::from(Function {
        name: name.to_string(),
        signature: Signature::new(any, Volatility::Stable),
        returns,
        run: Arc::new(run),
    })
}

/// A function that gives the same for every row.
fn constant(name: &str, value: ScalarValue) -> ScalarUDF {
    function(name, value.data_type(), move |_, rows| value.to_array_of_size(rows))
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn argument(args: &[ArrayRef], i: usize, to: &DataType) -> Result<ArrayRef> {
    let array =
        args.get(i).ok_or_else(|| DataFusionError::Plan("a function was called with too few arguments".to_string()))?;
    Ok(cast(array, to)?)
}

fn ints(args: &[ArrayRef], i: usize) -> Result<Int32Array> {
    Ok(argument(args, i, &DataType::Int32)?.as_primitive::<Int32Type>().clone())
}

fn texts(args: &[ArrayRef], i: usize) -> Result<StringArray> {
    Ok(argument(args, i, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// A function from an object id to a text, over the platform's relations.
fn of_relation(
    backend: &Arc<dyn Backend>,
    name: &str,
    get: impl Fn(&Relations, i32, &[ArrayRef], usize) -> Option<String> + Send + Sync + 'static,
) -> ScalarUDF {
    let backend = Arc::clone(backend);
    function(name, DataType::Utf8, move |args, _| {
        let relations = Relations::new(backend.as_ref());
        let oids = ints(args, 0)?;
        let values =
            (0..oids.len()).map(|i| if oids.is_null(i) { None } else { get(&relations, oids.value(i), args, i) });
        Ok(Arc::new(values.collect::<StringArray>()))
    })
}

pub(crate) fn all(backend: &Arc<dyn Backend>, settings: &Arc<Settings>, user: &str, pid: u32) -> Vec<ScalarUDF> {
    let mut all = session(settings, user, pid);
    all.extend(objects(backend));
    all.extend(fixed());
    all
}

/// Functions that stand in for DataFusion's own in catalog queries only: the constant tables hold as text what PostgreSQL
/// holds as arrays.
pub(super) fn lenient() -> ScalarUDF {
    function("array_to_string", DataType::Utf8, |args, rows| {
        let separators = texts(args, 1)?;
        let lists = args.first().and_then(|a| a.as_list_opt::<i32>());
        let Some(lists) = lists else { return argument(args, 0, &DataType::Utf8) };
        let joined = (0..rows).map(|row| {
            if lists.is_null(row) || separators.is_null(row) {
                return Ok(None);
            }
            let items = cast(&lists.value(row), &DataType::Utf8)?;
            let items: Vec<&str> = items.as_string::<i32>().iter().flatten().collect();
            Ok(Some(items.join(separators.value(row))))
        });
        Ok(Arc::new(joined.collect::<Result<StringArray>>()?))
    })
}

/// Functions about the session.
fn session(settings: &Arc<Settings>, user: &str, pid: u32) -> Vec<ScalarUDF> {
    let version =
        format!("PostgreSQL {SERVER_VERSION} (Fleuve {}) on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let schemas: ArrayRef = Arc::new(StringArray::from(vec!["pg_catalog", "public"]));
    let visible: ArrayRef = Arc::new(StringArray::from(vec!["public"]));
    let (read, write) = (Arc::clone(settings), Arc::clone(settings));
    vec![
        constant("version", text(version)),
        constant("current_database", text(DATABASE)),
        constant("current_catalog", text(DATABASE)),
        constant("current_schema", text("public")),
        constant("current_user", text(user)),
        constant("session_user", text(user)),
        constant("user", text(user)),
        constant("pg_backend_pid", ScalarValue::Int32(Some(pid as i32))),
        function("current_schemas", DataType::new_list(DataType::Utf8, true), move |args, rows| {
            let implicit = args.first().map(|a| a.as_boolean_opt().is_some_and(|b| b.value(0))).unwrap_or(false);
            let one = if implicit { &schemas } else { &visible };
            let lists: Vec<&dyn Array> = std::iter::repeat_n(one.as_ref(), rows).collect();
            let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(one.len(), rows));
            Ok(Arc::new(ListArray::new(field, offsets, arrow::compute::concat(&lists)?, None)))
        }),
        function("current_setting", DataType::Utf8, move |args, _| {
            let names = texts(args, 0)?;
            let missing_ok =
                args.get(1).is_some_and(|a| a.as_boolean_opt().is_some_and(|b| !b.is_empty() && b.value(0)));
            let values = names.iter().map(|name| match name.map(|n| (n, read.get(n))) {
                None => Ok(None),
                Some((_, Some(value))) => Ok(Some(value)),
                Some((_, None)) if missing_ok => Ok(None),
                Some((name, None)) => {
                    Err(DataFusionError::Plan(format!("unrecognized configuration parameter \"{name}\" not found")))
                }
            });
            Ok(Arc::new(values.collect::<Result<StringArray>>()?))
        }),
        function("set_config", DataType::Utf8, move |args, _| {
            let (names, values) = (texts(args, 0)?, texts(args, 1)?);
            for (name, value) in names.iter().zip(values.iter()) {
                if let (Some(name), Some(value)) = (name, value) {
                    write
                        .set(name, &SetValue::To(value.to_string()), false)
                        .map_err(|e| DataFusionError::Plan(e.message))?;
                }
            }
            Ok(Arc::new(values))
        }),
    ]
}

/// Functions about the platform's objects.
fn objects(backend: &Arc<dyn Backend>) -> Vec<ScalarUDF> {
    let to_regclass = Arc::clone(backend);
    let visible = Arc::clone(backend);
    vec![
        of_relation(backend, "pg_get_viewdef", |relations, oid, _, _| relations.by_oid(oid)?.definition.clone()),
        of_relation(backend, "obj_description", |relations, oid, _, _| relations.by_oid(oid)?.comment.clone()),
        of_relation(backend, "col_description", |relations, oid, args, row| {
            let relation = relations.by_oid(oid)?;
            let number = ints(args, 1).ok()?.value(row);
            let column = relation.schema.as_ref()?.fields().get(usize::try_from(number - 1).ok()?)?.name().clone();
            relation.column_comments.iter().find(|(c, _)| *c == column).map(|(_, comment)| comment.clone())
        }),
        function("to_regclass", DataType::Int32, move |args, _| {
            let relations = Relations::new(to_regclass.as_ref());
            let names = texts(args, 0)?;
            let oids = names.iter().map(|n| n.and_then(|n| relations.by_name(n)).map(|r| r.oid));
            Ok(Arc::new(oids.collect::<Int32Array>()))
        }),
        function("pg_table_is_visible", DataType::Boolean, move |args, _| {
            let relations = Relations::new(visible.as_ref());
            let oids = ints(args, 0)?;
            let seen = oids.iter().map(|oid| {
                let relation = oid.and_then(|o| relations.by_oid(o));
                oid.map(|_| relation.is_some_and(|r| r.namespace == "public" || r.namespace == "pg_catalog"))
            });
            Ok(Arc::new(seen.collect::<BooleanArray>()))
        }),
        function("to_regtype", DataType::Int32, |args, _| {
            let names = texts(args, 0)?;
            Ok(Arc::new(names.iter().map(|n| n.and_then(type_named)).collect::<Int32Array>()))
        }),
    ]
}

/// Functions whose answer is the same for everyone.
fn fixed() -> Vec<ScalarUDF> {
    let mut all = vec![
        function("pg_get_userbyid", DataType::Utf8, |args, _| {
            let oids = ints(args, 0)?;
            Ok(Arc::new(oids.iter().map(|o| o.map(|_| OWNER)).collect::<StringArray>()))
        }),
        function("pg_size_pretty", DataType::Utf8, |args, _| {
            let sizes = argument(args, 0, &DataType::Int64)?;
            let sizes = sizes.as_primitive::<arrow::datatypes::Int64Type>();
            Ok(Arc::new(sizes.iter().map(|s| s.map(|s| format!("{s} bytes"))).collect::<StringArray>()))
        }),
        function("json_build_object", DataType::Utf8, json_build_object),
        constant("txid_current", ScalarValue::Int64(Some(1))),
        constant("pg_my_temp_schema", ScalarValue::Int32(Some(0))),
        constant("pg_char_to_encoding", ScalarValue::Int32(Some(6))),
        constant("inet_server_addr", ScalarValue::Utf8(None)),
        constant("inet_client_addr", ScalarValue::Utf8(None)),
        constant("pg_advisory_unlock_all", text("")),
        constant("pg_encoding_to_char", text("UTF8")),
        constant("getdatabaseencoding", text("UTF8")),
    ];
    for name in [
        "pg_get_serial_sequence",
        "pg_get_indexdef",
        "pg_get_constraintdef",
        "pg_get_triggerdef",
        "pg_get_ruledef",
        "pg_get_partkeydef",
        "pg_get_functiondef",
        "pg_get_function_sqlbody",
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_function_result",
        "pg_get_statisticsobjdef_columns",
        "shobj_description",
        "pg_tablespace_location",
    ] {
        all.push(constant(name, ScalarValue::Utf8(None)));
    }
    for name in
        ["pg_is_in_recovery", "pg_is_other_temp_schema", "pg_relation_is_publishable", "pg_index_column_has_property"]
    {
        all.push(constant(name, ScalarValue::Boolean(Some(false))));
    }
    for name in [
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "has_column_privilege",
        "has_function_privilege",
        "has_sequence_privilege",
        "has_type_privilege",
        "has_tablespace_privilege",
        "pg_has_role",
    ] {
        all.push(constant(name, ScalarValue::Boolean(Some(true))));
    }
    for name in ["pg_table_size", "pg_relation_size", "pg_total_relation_size", "pg_indexes_size", "pg_database_size"] {
        all.push(constant(name, ScalarValue::Int64(Some(0))));
    }
    all
}

/// `json_build_object(name, value, ...)`
fn json_build_object(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let mut columns = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        let bare = i % 2 == 1 && (arg.data_type().is_numeric() || *arg.data_type() == DataType::Boolean);
        columns.push((texts(args, i)?, bare));
    }
    let objects = (0..rows).map(|row| {
        let mut out = String::from("{");
        for (i, (values, bare)) in columns.iter().enumerate() {
            out.push_str(match i {
                0 => "",
                i if i % 2 == 1 => " : ",
                _ => ", ",
            });
            match (values.is_null(row), bare) {
                (true, _) => out.push_str("null"),
                (false, true) => out.push_str(values.value(row)),
                (false, false) => json_text(&mut out, values.value(row)),
            }
        }
        out.push('}');
        Some(out)
    });
    Ok(Arc::new(objects.collect::<StringArray>()))
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Type ids by the names that clients look up; extension types (`hstore`, `geometry`) are not there, and that is the answer.
fn type_named(name: &str) -> Option<i32> {
    use crate::types::oid;
    let name = name.trim().trim_start_matches("pg_catalog.").trim_matches('"').to_lowercase();
    Some(match name.as_str() {
        "bool" | "boolean" => oid::BOOL,
        "bytea" => oid::BYTEA,
        "int2" | "smallint" => oid::INT2,
        "int4" | "int" | "integer" => oid::INT4,
        "int8" | "bigint" => oid::INT8,
        "text" => oid::TEXT,
        "varchar" | "character varying" => oid::VARCHAR,
        "bpchar" | "character" => oid::BPCHAR,
        "name" => oid::NAME,
        "oid" => oid::OID,
        "json" => oid::JSON,
        "jsonb" => oid::JSONB,
        "float4" | "real" => oid::FLOAT4,
        "float8" | "double precision" => oid::FLOAT8,
        "numeric" | "decimal" => oid::NUMERIC,
        "date" => oid::DATE,
        "time" | "time without time zone" => oid::TIME,
        "timestamp" | "timestamp without time zone" => oid::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => oid::TIMESTAMPTZ,
        "interval" => oid::INTERVAL,
        "uuid" => oid::UUID,
        _ => return None,
    } as i32)
}
