//! A [`Schema`] as text again: the normal form that is stored, the self-contained form for decoders, and the
//! specification's Parsing Canonical Form with its fingerprint.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::parse::ERROR_MARK;
use super::{Kind, NodeId, Schema};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Everything, attributes in a fixed order; types of references by name only.
    Normal,
    /// Everything, and the types of references written out where they are first used.
    Whole,
    /// What matters to reading data, and nothing else.
    Canonical,
}

impl Schema {
    /// The text with all its attributes in one spelling: two texts that differ only in white space, the order of attributes or
    /// the way to write names and primitive types have the same. Types of references stay references.
    pub fn normal(&self) -> String {
        self.render(Form::Normal)
    }

    /// As [`Schema::normal`], with the types of references put in, so that it can be read on its own.
    pub fn whole(&self) -> String {
        self.render(Form::Whole)
    }

    /// The Parsing Canonical Form (Avro specification, "Transforming into Parsing Canonical Form"), references put in.
    pub fn canonical(&self) -> String {
        self.render(Form::Canonical)
    }

    fn render(&self, form: Form) -> String {
        let mut writer = Writer { schema: self, form, out: String::new(), written: BTreeSet::new() };
        writer.node(self.root, "");
        writer.out
    }
}

struct Writer<'a> {
    schema: &'a Schema,
    form: Form,
    out: String,
    written: BTreeSet<NodeId>,
}

impl Writer<'_> {
    fn node(&mut self, id: NodeId, namespace: &str) {
        let node = self.schema.node(id);
        let kind = &node.kind;
        if let Some(named) = kind.named() {
            let by_reference = node.external && self.form == Form::Normal;
            if by_reference || !self.written.insert(id) {
                // The full name; where a type of the same name in this namespace hides it, a dot says "the null namespace".
                let hidden = named.namespace().is_empty()
                    && self.form != Form::Canonical
                    && self.schema.names.contains_key(&format!("{namespace}.{}", named.full));
                return self.text(&format!("{}{}", if hidden { "." } else { "" }, named.full));
            }
        }
        if let Kind::Union(branches) = kind {
            return self.list(branches, |writer, branch| writer.node(*branch, namespace));
        }
        let bare = self.form == Form::Canonical || node.props.is_empty();
        if Kind::primitive(kind.type_name()).is_some() && bare {
            return self.text(kind.type_name());
        }
        self.out.push('{');
        match kind {
            Kind::Record(named, _) | Kind::Enum(named, ..) | Kind::Fixed(named, _) if self.form == Form::Canonical => {
                self.attribute("name", &named.full);
            }
            _ => {}
        }
        let word = if node.props.contains_key(ERROR_MARK) && self.form != Form::Canonical {
            "error"
        } else {
            kind.type_name()
        };
        self.attribute("type", word);
        if let Some(named) = kind.named().filter(|_| self.form != Form::Canonical) {
            self.attribute("name", named.short());
            if !named.namespace().is_empty() || !namespace.is_empty() {
                self.attribute("namespace", named.namespace());
            }
            self.optional("doc", named.doc.as_deref());
            self.texts("aliases", &named.aliases, false);
        }
        self.inside(id, namespace);
        self.props(&node.props);
        self.out.push('}');
    }

    fn inside(&mut self, id: NodeId, namespace: &str) {
        let schema = self.schema;
        match &schema.node(id).kind {
            Kind::Record(named, fields) => {
                self.key("fields");
                let inner = named.namespace();
                self.list(fields, |writer, field| {
                    writer.out.push('{');
                    writer.attribute("name", &field.name);
                    writer.key("type");
                    writer.node(field.schema, inner);
                    if writer.form != Form::Canonical {
                        writer.optional("doc", field.doc.as_deref());
                        if let Some(default) = &field.default {
                            writer.key("default");
                            writer.json(default);
                        }
                        writer.optional("order", field.order.as_deref().filter(|o| *o != "ascending"));
                        writer.texts("aliases", &field.aliases, false);
                    }
                    writer.props(&field.props);
                    writer.out.push('}');
                });
            }
            Kind::Enum(_, symbols, default) => {
                self.texts("symbols", symbols, true);
                if self.form != Form::Canonical {
                    self.optional("default", default.as_deref());
                }
            }
            Kind::Fixed(_, size) => {
                self.key("size");
                self.out.push_str(&size.to_string());
            }
            Kind::Array(of) => {
                self.key("items");
                self.node(*of, namespace);
            }
            Kind::Map(of) => {
                self.key("values");
                self.node(*of, namespace);
            }
            _ => {}
        }
    }

    fn props(&mut self, props: &Map<String, Value>) {
        if self.form == Form::Canonical {
            return;
        }
        let mut keys: Vec<_> = props.iter().filter(|(key, _)| *key != ERROR_MARK).collect();
        keys.sort_by_key(|(key, _)| *key);
        for (key, value) in keys {
            self.key(key);
            self.json(value);
        }
    }

    /// Keys sorted, whatever order the JSON library keeps.
    fn json(&mut self, value: &Value) {
        match value {
            Value::Array(items) => self.list(items, |writer, item| writer.json(item)),
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by_key(|(key, _)| *key);
                self.out.push('{');
                for (key, value) in keys {
                    self.key(key);
                    self.json(value);
                }
                self.out.push('}');
            }
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.out.push('[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            write(self, item);
        }
        self.out.push(']');
    }

    fn texts(&mut self, key: &str, texts: &[String], even_empty: bool) {
        if even_empty || !texts.is_empty() {
            self.key(key);
            self.list(texts, |writer, text| writer.text(text));
        }
    }

    fn optional(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.attribute(key, text);
        }
    }

    fn attribute(&mut self, key: &str, text: &str) {
        self.key(key);
        self.text(text);
    }

    fn key(&mut self, key: &str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.text(key);
        self.out.push(':');
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&Value::from(text).to_string());
    }
}

/// The 64-bit Rabin fingerprint of a canonical form (Avro specification, "Schema Fingerprints").
pub fn fingerprint(canonical: &str) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u64;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    canonical.bytes().fold(EMPTY, |sum, byte| (sum >> 8) ^ TABLE[((sum ^ u64::from(byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests;
