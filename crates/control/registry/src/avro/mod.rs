//! Avro schemas as the specification (1.12) has them: reading and checking, canonical form, schema resolution.
//!
//! Pure; no state. A schema is an arena of nodes, so that a type which contains itself is an ordinary thing.

mod parse;
mod render;
mod resolve;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use parse::MAX_SCHEMA_BYTES;
pub use render::fingerprint;
pub use resolve::{Mismatch, MismatchKind, check_readable};

/// Where a node stands in its schema's arena.
pub(crate) type NodeId = usize;

/// A schema that was read and found valid.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    /// Named types by full name, those of references too.
    pub(crate) names: BTreeMap<String, NodeId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Attributes that the specification reserves no meaning for here, and `logicalType` with its own.
    pub(crate) props: Map<String, Value>,
    /// Defined by a referenced schema, not by this one.
    pub(crate) external: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Named, Vec<Field>),
    Enum(Named, Vec<String>, Option<String>),
    Fixed(Named, u64),
}

/// What record, enum and fixed have in common.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// Full name: `namespace.name`, or only the name in the null namespace.
    pub(crate) full: String,
    /// Full names.
    pub(crate) aliases: Vec<String>,
    pub(crate) doc: Option<String>,
}

impl Named {
    /// The name without its namespace.
    pub(crate) fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }

    /// The namespace; empty for the null namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) doc: Option<String>,
    pub(crate) order: Option<String>,
    pub(crate) default: Option<Value>,
    pub(crate) schema: NodeId,
    pub(crate) props: Map<String, Value>,
}

impl Kind {
    pub(crate) fn named(&self) -> Option<&Named> {
        match self {
            Kind::Record(named, _) | Kind::Enum(named, ..) | Kind::Fixed(named, _) => Some(named),
            _ => None,
        }
    }

    /// The specification's word for the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(..) => "record",
            Kind::Enum(..) => "enum",
            Kind::Fixed(..) => "fixed",
        }
    }

    pub(crate) fn primitive(name: &str) -> Option<Kind> {
        Some(match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::String,
            _ => return None,
        })
    }
}

impl Schema {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
}
