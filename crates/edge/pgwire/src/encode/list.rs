use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};

use super::{ColumnEncoder, Write, text, value};
use crate::error::PgResult;
use crate::types::{oid, type_oid};

/// A list as a one-dimensional array, or as JSON if its elements are lists, structs or maps.
pub(super) fn writer(array: &ArrayRef, binary: bool) -> PgResult<Write> {
    let (element, values): (&DataType, &ArrayRef) = match array.data_type() {
        DataType::List(f) => (f.data_type(), array.as_list::<i32>().values()),
        DataType::LargeList(f) => (f.data_type(), array.as_list::<i64>().values()),
        DataType::FixedSizeList(f, _) => (f.data_type(), array.as_fixed_size_list().values()),
        other => unreachable!("{other} is no list"),
    };
    if type_oid(array.data_type()) == oid::JSON {
        return value::json(array);
    }
    let elements = ColumnEncoder::new(values, binary)?;
    let element_oid = type_oid(element);
    let range = ranges(array);
    Ok(Box::new(move |i, out| {
        let (start, end) = range(i);
        if binary {
            put_binary(out, &elements, element_oid, start, end);
        } else {
            put_text(out, &elements, start, end);
        }
    }))
}

/// Where a row's elements start and end.
fn ranges(array: &ArrayRef) -> Box<dyn Fn(usize) -> (usize, usize) + Send + Sync> {
    match array.data_type() {
        DataType::List(_) => {
            let offsets = array.as_list::<i32>().offsets().clone();
            Box::new(move |i| (offsets[i] as usize, offsets[i + 1] as usize))
        }
        DataType::LargeList(_) => {
            let offsets = array.as_list::<i64>().offsets().clone();
            Box::new(move |i| (offsets[i] as usize, offsets[i + 1] as usize))
        }
        _ => {
            let list = array.as_fixed_size_list().clone();
            let width = list.value_length() as usize;
            Box::new(move |i| (list.value_offset(i) as usize, list.value_offset(i) as usize + width))
        }
    }
}

fn put_text(out: &mut BytesMut, elements: &ColumnEncoder, start: usize, end: usize) {
    out.put_u8(b'{');
    let mut element = BytesMut::new();
    for i in start..end {
        if i > start {
            out.put_u8(b',');
        }
        if elements.is_null(i) {
            out.put_slice(b"NULL");
        } else {
            element.clear();
            (elements.write)(i, &mut element);
            text::put_array_element(out, &element);
        }
    }
    out.put_u8(b'}');
}

fn put_binary(out: &mut BytesMut, elements: &ColumnEncoder, element_oid: u32, start: usize, end: usize) {
    out.put_i32(i32::from(end > start)); // dimensions
    out.put_i32(i32::from((start..end).any(|i| elements.is_null(i))));
    out.put_u32(element_oid);
    if end > start {
        out.put_i32((end - start) as i32);
        out.put_i32(1); // lower bound
        (start..end).for_each(|i| elements.put(i, out));
    }
}
