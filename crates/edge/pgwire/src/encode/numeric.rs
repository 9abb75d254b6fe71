//! Decimals: `value * 10^-scale` as text and in PostgreSQL's base-10000 binary form (`numeric_send`).

use bytes::{BufMut, BytesMut};

/// A decimal's sign and digits, most significant first, without leading zeros.
pub(crate) struct Digits<'a> {
    pub(crate) negative: bool,
    /// ASCII digits; empty is zero.
    pub(crate) digits: &'a [u8],
    pub(crate) scale: i8,
}

impl<'a> Digits<'a> {
    /// Reads what `i256::to_string` or `i128::to_string` wrote.
    pub(crate) fn parse(text: &'a str, scale: i8) -> Self {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Self { negative, digits: digits.trim_start_matches('0').as_bytes(), scale }
    }

    /// `-12.30`: as many digits after the point as the scale says.
    pub(crate) fn put_text(&self, out: &mut BytesMut) {
        if self.negative && !self.digits.is_empty() {
            out.put_u8(b'-');
        }
        let (len, scale) = (self.digits.len(), self.scale);
        if scale <= 0 {
            if self.digits.is_empty() {
                out.put_u8(b'0');
            } else {
                out.put_slice(self.digits);
                out.put_bytes(b'0', scale.unsigned_abs() as usize);
            }
            return;
        }
        let scale = scale as usize;
        if len > scale {
            out.put_slice(&self.digits[..len - scale]);
        } else {
            out.put_u8(b'0');
        }
        out.put_u8(b'.');
        out.put_bytes(b'0', scale.saturating_sub(len));
        out.put_slice(&self.digits[len.saturating_sub(scale)..]);
    }

    pub(crate) fn put_binary(&self, out: &mut BytesMut) {
        let fraction_len = i32::from(self.scale);
        // Decimal exponent of the digit just after the last one given.
        let integer_len = self.digits.len() as i32 - fraction_len;
        // Groups of four are aligned at the decimal point.
        let lead = (4 - integer_len.rem_euclid(4)) % 4;
        let weight = (integer_len + lead) / 4 - 1;
        let mut groups: Vec<u16> = Vec::with_capacity(self.digits.len() / 4 + 2);
        let (mut group, mut filled) = (0u16, lead);
        for digit in self.digits {
            group = group * 10 + u16::from(digit - b'0');
            filled += 1;
            if filled == 4 {
                groups.push(group);
                (group, filled) = (0, 0);
            }
        }
        if filled > 0 && !self.digits.is_empty() {
            groups.push(group * 10u16.pow((4 - filled) as u32));
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        out.put_u16(groups.len() as u16);
        out.put_i16(if groups.is_empty() { 0 } else { weight as i16 });
        out.put_u16(if self.negative && !groups.is_empty() { 0x4000 } else { 0 });
        out.put_u16(self.scale.max(0) as u16);
        groups.iter().for_each(|g| out.put_u16(*g));
    }
}
