//! Can data that was written with one schema be read with another? (Avro specification, "Schema Resolution".)

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use super::{Field, Kind, Named, Node, NodeId, Schema};

/// Most pairs of types that one check looks at.
const MAX_PAIRS: usize = 200_000;
/// Deepest chain of types within types that one check follows.
const MAX_DEPTH: usize = 256;
/// Most reasons that one check gives.
const MAX_MISMATCHES: usize = 100;

/// In which way two types don't fit; the words are those of Confluent's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchKind {
    /// Types of different names.
    NameMismatch,
    /// `fixed` of different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader does not know, and the reader has no default.
    MissingEnumSymbols,
    /// The reader has a field that the writer has not, without a default.
    ReaderFieldMissingDefaultValue,
    /// The types differ and are not promoted.
    TypeMismatch,
    /// A branch of the writer's union that the reader does not have.
    MissingUnionBranch,
    /// Decimals whose unscaled numbers mean another value, or may not fit.
    DecimalMismatch,
    /// The schemas are too large to compare.
    TooLarge,
}

impl MismatchKind {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::DecimalMismatch => "DECIMAL_MISMATCH",
            Self::TooLarge => "TOO_LARGE",
        }
    }
}

/// One reason why data can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The way in which types don't fit.
    pub kind: MismatchKind,
    /// Where: a path of field names, list places and `items`/`values`, `/` for the schema itself.
    pub path: String,
    /// What, in words; `reader` and `writer` are the two schemas.
    pub detail: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.kind.as_str(), self.path, self.detail)
    }
}

/// The reasons why `reader` can't read what `writer` wrote; empty when it can. Beyond the specification's letter: a decimal may grow in
/// precision (the value stays), but not change its scale; and names of records, enums and fixed compare without their
/// namespace or through the reader's aliases, as Java's library does.
pub fn check_readable(reader: &Schema, writer: &Schema) -> Vec<Mismatch> {
    let mut check =
        Check { reader, writer, done: HashMap::new(), assumed: Vec::new(), depth: 0, pairs: 0, gave_up: false };
    let mut out = Vec::new();
    check.pair(reader.root, writer.root, &mut Vec::new(), &mut out);
    if check.gave_up {
        out.push(Mismatch {
            kind: MismatchKind::TooLarge,
            path: "/".into(),
            detail: format!("more than {MAX_PAIRS} pairs of types, or {MAX_DEPTH} types within types, to compare"),
        });
    }
    out
}

struct Check<'a> {
    reader: &'a Schema,
    writer: &'a Schema,
    /// Pairs that were or are being compared, with the answer; one under way is taken to fit (a type that contains itself).
    done: HashMap<(NodeId, NodeId), bool>,
    /// Pairs that stand as fitting, in the order in which their comparison began.
    assumed: Vec<(NodeId, NodeId)>,
    depth: usize,
    pairs: usize,
    gave_up: bool,
}

impl<'a> Check<'a> {
    /// Adds reasons to `out`. A pair seen before adds none again; the answer says whether it fits.
    fn pair(&mut self, reader: NodeId, writer: NodeId, path: &mut Vec<String>, out: &mut Vec<Mismatch>) -> bool {
        if let Some(fits) = self.done.get(&(reader, writer)) {
            return *fits;
        }
        self.pairs += 1;
        if self.pairs > MAX_PAIRS || self.depth >= MAX_DEPTH {
            self.gave_up = true;
            return false;
        }
        let since = self.assumed.len();
        self.done.insert((reader, writer), true);
        self.assumed.push((reader, writer));
        self.depth += 1;
        let fits = self.types(reader, writer, path, out);
        self.depth -= 1;
        if !fits {
            // What was found to fit meanwhile may have leaned on this pair: forget it. A "no" stays a "no".
            for pair in self.assumed.drain(since..) {
                self.done.remove(&pair);
            }
            self.done.insert((reader, writer), false);
        }
        fits
    }

    fn types(&mut self, r: NodeId, w: NodeId, path: &mut Vec<String>, out: &mut Vec<Mismatch>) -> bool {
        let (reader, writer): (&'a Node, &'a Node) = (self.reader.node(r), self.writer.node(w));
        match (&reader.kind, &writer.kind) {
            (_, Kind::Union(branches)) => self.writer_union(r, branches, path, out),
            (Kind::Union(branches), _) => self.reader_union(branches, w, path, out),
            (Kind::Array(r), Kind::Array(w)) => self.within("items", *r, *w, path, out),
            (Kind::Map(r), Kind::Map(w)) => self.within("values", *r, *w, path, out),
            (Kind::Record(r, to), Kind::Record(w, from)) => {
                let named = names(r, w, path, out);
                self.fields(to, from, path, out) && named
            }
            (Kind::Enum(r, to, default), Kind::Enum(w, from, _)) => {
                let named = names(r, w, path, out);
                symbols(r, to, default.is_some(), from, path, out) && named
            }
            (Kind::Fixed(r, to), Kind::Fixed(w, from)) => {
                let named = names(r, w, path, out);
                if to != from {
                    let detail = format!("the writer's \"{}\" has {from} bytes, the reader's {to}", w.full);
                    push(out, MismatchKind::FixedSizeMismatch, path, detail);
                }
                decimals(reader, writer, path, out) && named && to == from
            }
            (r, w) if std::mem::discriminant(r) == std::mem::discriminant(w) => decimals(reader, writer, path, out),
            (Kind::Long, Kind::Int)
            | (Kind::Float, Kind::Int | Kind::Long)
            | (Kind::Double, Kind::Int | Kind::Long | Kind::Float)
            | (Kind::String, Kind::Bytes)
            | (Kind::Bytes, Kind::String) => true,
            (r, w) => {
                let detail = format!("the reader's type {} can't take the writer's {}", shown(r), shown(w));
                push(out, MismatchKind::TypeMismatch, path, detail);
                false
            }
        }
    }

    fn within(
        &mut self,
        step: &str,
        reader: NodeId,
        writer: NodeId,
        path: &mut Vec<String>,
        out: &mut Vec<Mismatch>,
    ) -> bool {
        path.push(step.into());
        let fits = self.pair(reader, writer, path, out);
        path.pop();
        fits
    }

    /// Each branch that was written must be readable.
    fn writer_union(
        &mut self,
        r: NodeId,
        branches: &[NodeId],
        path: &mut Vec<String>,
        out: &mut Vec<Mismatch>,
    ) -> bool {
        let mut fits = true;
        for (at, branch) in branches.iter().enumerate() {
            if self.gave_up {
                return false;
            }
            let mut why = Vec::new();
            if !self.within(&at.to_string(), r, *branch, path, &mut why) {
                fits = false;
                if why.is_empty() || matches!(self.reader.node(r).kind, Kind::Union(_)) {
                    let branch = shown(&self.writer.node(*branch).kind);
                    let detail = format!("the reader can't take the writer's branch {branch}");
                    why = vec![mismatch(MismatchKind::MissingUnionBranch, path, detail)];
                }
                append(out, why);
            }
        }
        fits
    }

    /// One branch that can read what was written is enough.
    fn reader_union(
        &mut self,
        branches: &[NodeId],
        w: NodeId,
        path: &mut Vec<String>,
        out: &mut Vec<Mismatch>,
    ) -> bool {
        for (at, branch) in branches.iter().enumerate() {
            if self.gave_up {
                return false;
            }
            if self.within(&at.to_string(), *branch, w, path, &mut Vec::new()) {
                return true;
            }
        }
        let detail = format!("the reader's union has no branch for the writer's {}", shown(&self.writer.node(w).kind));
        push(out, MismatchKind::MissingUnionBranch, path, detail);
        false
    }

    fn fields(&mut self, to: &'a [Field], from: &'a [Field], path: &mut Vec<String>, out: &mut Vec<Mismatch>) -> bool {
        let by_name: HashMap<&str, &Field> = from.iter().map(|f| (f.name.as_str(), f)).collect();
        let mut fits = true;
        for field in to {
            let names = std::iter::once(&field.name).chain(&field.aliases);
            match names.into_iter().find_map(|name| by_name.get(name.as_str())) {
                Some(written) => fits &= self.within(&field.name, field.schema, written.schema, path, out),
                None if field.default.is_some() => {}
                None => {
                    fits = false;
                    let detail =
                        format!("the reader's field \"{}\" has no default and the writer lacks it", field.name);
                    path.push(field.name.clone());
                    push(out, MismatchKind::ReaderFieldMissingDefaultValue, path, detail);
                    path.pop();
                }
            }
        }
        fits
    }
}

fn names(reader: &Named, writer: &Named, path: &[String], out: &mut Vec<Mismatch>) -> bool {
    if reader.short() == writer.short() || reader.aliases.contains(&writer.full) {
        return true;
    }
    let detail = format!("the reader expects \"{}\", the writer wrote \"{}\"", reader.full, writer.full);
    push(out, MismatchKind::NameMismatch, path, detail);
    false
}

fn symbols(r: &Named, to: &[String], default: bool, from: &[String], path: &[String], out: &mut Vec<Mismatch>) -> bool {
    let missing: Vec<&str> = from.iter().filter(|s| !to.contains(s)).map(String::as_str).collect();
    if default || missing.is_empty() {
        return true;
    }
    let detail = format!("the reader's enum \"{}\" has no default and lacks {}", r.full, missing.join(", "));
    push(out, MismatchKind::MissingEnumSymbols, path, detail);
    false
}

fn decimals(reader: &Node, writer: &Node, path: &[String], out: &mut Vec<Mismatch>) -> bool {
    let (Some((to, to_scale)), Some((from, from_scale))) = (decimal(reader), decimal(writer)) else { return true };
    if to_scale == from_scale && to >= from {
        return true;
    }
    let detail = format!("the writer's decimal({from},{from_scale}) would be misread as decimal({to},{to_scale})");
    push(out, MismatchKind::DecimalMismatch, path, detail);
    false
}

/// Precision and scale.
fn decimal(node: &Node) -> Option<(u64, u64)> {
    (node.props.get("logicalType")? == "decimal").then_some(())?;
    let precision = node.props.get("precision")?.as_u64()?;
    Some((precision, node.props.get("scale").and_then(Value::as_u64).unwrap_or(0)))
}

fn shown(kind: &Kind) -> String {
    match kind.named() {
        Some(named) => format!("{} \"{}\"", kind.type_name(), named.full),
        None => kind.type_name().into(),
    }
}

fn mismatch(kind: MismatchKind, path: &[String], detail: String) -> Mismatch {
    Mismatch { kind, path: format!("/{}", path.join("/")), detail }
}

fn push(out: &mut Vec<Mismatch>, kind: MismatchKind, path: &[String], detail: String) {
    if out.len() < MAX_MISMATCHES {
        out.push(mismatch(kind, path, detail));
    }
}

fn append(out: &mut Vec<Mismatch>, more: Vec<Mismatch>) {
    let room = MAX_MISMATCHES.saturating_sub(out.len());
    out.extend(more.into_iter().take(room));
}

#[cfg(test)]
mod tests;
