//! The hash of a value. Stored sketches depend on it: it never changes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

/// MurmurHash3, x64, 128 bits (Austin Appleby, public domain), of which the first 64 bits are used. Seed 0.
pub(super) fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (low, high) = halves(block);
        h1 = (h1 ^ mix1(low)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(high)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    if !tail.is_empty() {
        let mut block = [0; 16];
        block[..tail.len()].copy_from_slice(tail);
        let (low, high) = halves(&block);
        h2 ^= mix2(high);
        h1 ^= mix1(low);
    }
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The type that values of a type are hashed as, so that equal ones of related types hash alike.
pub(super) fn hashed_type(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Boolean => DataType::Boolean,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        t if t.is_integer() => DataType::Int64,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            DataType::Decimal128(*p, *s)
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => return None,
    })
}

/// Calls `each` with the hash of every value that is not NULL. The array is of a [`hashed_type`].
pub(super) fn hashes(array: &ArrayRef, mut each: impl FnMut(u64)) -> Result<()> {
    let mut put = |kind: u8, bytes: &[u8]| {
        let mut tagged = Vec::with_capacity(bytes.len() + 1);
        tagged.push(kind);
        tagged.extend_from_slice(bytes);
        each(murmur3(&tagged));
    };
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().for_each(|v| put(b't', v.as_bytes())),
        DataType::Binary => array.as_binary::<i32>().iter().flatten().for_each(|v| put(b'x', v)),
        DataType::Boolean => array.as_boolean().iter().flatten().for_each(|v| put(b'b', &[u8::from(v)])),
        DataType::Int64 => integers(array.as_primitive::<Int64Type>().iter().flatten().map(i128::from), &mut put),
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>().iter().flatten();
            let whole = values.map(|v| shortest(v, *scale));
            whole.for_each(|(v, scale)| match scale {
                0 => put(b'i', &v.to_le_bytes()),
                _ => put(b'd', &[&v.to_le_bytes()[..], &[scale as u8]].concat()),
            });
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().for_each(|v| {
            // The two zeros are equal, and so are all NaN.
            let v = if v.is_nan() { f64::NAN } else { v + 0.0 };
            put(b'f', &v.to_bits().to_le_bytes());
        }),
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().iter().flatten();
            values.for_each(|v| put(b'D', &v.to_le_bytes()));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().iter().flatten();
            values.for_each(|v| put(b'T', &v.to_le_bytes()));
        }
        other => return exec_err!("values of {other} cannot be hashed"),
    }
    Ok(())
}

fn integers(values: impl Iterator<Item = i128>, put: &mut impl FnMut(u8, &[u8])) {
    values.for_each(|v| put(b'i', &v.to_le_bytes()));
}

/// A decimal without zeros at its end: 1.50 is 1.5, 2.00 is 2.
fn shortest(mut value: i128, mut scale: i8) -> (i128, i8) {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    (value, scale)
}
