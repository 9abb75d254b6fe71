use arrow::datatypes::{Field, TimeUnit, i256};
use base64::Engine as _;

use super::datum::Datum;
use super::resolve::Resolver;
use super::schema::{AvroType, Logical, Node, parse_schema};
use crate::column::{Bad, Column, Data, StructData, Taken};
use crate::json::{Budget, push_decimal};
use crate::limits::MAX_DEPTH;
use crate::text_value::{BASE64, far, push_count, push_text};
use crate::time::{between_units, known_day, per_second};

/// How a value of the writer's gets to a column.
#[derive(Debug)]
pub(crate) enum Step {
    /// No column: walk over the type at that position.
    Skip(usize),
    /// One value.
    Leaf(Leaf),
    /// A union of a value and null, which is this branch.
    OrNull(i64, Leaf),
    /// By branch.
    Union(Vec<Step>),
    /// Field by field.
    Record(Fields),
    /// Each item.
    Array(Box<Step>),
    /// As JSON text.
    Json(usize),
    /// As the step says, or NULL where the value, of the type at that position, does not fit.
    Loose(Box<Step>, usize),
}

/// How a value without values below it gets to a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf {
    /// An integer of the type at that position, for an integer column.
    Integer(usize),
    /// A string, for a column of text or bytes.
    Text,
    /// Anything, of the type at that position.
    Value(usize),
}

/// For a field of the writer's, the child that it is and whether by its exact name; and how it gets there.
type FieldStep = (Option<(usize, bool)>, Step);

/// The fields of a record in the writer's order.
#[derive(Debug)]
pub(crate) struct Fields {
    steps: Vec<FieldStep>,
    /// The children that none of them is, which are NULL. `None` when two are the same child, so that which one counts is seen as
    /// they come.
    missing: Option<Vec<usize>>,
}

impl Fields {
    pub(crate) fn new(steps: Vec<FieldStep>, columns: &StructData) -> Self {
        let mut times = vec![0; columns.children.len()];
        steps.iter().filter_map(|(target, _)| *target).for_each(|(child, _)| times[child] += 1);
        let once = times.iter().all(|times| *times <= 1);
        let missing = || times.iter().enumerate().filter(|(_, times)| **times == 0).map(|(child, _)| child).collect();
        Self { missing: once.then(missing), steps }
    }
}

/// A writer's schema, resolved to the columns.
#[derive(Debug)]
pub(crate) struct Plan {
    nodes: Vec<Node>,
    root: Step,
}

impl Plan {
    /// # Errors
    /// Why the schema cannot be used.
    pub(crate) fn new(schema: &str, columns: &StructData) -> Result<Plan, String> {
        let nodes = parse_schema(schema)?;
        let AvroType::Record(fields) = &nodes[0].avro else {
            return Err(format!("it is of type {}, not a record", nodes[0].avro.name()));
        };
        let root = Resolver::new(&nodes).record(fields, columns)?;
        Ok(Plan { nodes, root })
    }

    pub(crate) fn decode(
        &self,
        columns: &mut StructData,
        base: usize,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
    ) -> Taken {
        match &self.root {
            Step::Record(fields) => self.record(fields, columns, base, datum, budget, MAX_DEPTH),
            _ => Err(Bad::new("the writer's schema is no record")),
        }
    }

    fn record(
        &self,
        fields: &Fields,
        columns: &mut StructData,
        base: usize,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
        depth: usize,
    ) -> Taken {
        let Some(missing) = &fields.missing else {
            return self.record_with_twins(&fields.steps, columns, base, datum, budget, depth);
        };
        for (target, step) in &fields.steps {
            match target {
                Some((child, _)) => {
                    let column = &mut columns.children[*child];
                    if let Err(bad) = self.field(step, column, base, datum, budget, depth) {
                        return Err(bad.within(&column.name));
                    }
                }
                None => self.unread(step, datum, budget, depth)?,
            }
        }
        missing.iter().try_for_each(|child| columns.children[*child].push_missing())
    }

    /// A record with several fields for one child.
    fn record_with_twins(
        &self,
        steps: &[FieldStep],
        columns: &mut StructData,
        base: usize,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
        depth: usize,
    ) -> Taken {
        columns.begin();
        for (target, step) in steps {
            match target {
                Some((child, exact)) if columns.set(*child, *exact, base) => {
                    let column = &mut columns.children[*child];
                    if let Err(bad) = self.field(step, column, base, datum, budget, depth) {
                        return Err(bad.within(&column.name));
                    }
                }
                // A field that another one of the same name hides.
                Some((child, _)) => {
                    let field = Field::new("", columns.children[*child].data_type.clone(), true);
                    let mut hidden = Column::new(&field, false).map_err(|e| Bad::new(e.message))?;
                    self.run(step, &mut hidden, datum, budget, depth)?;
                }
                None => self.unread(step, datum, budget, depth)?,
            }
        }
        columns.end()
    }

    /// A field that no column is made of.
    fn unread(&self, step: &Step, datum: &mut Datum<'_>, budget: &mut Budget, depth: usize) -> Taken {
        match step {
            Step::Skip(node) => self.skip(*node, datum, budget, depth),
            _ => Err(Bad::new("a field without a column is not skipped")),
        }
    }

    /// A field into its column; `base` is the column's length before.
    #[inline(always)]
    fn field(
        &self,
        step: &Step,
        column: &mut Column,
        base: usize,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
        depth: usize,
    ) -> Taken {
        let leaf = match step {
            Step::Leaf(leaf) => leaf,
            Step::OrNull(null, leaf) => match datum.long()? {
                branch if branch == *null => return column.push_null(),
                branch if branch == 1 - *null => leaf,
                branch => return Err(no_branch(branch, 2)),
            },
            Step::Loose(step, node) => return self.loosely((step, *node), column, base, datum, budget, depth),
            step => return self.run(step, column, datum, budget, depth),
        };
        match leaf {
            Leaf::Integer(node) => {
                let value = datum.long()?;
                match &column.data {
                    Data::Int { min, max, .. } if (*min..=*max).contains(&value) => column.push_i64(value),
                    _ => return integer(&self.nodes[*node], column, value),
                }
            }
            Leaf::Text => {
                let text = datum.text()?;
                column.push_bytes(text);
            }
            Leaf::Value(node) => return self.value(&self.nodes[*node], column, datum, budget),
        }
        Ok(())
    }

    fn run(&self, step: &Step, column: &mut Column, datum: &mut Datum<'_>, budget: &mut Budget, depth: usize) -> Taken {
        let depth = depth.checked_sub(1).ok_or_else(|| Bad::new(format!("nests deeper than {MAX_DEPTH}")))?;
        match step {
            Step::Leaf(_) | Step::OrNull(..) => self.field(step, column, 0, datum, budget, depth),
            Step::Union(branches) => {
                let branch = datum.long()?;
                match usize::try_from(branch).ok().and_then(|b| branches.get(b)) {
                    Some(step) => self.run(step, column, datum, budget, depth),
                    None => Err(no_branch(branch, branches.len())),
                }
            }
            Step::Record(fields) => {
                let base = column.begin_struct();
                if let Data::Struct(children) = &mut column.data {
                    self.record(fields, children, base, datum, budget, depth)?;
                }
                column.end_struct();
                Ok(())
            }
            Step::Array(item) => {
                if let Data::List { child, .. } = &mut column.data {
                    loop {
                        let count = datum.block()?;
                        if count == 0 {
                            break;
                        }
                        for _ in 0..count {
                            budget.spend_cells(child.leaves)?;
                            self.run(item, child, datum, budget, depth).map_err(|bad| bad.within("[]"))?;
                        }
                    }
                }
                column.end_list();
                Ok(())
            }
            Step::Json(node) => {
                let mut text = std::mem::take(&mut budget.scratch);
                text.clear();
                let written = self.json(*node, datum, budget, depth, &mut text);
                if written.is_ok() {
                    column.push_bytes(&text);
                }
                budget.scratch = text;
                written
            }
            Step::Skip(node) | Step::Loose(_, node) => self.skip(*node, datum, budget, depth),
        }
    }

    /// A value by its step, or NULL where it does not fit. What follows finds everything as if there were no such column.
    fn loosely(
        &self,
        (step, node): (&Step, usize),
        column: &mut Column,
        base: usize,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
        depth: usize,
    ) -> Taken {
        let (start, left) = (*datum, budget.left());
        let fits = self.run(step, column, datum, budget, depth).is_ok();
        budget.restore(left);
        if fits {
            return Ok(());
        }
        column.truncate(base);
        column.push_null_unchecked();
        *datum = start;
        self.skip(node, datum, budget, depth)
    }

    fn value(&self, node: &Node, column: &mut Column, datum: &mut Datum<'_>, budget: &mut Budget) -> Taken {
        match (&node.avro, &column.data) {
            (AvroType::Null, _) => column.push_null(),
            (AvroType::Boolean, Data::Bool(_)) => {
                let value = datum.boolean()?;
                column.push_bool(value);
                Ok(())
            }
            (AvroType::Int | AvroType::Long, _) => integer(node, column, datum.long()?),
            (AvroType::Float, Data::Float { .. }) => {
                column.push_f64(f32::from_le_bytes(datum.array()?).into());
                Ok(())
            }
            (AvroType::Double, Data::Float { single, .. }) => {
                let value = f64::from_le_bytes(datum.array()?);
                let kept = if *single { f64::from(value as f32) } else { value };
                if kept.is_infinite() && value.is_finite() {
                    return Err(Bad::expected(column, format!("the Avro double {value:e} (too large)")));
                }
                column.push_f64(kept);
                Ok(())
            }
            (AvroType::Bytes, _) => bytes(node, column, datum.sized()?),
            (AvroType::Fixed(size), _) => bytes(node, column, datum.take(*size)?),
            (
                AvroType::String,
                Data::Date(_) | Data::Time(..) | Data::Timestamp(..) | Data::Decimal { .. } | Data::Wide { .. },
            ) => push_text(column, datum.text()?),
            (AvroType::Enum(symbols), Data::Text(_)) => {
                let symbol = symbol(symbols, datum.long()?)?;
                budget.spend_text(symbol.len())?;
                column.push_bytes(symbol.as_bytes());
                Ok(())
            }
            (other, _) => Err(Bad::expected(column, format!("an Avro {}", other.name()))),
        }
    }

    /// Walks over a value.
    fn skip(&self, node: usize, datum: &mut Datum<'_>, budget: &mut Budget, depth: usize) -> Taken {
        let depth = depth.checked_sub(1).ok_or_else(|| Bad::new(format!("nests deeper than {MAX_DEPTH}")))?;
        match &self.nodes[node].avro {
            AvroType::Null => {}
            AvroType::Boolean => {
                datum.boolean()?;
            }
            AvroType::Int | AvroType::Long => {
                datum.long()?;
            }
            AvroType::Float => {
                datum.take(4)?;
            }
            AvroType::Double => {
                datum.take(8)?;
            }
            AvroType::Bytes | AvroType::String => {
                datum.sized()?;
            }
            AvroType::Fixed(size) => {
                datum.take(*size)?;
            }
            AvroType::Enum(symbols) => {
                symbol(symbols, datum.long()?)?;
            }
            AvroType::Union(branches) => return self.skip(branch(branches, datum)?, datum, budget, depth),
            AvroType::Record(fields) => {
                for (_, field) in fields {
                    // An empty record costs no byte, and may stand in a record many times.
                    budget.spend_cells(1)?;
                    self.skip(*field, datum, budget, depth)?;
                }
            }
            AvroType::Array(item) => loop {
                let count = datum.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    budget.spend_cells(1)?;
                    self.skip(*item, datum, budget, depth)?;
                }
            },
            AvroType::Map(value) => loop {
                let count = datum.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    datum.sized()?;
                    self.skip(*value, datum, budget, depth)?;
                }
            },
        }
        Ok(())
    }

    /// Writes a value as JSON.
    fn json(&self, node: usize, datum: &mut Datum<'_>, budget: &mut Budget, depth: usize, out: &mut Vec<u8>) -> Taken {
        let depth = depth.checked_sub(1).ok_or_else(|| Bad::new(format!("nests deeper than {MAX_DEPTH}")))?;
        let before = out.len();
        match &self.nodes[node].avro {
            AvroType::Null => out.extend_from_slice(b"null"),
            AvroType::Boolean => out.extend_from_slice(if datum.boolean()? { b"true" } else { b"false" }),
            AvroType::Int | AvroType::Long => json_value(out, &datum.long()?)?,
            AvroType::Float => json_value(out, &f32::from_le_bytes(datum.array()?))?,
            AvroType::Double => json_value(out, &f64::from_le_bytes(datum.array()?))?,
            AvroType::Bytes => json_value(out, &BASE64.encode(datum.sized()?))?,
            AvroType::Fixed(size) => json_value(out, &BASE64.encode(datum.take(*size)?))?,
            AvroType::String => {
                let text = datum.text()?;
                json_value(out, &String::from_utf8_lossy(text))?;
            }
            AvroType::Enum(symbols) => json_value(out, &symbol(symbols, datum.long()?)?)?,
            AvroType::Union(branches) => return self.json(branch(branches, datum)?, datum, budget, depth, out),
            AvroType::Record(fields) => {
                for (at, (name, field)) in fields.iter().enumerate() {
                    budget.spend_text(name.len() + 4)?;
                    out.push(if at == 0 { b'{' } else { b',' });
                    json_value(out, name)?;
                    out.push(b':');
                    self.json(*field, datum, budget, depth, out)?;
                }
                out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
                return Ok(());
            }
            AvroType::Array(item) => {
                out.push(b'[');
                self.json_items(*item, false, datum, budget, depth, out)?;
                out.push(b']');
                return Ok(());
            }
            AvroType::Map(value) => {
                out.push(b'{');
                self.json_items(*value, true, datum, budget, depth, out)?;
                out.push(b'}');
                return Ok(());
            }
        }
        budget.spend_text(out.len() - before)
    }

    /// Writes the items of an array or map, without what stands around them.
    fn json_items(
        &self,
        item: usize,
        keys: bool,
        datum: &mut Datum<'_>,
        budget: &mut Budget,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Taken {
        let start = out.len();
        loop {
            let count = datum.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                budget.spend_cells(1)?;
                if out.len() > start {
                    out.push(b',');
                }
                if keys {
                    let key = datum.text()?;
                    json_value(out, &String::from_utf8_lossy(key))?;
                    out.push(b':');
                }
                self.json(item, datum, budget, depth, out)?;
            }
        }
    }
}

fn json_value<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Taken {
    serde_json::to_writer(out, value).map_err(|e| Bad::new(e.to_string()))
}

fn symbol(symbols: &[String], at: i64) -> Taken<&str> {
    match usize::try_from(at).ok().and_then(|at| symbols.get(at)) {
        Some(symbol) => Ok(symbol),
        None => Err(Bad::new(format!("the datum has symbol {at} of an enum of {}", symbols.len()))),
    }
}

fn branch(branches: &[usize], datum: &mut Datum<'_>) -> Taken<usize> {
    let at = datum.long()?;
    match usize::try_from(at).ok().and_then(|at| branches.get(at)) {
        Some(node) => Ok(*node),
        None => Err(no_branch(at, branches.len())),
    }
}

#[cold]
fn no_branch(at: i64, branches: usize) -> Box<Bad> {
    Bad::new(format!("the datum takes branch {at} of a union of {branches}"))
}

/// An `int` or `long` into a column.
fn integer(node: &Node, column: &mut Column, value: i64) -> Taken {
    let prefix = if node.avro == AvroType::Int { "the Avro int " } else { "the Avro long " };
    let found = || format!("{prefix}{value}");
    let ticks = match (&column.data, node.logical) {
        (Data::Int { min, max, .. }, _) => (*min..=*max).contains(&value).then_some(value),
        (Data::UInt64(_), _) => match u64::try_from(value) {
            Ok(value) => {
                column.push_u64(value);
                return Ok(());
            }
            Err(_) => None,
        },
        (Data::Float { single, .. }, _) => {
            let value = if *single { f64::from(value as f32) } else { value as f64 };
            column.push_f64(value);
            return Ok(());
        }
        (Data::Decimal { .. } | Data::Wide { .. }, _) => return push_decimal(column, value.to_string().as_bytes()),
        (Data::Date(_), Logical::Date) => match known_day(value) {
            Some(day) => Some(day),
            None => return Err(far(column, found())),
        },
        (Data::Time(unit, _), Logical::Time(from)) => {
            let day = per_second(from) * 86_400;
            if (0..day).contains(&value) { between_units(value, from, *unit) } else { None }
        }
        (Data::Timestamp(..), Logical::Timestamp(from)) => return push_count(column, value, from, prefix),
        // As in JSON: a plain number is milliseconds.
        (Data::Timestamp(..), Logical::None) => return push_count(column, value, TimeUnit::Millisecond, prefix),
        _ => None,
    };
    match ticks {
        Some(ticks) => {
            column.push_i64(ticks);
            Ok(())
        }
        None => Err(Bad::expected(column, found())),
    }
}

/// `bytes` or `fixed` into a column.
fn bytes(node: &Node, column: &mut Column, value: &[u8]) -> Taken {
    match (&column.data, node.logical) {
        (Data::Bytes(_), _) => column.push_bytes(value),
        // How an unsigned BIGINT is written: Avro's long is too small for it.
        (Data::UInt64(_), Logical::Decimal { scale: 0 }) if value.len() <= 9 => {
            let negative = value.first().is_some_and(|b| b & 0x80 != 0);
            let unsigned = value.iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
            match u64::try_from(unsigned) {
                Ok(unsigned) if !negative => column.push_u64(unsigned),
                _ => return Err(Bad::expected(column, "another decimal")),
            }
        }
        (Data::Decimal { .. } | Data::Wide { .. }, Logical::Decimal { scale }) => return decimal(column, value, scale),
        (Data::Text(_), Logical::Uuid) if value.len() == 16 => {
            let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            column.push_bytes(parts.join("-").as_bytes());
        }
        (Data::Text(_), Logical::None) if std::str::from_utf8(value).is_ok() => column.push_bytes(value),
        _ => return Err(Bad::expected(column, format!("Avro {}", node.avro.name()))),
    }
    Ok(())
}

/// A big-endian two's complement number of that scale into a decimal column.
fn decimal(column: &mut Column, value: &[u8], scale: i64) -> Taken {
    let negative = value.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let extra = value.len().saturating_sub(32);
    let sign_only = value[..extra].iter().all(|b| *b == fill);
    let kept = &value[extra..];
    if !sign_only || (extra > 0 && (kept[0] & 0x80 != 0) != negative) {
        return Err(Bad::expected(column, format!("a decimal of {} bytes", value.len())));
    }
    let mut wide = [fill; 32];
    wide[32 - kept.len()..].copy_from_slice(kept);
    let unscaled = i256::from_be_bytes(wide);
    match &column.data {
        Data::Decimal { precision, scale: own, .. } if i64::from(*own) == scale => {
            let limit = 10i128.pow((*precision).min(38).into());
            match unscaled.to_i128() {
                Some(value) if value > -limit && value < limit => {
                    column.push_decimal(value);
                    Ok(())
                }
                _ => Err(Bad::expected(column, format!("{unscaled} (too large)"))),
            }
        }
        _ => push_decimal(column, format!("{unscaled}e-{scale}").as_bytes()),
    }
}
