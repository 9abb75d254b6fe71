//! JSON text to a checked [`Schema`].

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Field, Kind, Named, Node, NodeId, Schema};

/// Longest schema text, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// Largest `fixed`.
const LARGEST_FIXED_BYTES: u64 = i32::MAX as u64;

impl Schema {
    /// Reads a schema's text. `references` are the texts of schemas whose named types it may use, each after those that it
    /// uses itself.
    ///
    /// # Errors
    /// Says what breaks the specification, and where (`field "amount" of record "Order": ...`).
    pub fn parse(text: &str, references: &[&str]) -> Result<Schema, String> {
        let mut schema = Schema { nodes: Vec::new(), root: 0, names: Default::default() };
        for reference in references {
            schema.add(reference).map_err(|e| format!("in a referenced schema: {e}"))?;
        }
        for node in &mut schema.nodes {
            node.external = true;
        }
        schema.root = schema.add(text)?;
        Ok(schema)
    }

    fn add(&mut self, text: &str) -> Result<NodeId, String> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("the schema has {} bytes; the limit is {MAX_SCHEMA_BYTES}", text.len()));
        }
        let json = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let root = self.read(json, "")?;
        self.check_defaults()?;
        Ok(root)
    }

    fn push(&mut self, kind: Kind, props: Map<String, Value>) -> NodeId {
        self.nodes.push(Node { kind, props, external: false });
        self.nodes.len() - 1
    }

    /// `namespace` is the enclosing one.
    fn read(&mut self, json: Value, namespace: &str) -> Result<NodeId, String> {
        match json {
            Value::String(name) => self.by_name(&name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(attributes) => self.complex(attributes, namespace),
            other => Err(format!("{other} is not a schema: expected a name, an object or a list")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<NodeId, String> {
        if let Some(kind) = Kind::primitive(name) {
            return Ok(self.push(kind, Map::new()));
        }
        let full = full_name(name, None, namespace)?;
        // As Java does: a name that its own namespace does not have is looked for in the null namespace.
        let found = self.names.get(&full).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| format!("unknown type \"{full}\""))
    }

    fn union(&mut self, branches: Vec<Value>, namespace: &str) -> Result<NodeId, String> {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = BTreeSet::new();
        for branch in branches {
            let id = self.read(branch, namespace)?;
            let kind = &self.nodes[id].kind;
            if matches!(kind, Kind::Union(_)) {
                return Err("a union directly within a union".into());
            }
            let name = kind.named().map_or(kind.type_name(), |n| &n.full).to_string();
            if seen.contains(&name) {
                return Err(format!("a union with \"{name}\" twice"));
            }
            seen.insert(name);
            ids.push(id);
        }
        Ok(self.push(Kind::Union(ids), Map::new()))
    }

    fn complex(&mut self, mut from: Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let Some(Value::String(kind)) = from.remove("type") else {
            return Err("a schema object needs a \"type\" that is a string".into());
        };
        match kind.as_str() {
            "record" | "error" => self.record(from, namespace, kind == "error"),
            "enum" => self.enumeration(from, namespace),
            "fixed" => self.fixed(from, namespace),
            "array" | "map" => {
                let inner = if kind == "array" { "items" } else { "values" };
                let of = from.remove(inner).ok_or_else(|| format!("{kind} without \"{inner}\""))?;
                let of = self.read(of, namespace)?;
                Ok(self.push(if kind == "array" { Kind::Array(of) } else { Kind::Map(of) }, from))
            }
            name => match Kind::primitive(name) {
                Some(kind) => Ok(self.push(kind, from)),
                None => self.by_name(name, namespace),
            },
        }
    }

    fn record(&mut self, mut from: Map<String, Value>, namespace: &str, error: bool) -> Result<NodeId, String> {
        let named = take_named(&mut from, namespace, "record")?;
        let (full, inner) = (named.full.clone(), named.namespace().to_string());
        let Some(Value::Array(fields)) = from.remove("fields") else {
            return Err(format!("record \"{full}\" without a list of \"fields\""));
        };
        if error {
            // Kept, so that the text comes out as it went in; to schema resolution an error is a record.
            from.insert(ERROR_MARK.into(), Value::Bool(true));
        }
        let id = self.define(Kind::Record(named, Vec::new()), from)?;
        let mut read = Vec::with_capacity(fields.len());
        let mut seen = BTreeSet::new();
        for field in fields {
            let field = self.field(field, &inner).map_err(|e| format!("record \"{full}\": {e}"))?;
            if !seen.insert(field.name.clone()) {
                return Err(format!("record \"{full}\" has two fields \"{}\"", field.name));
            }
            read.push(field);
        }
        if let Kind::Record(_, fields) = &mut self.nodes[id].kind {
            *fields = read;
        }
        Ok(id)
    }

    fn field(&mut self, json: Value, namespace: &str) -> Result<Field, String> {
        let Value::Object(mut from) = json else { return Err(format!("{json} is not a field")) };
        let name = take_text(&mut from, "name")?.ok_or("a field without a \"name\"")?;
        check_part(&name)?;
        let inner = from.remove("type").ok_or_else(|| format!("field \"{name}\" without a \"type\""))?;
        let schema = self.read(inner, namespace).map_err(|e| format!("field \"{name}\": {e}"))?;
        let order = take_text(&mut from, "order")?;
        if let Some(order) = order.as_deref().filter(|o| !["ascending", "descending", "ignore"].contains(o)) {
            return Err(format!("field \"{name}\": \"{order}\" is no order"));
        }
        let aliases = take_texts(&mut from, "aliases")?;
        aliases.iter().try_for_each(|a| check_part(a))?;
        let (doc, default) = (take_text(&mut from, "doc")?, from.remove("default"));
        Ok(Field { name, aliases, doc, order, default, schema, props: from })
    }

    fn enumeration(&mut self, mut from: Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let named = take_named(&mut from, namespace, "enum")?;
        let full = named.full.clone();
        if !from.contains_key("symbols") {
            return Err(format!("enum \"{full}\" without \"symbols\""));
        }
        let symbols = take_texts(&mut from, "symbols")?;
        let mut seen = BTreeSet::new();
        for symbol in &symbols {
            check_part(symbol).map_err(|e| format!("enum \"{full}\": {e}"))?;
            if !seen.insert(symbol) {
                return Err(format!("enum \"{full}\" has the symbol \"{symbol}\" twice"));
            }
        }
        let default = take_text(&mut from, "default")?;
        if let Some(default) = default.as_ref().filter(|d| !symbols.contains(d)) {
            return Err(format!("enum \"{full}\": the default \"{default}\" is not one of its symbols"));
        }
        self.define(Kind::Enum(named, symbols, default), from)
    }

    fn fixed(&mut self, mut from: Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let named = take_named(&mut from, namespace, "fixed")?;
        let size = from.remove("size").and_then(|s| s.as_u64()).filter(|s| *s <= LARGEST_FIXED_BYTES);
        let size = size.ok_or_else(|| format!("fixed \"{}\" needs a \"size\" in bytes", named.full))?;
        self.define(Kind::Fixed(named, size), from)
    }

    fn define(&mut self, kind: Kind, props: Map<String, Value>) -> Result<NodeId, String> {
        let full = kind.named().expect("only named types are defined").full.clone();
        if Kind::primitive(&full).is_some() {
            return Err(format!("a type can't be called \"{full}\": that is a primitive type"));
        }
        if self.names.contains_key(&full) {
            return Err(format!("the type \"{full}\" is defined twice"));
        }
        let id = self.push(kind, props);
        self.names.insert(full, id);
        Ok(id)
    }

    fn check_defaults(&self) -> Result<(), String> {
        for node in self.nodes.iter().filter(|n| !n.external) {
            let Kind::Record(named, fields) = &node.kind else { continue };
            for field in fields {
                let Some(default) = &field.default else { continue };
                if !self.holds(field.schema, default) {
                    return Err(format!(
                        "record \"{}\": the default {default} of field \"{}\" does not fit its type {}",
                        named.full,
                        field.name,
                        self.node(field.schema).kind.type_name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// True when the JSON encoding `value` is a datum of the type. Bounded by the depth of `value`.
    fn holds(&self, id: NodeId, value: &Value) -> bool {
        let whole = || value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64));
        match &self.node(id).kind {
            Kind::Null => value.is_null(),
            Kind::Boolean => value.is_boolean(),
            Kind::Int => whole().is_some_and(|v| i32::try_from(v).is_ok()),
            Kind::Long => whole().is_some(),
            Kind::Float | Kind::Double => {
                value.is_number() || value.as_str().is_some_and(|s| ["NaN", "Infinity", "-Infinity"].contains(&s))
            }
            Kind::Bytes => latin1_length(value).is_some(),
            Kind::Fixed(_, size) => latin1_length(value) == Some(*size as usize),
            Kind::String => value.is_string(),
            Kind::Enum(_, symbols, _) => value.as_str().is_some_and(|v| symbols.iter().any(|s| s == v)),
            Kind::Array(of) => value.as_array().is_some_and(|vs| vs.iter().all(|v| self.holds(*of, v))),
            Kind::Map(of) => value.as_object().is_some_and(|vs| vs.values().all(|v| self.holds(*of, v))),
            Kind::Union(branches) => branches.iter().any(|b| self.holds(*b, value)),
            Kind::Record(_, fields) => value.as_object().is_some_and(|values| {
                fields.iter().all(|f| match values.get(&f.name) {
                    Some(value) => self.holds(f.schema, value),
                    None => f.default.is_some(),
                })
            }),
        }
    }
}

/// The attribute that marks an `error` among records; no JSON text has it, for a name can't hold a space.
pub(super) const ERROR_MARK: &str = "is error";

/// Bytes in a JSON default are the code points 0 to 255.
fn latin1_length(value: &Value) -> Option<usize> {
    let text = value.as_str()?;
    text.chars().all(|c| (c as u32) < 256).then(|| text.chars().count())
}

fn take_named(from: &mut Map<String, Value>, enclosing: &str, what: &str) -> Result<Named, String> {
    let name = take_text(from, "name")?.ok_or_else(|| format!("{what} without a \"name\""))?;
    let namespace = take_text(from, "namespace")?;
    let full = full_name(&name, namespace.as_deref(), enclosing)?;
    let mut named = Named { full, aliases: Vec::new(), doc: take_text(from, "doc")? };
    for alias in take_texts(from, "aliases")? {
        let alias = full_name(&alias, None, named.namespace())?;
        named.aliases.push(alias);
    }
    Ok(named)
}

fn take_text(from: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match from.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("\"{key}\" must be a string, not {other}")),
    }
}

fn take_texts(from: &mut Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("\"{key}\" must be a list of strings");
    match from.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.into_iter().map(|v| v.as_str().map(Into::into).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

fn full_name(name: &str, namespace: Option<&str>, enclosing: &str) -> Result<String, String> {
    let namespace = namespace.unwrap_or(enclosing);
    let full = if name.contains('.') || namespace.is_empty() { name.into() } else { format!("{namespace}.{name}") };
    // A leading dot says "the null namespace"; Java writes it so.
    let full = full.strip_prefix('.').map_or(full.clone(), Into::into);
    full.split('.').try_for_each(check_part)?;
    Ok(full)
}

fn check_part(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(format!("\"{name}\" is not a name: letters, digits and _ only, no digit first"))
}

#[cfg(test)]
mod tests;
