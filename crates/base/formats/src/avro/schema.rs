use arrow::datatypes::TimeUnit;
use hashbrown::HashMap;
use serde_json::{Map, Value};

use crate::limits::{MAX_SCHEMA_NODES, MAX_TYPE_DEPTH};

/// A type of a writer's schema. Types refer to each other by position, so that a recursive schema is no endless tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AvroType {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
}

impl AvroType {
    /// The word for it, for a reason.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            AvroType::Null => "null",
            AvroType::Boolean => "boolean",
            AvroType::Int => "int",
            AvroType::Long => "long",
            AvroType::Float => "float",
            AvroType::Double => "double",
            AvroType::Bytes => "bytes",
            AvroType::String => "string",
            AvroType::Fixed(_) => "fixed",
            AvroType::Enum(_) => "enum",
            AvroType::Array(_) => "array",
            AvroType::Map(_) => "map",
            AvroType::Union(_) => "union",
            AvroType::Record(_) => "record",
        }
    }
}

/// What a type's values mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Logical {
    None,
    Date,
    Time(TimeUnit),
    Timestamp(TimeUnit),
    Decimal { scale: i64 },
    Uuid,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) avro: AvroType,
    pub(crate) logical: Logical,
}

/// A schema's types; the first is the schema itself.
///
/// # Errors
/// What is wrong with the schema's text.
pub(crate) fn parse_schema(text: &str) -> Result<Vec<Node>, String> {
    // A schema that is only a type's name is often stored without its quotes.
    let json = serde_json::from_str(text)
        .or_else(|e| if primitive(text.trim()).is_some() { Ok(Value::String(text.trim().into())) } else { Err(e) })
        .map_err(|e| format!("it is not JSON: {e}"))?;
    let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
    let root = parser.parse(&json, "", 0)?;
    if root != 0 {
        return Err("it refers to itself".into());
    }
    Ok(parser.nodes)
}

struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
}

/// Deeper than the columns can nest, because what they do not have may nest deeper.
const MAX_SCHEMA_DEPTH: usize = MAX_TYPE_DEPTH * 2;

fn primitive(name: &str) -> Option<AvroType> {
    Some(match name {
        "null" => AvroType::Null,
        "boolean" => AvroType::Boolean,
        "int" => AvroType::Int,
        "long" => AvroType::Long,
        "float" => AvroType::Float,
        "double" => AvroType::Double,
        "bytes" => AvroType::Bytes,
        "string" => AvroType::String,
        _ => return None,
    })
}

impl Parser {
    fn add(&mut self, avro: AvroType, logical: Logical) -> Result<usize, String> {
        if self.nodes.len() >= MAX_SCHEMA_NODES {
            return Err(format!("it has more than {MAX_SCHEMA_NODES} types"));
        }
        self.nodes.push(Node { avro, logical });
        Ok(self.nodes.len() - 1)
    }

    fn parse(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<usize, String> {
        if depth > MAX_SCHEMA_DEPTH {
            return Err(format!("it nests deeper than {MAX_SCHEMA_DEPTH}"));
        }
        match json {
            Value::String(name) => match primitive(name) {
                Some(avro) => self.add(avro, Logical::None),
                None => self.named(name, namespace),
            },
            Value::Array(branches) => {
                if branches.iter().any(Value::is_array) {
                    return Err("a union stands directly in a union".into());
                }
                let at = self.add(AvroType::Null, Logical::None)?;
                let branches: Result<Vec<usize>, String> =
                    branches.iter().map(|branch| self.parse(branch, namespace, depth + 1)).collect();
                self.nodes[at].avro = AvroType::Union(branches?);
                Ok(at)
            }
            Value::Object(object) => self.object(object, namespace, depth),
            other => Err(format!("{other} is no type")),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<usize, String> {
        let full = full_name(name, namespace);
        match self.names.get(&full).or_else(|| self.names.get(name)) {
            Some(at) => Ok(*at),
            None => Err(format!("there is no type '{name}'")),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Result<usize, String> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            // {"type": {...}} is the inner type.
            Some(inner) => return self.parse(inner, namespace, depth + 1),
            None => return Err("a type has no \"type\"".into()),
        };
        match kind {
            "record" | "error" => self.record(object, namespace, depth),
            "enum" => {
                let symbols = object.get("symbols").and_then(Value::as_array).ok_or("an enum has no symbols")?;
                let symbols: Option<Vec<String>> = symbols.iter().map(|s| s.as_str().map(str::to_string)).collect();
                let avro = AvroType::Enum(symbols.ok_or("an enum's symbol is no string")?);
                let at = self.add(avro, Logical::None)?;
                self.name_it(object, namespace, at)?;
                Ok(at)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let at = self.add(AvroType::Fixed(size.ok_or("a fixed type has no size")?), logical(object)?)?;
                self.name_it(object, namespace, at)?;
                Ok(at)
            }
            "array" | "map" => {
                let (key, make): (_, fn(usize) -> AvroType) =
                    if kind == "array" { ("items", AvroType::Array) } else { ("values", AvroType::Map) };
                let at = self.add(AvroType::Null, Logical::None)?;
                let inner = object.get(key).ok_or_else(|| format!("a type '{kind}' has no {key}"))?;
                let inner = self.parse(inner, namespace, depth + 1)?;
                self.nodes[at].avro = make(inner);
                Ok(at)
            }
            name => match primitive(name) {
                Some(avro) => self.add(avro, logical(object)?),
                None => self.named(name, namespace),
            },
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Result<usize, String> {
        let at = self.add(AvroType::Record(Vec::new()), Logical::None)?;
        let own_namespace = self.name_it(object, namespace, at)?;
        let fields = object.get("fields").and_then(Value::as_array).ok_or("a record has no fields")?;
        let mut parsed = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
            let inner = field.get("type").ok_or_else(|| format!("field '{name}' has no type"))?;
            parsed.push((name.to_string(), self.parse(inner, &own_namespace, depth + 1)?));
        }
        self.nodes[at].avro = AvroType::Record(parsed);
        Ok(at)
    }

    /// Remembers a named type; gives the namespace of what stands inside it.
    fn name_it(&mut self, object: &Map<String, Value>, namespace: &str, at: usize) -> Result<String, String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type has no name")?;
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, own);
        let inside = full.rsplit_once('.').map_or("", |(space, _)| space).to_string();
        self.names.insert(full, at);
        Ok(inside)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_string() } else { format!("{namespace}.{name}") }
}

/// An unknown logical type is ignored, as the specification asks.
fn logical(object: &Map<String, Value>) -> Result<Logical, String> {
    let Some(Value::String(name)) = object.get("logicalType") else { return Ok(Logical::None) };
    Ok(match name.as_str() {
        "date" => Logical::Date,
        "time-millis" => Logical::Time(TimeUnit::Millisecond),
        "time-micros" => Logical::Time(TimeUnit::Microsecond),
        "timestamp-millis" | "local-timestamp-millis" => Logical::Timestamp(TimeUnit::Millisecond),
        "timestamp-micros" | "local-timestamp-micros" => Logical::Timestamp(TimeUnit::Microsecond),
        "timestamp-nanos" | "local-timestamp-nanos" => Logical::Timestamp(TimeUnit::Nanosecond),
        "decimal" => {
            let scale = object.get("scale").map_or(Some(0), Value::as_i64).ok_or("a decimal's scale is no number")?;
            if !(0..=1000).contains(&scale) {
                return Err(format!("a decimal has scale {scale}"));
            }
            Logical::Decimal { scale }
        }
        "uuid" => Logical::Uuid,
        _ => Logical::None,
    })
}
