//! Columns while they are built. Unlike Arrow's builders they can be cut back to an earlier length, so that a record that
//! turns out bad half way leaves nothing behind. Derived state; lives for one run of records.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, ListArray, NullBufferBuilder, PrimitiveArray, StringArray, StructArray, UInt64Array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Fields, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, i256,
};
use fleuve_types::{ColumnPart, Error, Result, sql_type_name};

use crate::json::Keys;
use crate::limits::{MAX_QUOTE_BYTES, MAX_REASON_BYTES};

/// Why a record is bad.
#[derive(Debug)]
pub(crate) struct Bad {
    /// The names of the columns and fields around the place, innermost first.
    path: Vec<String>,
    what: String,
}

/// The result of taking in a part of a record.
pub(crate) type Taken<T = ()> = std::result::Result<T, Box<Bad>>;

impl Bad {
    #[cold]
    pub(crate) fn new(what: impl Into<String>) -> Box<Bad> {
        Box::new(Bad { path: Vec::new(), what: what.into() })
    }

    /// A value of another type or out of range.
    #[cold]
    pub(crate) fn expected(column: &Column, found: impl fmt::Display) -> Box<Bad> {
        Bad::new(format!("expected {}, found {found}", sql_type_name(&column.data_type)))
    }

    /// Says more.
    #[cold]
    pub(crate) fn with(mut self: Box<Self>, more: &str) -> Box<Bad> {
        self.what.push_str(more);
        self
    }

    /// Says in which column or field it was.
    #[cold]
    pub(crate) fn within(mut self: Box<Self>, name: &str) -> Box<Bad> {
        self.path.push(name.to_string());
        self
    }

    /// One line for the dead letter, of bounded length.
    pub(crate) fn reason(mut self) -> String {
        let mut text = String::new();
        if !self.path.is_empty() {
            self.path.reverse();
            text = format!("column '{}': ", shortened(&self.path.join("."), MAX_REASON_BYTES / 2));
        }
        text.push_str(&self.what);
        shortened(&text, MAX_REASON_BYTES)
    }
}

/// At most `limit` bytes of a text, with a mark where it was cut.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let end = (0..=limit.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// Bytes of a record as a reason quotes them.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    shortened(&String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_QUOTE_BYTES * 2)]), MAX_QUOTE_BYTES)
}

/// Strings or bytes, one after the other.
#[derive(Debug)]
pub(crate) struct VarLen {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl VarLen {
    fn new() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }

    fn truncate(&mut self, len: usize) {
        if len + 1 < self.offsets.len() {
            self.offsets.truncate(len + 1);
        }
        // Also drops bytes of a value that was begun and not ended.
        self.bytes.truncate(self.offsets[self.offsets.len() - 1] as usize);
    }

    fn end(&mut self) {
        // In range: see the limits of a run.
        self.offsets.push(self.bytes.len() as i32);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let next = with_room(self.offsets.len());
        let offsets = std::mem::replace(&mut self.offsets, next);
        self.offsets.push(0);
        let next = with_room(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        (OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes))
    }
}

/// The fields of a struct, or the columns of a whole record.
#[derive(Debug)]
pub(crate) struct StructData {
    pub(crate) children: Vec<Column>,
    pub(crate) keys: Keys,
    /// For each child, the object in which it was last set, and how (see [`Self::set`]).
    seen: Vec<u64>,
    object: u64,
}

impl StructData {
    /// Keeps the values of the children for which `keep` says so, of a struct among them maybe some fields only.
    pub(crate) fn new(fields: &Fields, keep: impl Fn(usize) -> Option<ColumnPart>) -> Result<Self> {
        let children: Vec<Column> = fields
            .iter()
            .enumerate()
            .map(|(at, field)| match keep(at) {
                Some(part) => Column::part(field, &part),
                None => Column::new(field, false),
            })
            .collect::<Result<_>>()?;
        let keys = Keys::new(children.iter().map(|c| c.name.as_str()));
        Ok(Self { seen: vec![0; children.len()], children, keys, object: 0 })
    }

    /// A new object begins.
    pub(crate) fn begin(&mut self) {
        self.object += 1;
    }

    /// Makes room for the value of a child; false if the value does not count. The last of equal names counts; a name in
    /// its own case counts more than one in another case. `base` is the length of the children before this object.
    pub(crate) fn set(&mut self, child: usize, exact: bool, base: usize) -> bool {
        let mark = self.object * 2 + u64::from(exact);
        let before = self.seen[child];
        if before / 2 == self.object {
            if before > mark {
                return false;
            }
            self.children[child].truncate(base);
        }
        self.seen[child] = mark;
        true
    }

    /// The object ended: what was not set is NULL.
    pub(crate) fn end(&mut self) -> Taken {
        for (child, seen) in self.children.iter_mut().zip(&self.seen) {
            if seen / 2 != self.object {
                child.push_missing()?;
            }
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.children.iter_mut().for_each(|child| child.truncate(len));
    }

    fn catch_up(&mut self, len: usize) {
        // All that are kept have the same length.
        let mut kept = self.children.iter_mut().filter(|child| child.keep).peekable();
        if kept.peek().is_some_and(|child| child.len() < len) {
            for child in kept {
                child.push_nulls(len - child.len());
            }
        }
    }
}

/// The values of a column that is being built. What has no length of its own (a date, an `INT`) is kept as `i64` and
/// narrowed at the end.
#[derive(Debug)]
pub(crate) enum Data {
    Bool(BooleanBufferBuilder),
    Int { min: i64, max: i64, values: Vec<i64> },
    UInt64(Vec<u64>),
    Float { single: bool, values: Vec<f64> },
    Decimal { precision: u8, scale: i8, values: Vec<i128> },
    Wide { precision: u8, scale: i8, values: Vec<i256> },
    Text(VarLen),
    Bytes(VarLen),
    Date(Vec<i64>),
    Time(TimeUnit, Vec<i64>),
    Timestamp(TimeUnit, Vec<i64>),
    List { offsets: Vec<i32>, child: Box<Column> },
    Struct(StructData),
}

/// One column, or a field of a struct, or the elements of an array.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As it was declared.
    pub(crate) data_type: DataType,
    /// Of the arrays that are made: of a struct maybe some fields only.
    built_type: DataType,
    pub(crate) nullable: bool,
    /// False: values are checked and forgotten.
    pub(crate) keep: bool,
    /// A value that does not fit is NULL. Of a record's own columns only, and these are nullable.
    pub(crate) loose: bool,
    /// Columns without columns below, at or below this one.
    pub(crate) leaves: u64,
    nulls: NullBufferBuilder,
    pub(crate) data: Data,
}

impl Column {
    /// # Errors
    /// A type that [`crate::FormatSpec::new`] refuses.
    pub(crate) fn new(field: &Field, keep: bool) -> Result<Self> {
        let int = |min, max| Data::Int { min, max, values: Vec::new() };
        let data = match field.data_type() {
            DataType::Boolean => Data::Bool(BooleanBufferBuilder::new(0)),
            DataType::Int8 => int(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => int(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => int(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => int(i64::MIN, i64::MAX),
            DataType::UInt8 => int(0, u8::MAX.into()),
            DataType::UInt16 => int(0, u16::MAX.into()),
            DataType::UInt32 => int(0, u32::MAX.into()),
            DataType::UInt64 => Data::UInt64(Vec::new()),
            DataType::Float32 => Data::Float { single: true, values: Vec::new() },
            DataType::Float64 => Data::Float { single: false, values: Vec::new() },
            DataType::Decimal128(p, s) => Data::Decimal { precision: *p, scale: *s, values: Vec::new() },
            DataType::Decimal256(p, s) => Data::Wide { precision: *p, scale: *s, values: Vec::new() },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Data::Text(VarLen::new()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Data::Bytes(VarLen::new()),
            DataType::Date32 => Data::Date(Vec::new()),
            DataType::Time32(unit) | DataType::Time64(unit) => Data::Time(*unit, Vec::new()),
            DataType::Timestamp(unit, _) => Data::Timestamp(*unit, Vec::new()),
            DataType::List(item) => Data::List { offsets: vec![0], child: Box::new(Column::new(item, keep)?) },
            DataType::Struct(fields) => {
                Data::Struct(StructData::new(fields, |at| keep.then(|| ColumnPart::whole(at)))?)
            }
            other => {
                let name = sql_type_name(other);
                return Err(Error::unsupported(format!("column '{}' is of type {name}", field.name())));
            }
        };
        let leaves = match &data {
            Data::List { child, .. } => 1 + child.leaves,
            Data::Struct(s) => 1 + s.children.iter().map(|c| c.leaves).sum::<u64>(),
            _ => 1,
        };
        Ok(Self {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            built_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            keep,
            loose: false,
            leaves,
            nulls: NullBufferBuilder::new(0),
            data,
        })
    }

    /// A column of which a part is kept.
    fn part(field: &Field, part: &ColumnPart) -> Result<Self> {
        let mut column = Self::new(field, true)?;
        if let (Some(wanted), DataType::Struct(fields)) = (&part.fields, field.data_type()) {
            column.data =
                Data::Struct(StructData::new(fields, |at| wanted.contains(&at).then(|| ColumnPart::whole(at)))?);
            column.built_type = part.field(field).data_type().clone();
        }
        Ok(column)
    }

    /// Values so far; 0 when they are not kept.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Forgets the values from `len` on, whole or half pushed.
    pub(crate) fn truncate(&mut self, len: usize) {
        if !self.keep {
            return;
        }
        self.nulls.truncate(len);
        match &mut self.data {
            Data::Bool(values) => {
                if values.len() > len {
                    values.truncate(len);
                }
            }
            Data::Int { values, .. } | Data::Date(values) | Data::Time(_, values) | Data::Timestamp(_, values) => {
                values.truncate(len);
            }
            Data::UInt64(values) => values.truncate(len),
            Data::Float { values, .. } => values.truncate(len),
            Data::Decimal { values, .. } => values.truncate(len),
            Data::Wide { values, .. } => values.truncate(len),
            Data::Text(values) | Data::Bytes(values) => values.truncate(len),
            Data::List { offsets, child } => {
                offsets.truncate(len + 1);
                child.truncate(offsets[offsets.len() - 1] as usize);
            }
            Data::Struct(s) => s.truncate(len),
        }
    }

    /// NULL, if the column takes it.
    pub(crate) fn push_null(&mut self) -> Taken {
        if !self.nullable {
            return Err(Bad::new("is NOT NULL and the value is null"));
        }
        self.push_null_unchecked();
        Ok(())
    }

    /// NULL for what a record does not have.
    pub(crate) fn push_missing(&mut self) -> Taken {
        if !self.nullable {
            return Err(Bad::new("is NOT NULL and has no value").within(&self.name));
        }
        self.push_null_unchecked();
        Ok(())
    }

    /// NULL, also where a column does not take it: below a NULL struct.
    pub(crate) fn push_null_unchecked(&mut self) {
        if self.keep {
            self.push_nulls(1);
        }
    }

    /// Many NULLs. Below a struct they are not pushed until something else is: where a record is one of many kinds, most structs
    /// are NULL most of the time.
    fn push_nulls(&mut self, count: usize) {
        self.nulls.append_n_nulls(count);
        let len = self.nulls.len();
        match &mut self.data {
            Data::Bool(values) => values.append_n(count, false),
            Data::Int { values, .. } | Data::Date(values) | Data::Time(_, values) | Data::Timestamp(_, values) => {
                values.resize(len, 0);
            }
            Data::UInt64(values) => values.resize(len, 0),
            Data::Float { values, .. } => values.resize(len, 0.0),
            Data::Decimal { values, .. } => values.resize(len, 0),
            Data::Wide { values, .. } => values.resize(len, i256::ZERO),
            Data::Text(VarLen { offsets, .. }) | Data::Bytes(VarLen { offsets, .. }) | Data::List { offsets, .. } => {
                offsets.resize(len + 1, offsets[offsets.len() - 1]);
            }
            Data::Struct(_) => {}
        }
    }

    /// The length that the fields of a struct have before the next value of it; they get the NULLs that they lack.
    pub(crate) fn begin_struct(&mut self) -> usize {
        let len = self.len();
        if let (true, Data::Struct(s)) = (self.keep, &mut self.data) {
            s.catch_up(len);
        }
        len
    }

    pub(crate) fn push_bool(&mut self, value: bool) {
        if let (true, Data::Bool(values)) = (self.keep, &mut self.data) {
            values.append(value);
            self.nulls.append_non_null();
        }
    }

    /// An integer, or the ticks of a date or time; the caller has checked the range.
    #[inline(always)]
    pub(crate) fn push_i64(&mut self, value: i64) {
        if !self.keep {
            return;
        }
        match &mut self.data {
            Data::Int { values, .. } | Data::Date(values) | Data::Time(_, values) | Data::Timestamp(_, values) => {
                values.push(value);
                self.nulls.append_non_null();
            }
            _ => debug_assert!(false, "an integer for a column of another kind"),
        }
    }

    pub(crate) fn push_u64(&mut self, value: u64) {
        if let (true, Data::UInt64(values)) = (self.keep, &mut self.data) {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    pub(crate) fn push_f64(&mut self, value: f64) {
        if let (true, Data::Float { values, .. }) = (self.keep, &mut self.data) {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    pub(crate) fn push_decimal(&mut self, value: i128) {
        if let (true, Data::Decimal { values, .. }) = (self.keep, &mut self.data) {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    pub(crate) fn push_wide(&mut self, value: i256) {
        if let (true, Data::Wide { values, .. }) = (self.keep, &mut self.data) {
            values.push(value);
            self.nulls.append_non_null();
        }
    }

    /// A text (the caller knows that it is UTF-8) or bytes.
    #[inline(always)]
    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        if let (true, Data::Text(values) | Data::Bytes(values)) = (self.keep, &mut self.data) {
            values.bytes.extend_from_slice(value);
            values.end();
            self.nulls.append_non_null();
        }
    }

    /// The elements of an array were pushed to its child.
    pub(crate) fn end_list(&mut self) {
        if let (true, Data::List { offsets, child }) = (self.keep, &mut self.data) {
            // In range: see the limits of a run.
            offsets.push(i32::try_from(child.len()).expect("a run's elements are bounded"));
            self.nulls.append_non_null();
        }
    }

    /// The fields of a struct were pushed to its children.
    pub(crate) fn end_struct(&mut self) {
        if self.keep {
            self.nulls.append_non_null();
        }
    }

    /// The values as an array; the column is empty again and keeps its capacity.
    ///
    /// # Errors
    /// A bug: Arrow refused what was built.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        self.begin_struct();
        let nulls = self.nulls.finish();
        let built: ArrayRef = match &mut self.data {
            Data::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::Int { values, .. } | Data::Date(values) | Data::Time(_, values) | Data::Timestamp(_, values) => {
                return narrowed(&self.built_type, values, nulls);
            }
            Data::UInt64(values) => Arc::new(UInt64Array::new(taken(values), nulls)),
            Data::Float { single: false, values } => Arc::new(Float64Array::new(taken(values), nulls)),
            Data::Float { single: true, values } => {
                let narrow: Vec<f32> = values.drain(..).map(|v| v as f32).collect();
                Arc::new(Float32Array::new(narrow.into(), nulls))
            }
            Data::Decimal { precision, scale, values } => Arc::new(
                Decimal128Array::new(taken(values), nulls).with_precision_and_scale(*precision, *scale).map_err(bug)?,
            ),
            Data::Wide { precision, scale, values } => Arc::new(
                Decimal256Array::new(taken(values), nulls).with_precision_and_scale(*precision, *scale).map_err(bug)?,
            ),
            Data::Text(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(bug)?)
            }
            Data::Bytes(values) => {
                let (offsets, bytes) = values.take();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(bug)?)
            }
            Data::List { offsets, child } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let DataType::List(item) = &self.built_type else { return Err(Error::bug("a list of another type")) };
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(ListArray::try_new(item.clone(), offsets, child.finish()?, nulls).map_err(bug)?)
            }
            Data::Struct(s) => {
                let DataType::Struct(fields) = &self.built_type else {
                    return Err(Error::bug("a struct of another type"));
                };
                let kept = s.children.iter_mut().filter(|child| child.keep);
                let arrays = kept.map(Column::finish).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new(fields.clone(), arrays, nulls).map_err(bug)?)
            }
        };
        if built.data_type() == &self.built_type { Ok(built) } else { cast(&built, &self.built_type).map_err(bug) }
    }
}

fn bug(e: arrow::error::ArrowError) -> Error {
    Error::bug(format!("a decoded column does not fit its type: {e}"))
}

/// For the next run, which mostly is as long: with a little more room than this one took, so that it is not moved for its last values.
fn with_room<T>(len: usize) -> Vec<T> {
    Vec::with_capacity(len + len / 16)
}

fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let next = with_room(values.len());
    std::mem::replace(values, next).into()
}

fn narrowed(data_type: &DataType, values: &mut Vec<i64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    fn narrow<T: ArrowPrimitiveType>(
        values: &mut Vec<i64>,
        nulls: Option<NullBuffer>,
        as_native: fn(i64) -> T::Native,
    ) -> PrimitiveArray<T> {
        let natives: Vec<T::Native> = values.drain(..).map(as_native).collect();
        PrimitiveArray::new(natives.into(), nulls)
    }
    Ok(match data_type {
        DataType::Int8 => Arc::new(narrow::<Int8Type>(values, nulls, |v| v as i8)),
        DataType::Int16 => Arc::new(narrow::<Int16Type>(values, nulls, |v| v as i16)),
        DataType::Int32 => Arc::new(narrow::<Int32Type>(values, nulls, |v| v as i32)),
        DataType::UInt8 => Arc::new(narrow::<UInt8Type>(values, nulls, |v| v as u8)),
        DataType::UInt16 => Arc::new(narrow::<UInt16Type>(values, nulls, |v| v as u16)),
        DataType::UInt32 => Arc::new(narrow::<UInt32Type>(values, nulls, |v| v as u32)),
        DataType::Date32 => Arc::new(narrow::<Date32Type>(values, nulls, |v| v as i32)),
        DataType::Time32(Second) => Arc::new(narrow::<Time32SecondType>(values, nulls, |v| v as i32)),
        DataType::Time32(_) => Arc::new(narrow::<Time32MillisecondType>(values, nulls, |v| v as i32)),
        DataType::Int64 => Arc::new(PrimitiveArray::<Int64Type>::new(taken(values), nulls)),
        DataType::Time64(Nanosecond) => Arc::new(PrimitiveArray::<Time64NanosecondType>::new(taken(values), nulls)),
        DataType::Time64(_) => Arc::new(PrimitiveArray::<Time64MicrosecondType>::new(taken(values), nulls)),
        DataType::Timestamp(unit, zone) => {
            let (values, zone) = (taken(values), zone.clone());
            match unit {
                Second => Arc::new(PrimitiveArray::<TimestampSecondType>::new(values, nulls).with_timezone_opt(zone)),
                Millisecond => {
                    Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(values, nulls).with_timezone_opt(zone))
                }
                Microsecond => {
                    Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_timezone_opt(zone))
                }
                Nanosecond => {
                    Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(values, nulls).with_timezone_opt(zone))
                }
            }
        }
        other => return Err(Error::bug(format!("{other} is no integer type"))),
    })
}
