use crate::column::{Bad, Taken, quoted};
use crate::number::parse_integer;
use crate::words::{HIGH, LOW};

/// Where a pass over JSON text stands. Every move is checked against the end; the text is UTF-8.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The bytes from an earlier position to here.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// What is left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Moves over bytes that were seen before.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.bytes.len());
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    #[inline]
    pub(crate) fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Moves over a word if it is there and ends there.
    pub(crate) fn literal(&mut self, word: &[u8]) -> bool {
        let rest = self.rest();
        let there = rest.starts_with(word) && !rest.get(word.len()).is_some_and(u8::is_ascii_alphanumeric);
        if there {
            self.at += word.len();
        }
        there
    }

    #[cold]
    pub(crate) fn syntax(&self, wanted: &str) -> Box<Bad> {
        let found = match self.peek() {
            None => "the end".to_string(),
            Some(_) => {
                let rest = self.rest();
                let end = (1..=rest.len().min(16)).rev().find(|end| std::str::from_utf8(&rest[..*end]).is_ok());
                format!("'{}'", quoted(&rest[..end.unwrap_or(1)]))
            }
        };
        Bad::new(format!("not JSON: expected {wanted} at byte {}, found {found}", self.at))
    }

    /// The value that stands here, for a reason.
    #[cold]
    pub(crate) fn describe(&self) -> String {
        let rest = self.rest();
        let token = |limit: fn(&u8) -> bool| quoted(&rest[..rest.iter().position(limit).unwrap_or(rest.len())]);
        match self.peek() {
            None => "nothing".into(),
            Some(b'{') => "an object".into(),
            Some(b'[') => "an array".into(),
            Some(b'"') => {
                let mut probe = Cursor { bytes: self.bytes, at: self.at };
                match probe.string(&mut Vec::new()) {
                    Ok(text) => format!("\"{}\"", quoted(text)),
                    Err(_) => "a broken string".into(),
                }
            }
            Some(_) => token(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')),
        }
    }

    /// A number that is an integer, however it is written; `None`, after it, when it is none or a very large one.
    #[inline]
    pub(crate) fn integer(&mut self) -> Taken<Option<i64>> {
        if let Some(value) = self.small_integer() {
            return Ok(Some(value));
        }
        let number = self.number()?;
        Ok(parse_integer(number).ok().and_then(|value| i64::try_from(value).ok()))
    }

    /// An integer of at most 18 digits; `None`, without moving, for any other number.
    #[inline]
    fn small_integer(&mut self) -> Option<i64> {
        let rest = self.rest();
        let negative = usize::from(rest.first() == Some(&b'-'));
        let digits = &rest[negative..];
        let mut value = 0i64;
        let mut count = 0;
        while let Some(digit @ b'0'..=b'9') = digits.get(count) {
            if count == 18 {
                return None;
            }
            value = value * 10 + i64::from(digit - b'0');
            count += 1;
        }
        let zero_first = count > 1 && digits[0] == b'0';
        if count == 0 || zero_first || matches!(digits.get(count), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += negative + count;
        Some(if negative == 1 { -value } else { value })
    }

    /// A number as JSON writes it.
    pub(crate) fn number(&mut self) -> Taken<&'a [u8]> {
        let start = self.at;
        let digits = |cursor: &mut Self| {
            let from = cursor.at;
            while let Some(b'0'..=b'9') = cursor.peek() {
                cursor.at += 1;
            }
            cursor.at - from
        };
        self.eat(b'-');
        let first = self.at;
        let whole = digits(self);
        if whole == 0 || (whole > 1 && self.bytes[first] == b'0') {
            self.at = first;
            return Err(self.syntax("a number"));
        }
        if self.eat(b'.') && digits(self) == 0 {
            return Err(self.syntax("a digit"));
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            if digits(self) == 0 {
                return Err(self.syntax("a digit"));
            }
        }
        Ok(self.since(start))
    }

    /// Moves to the next quote, backslash or control character from here.
    #[inline]
    fn run_of_text(&mut self) {
        while let Some(chunk) = self.rest().first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let zero_where = |x: u64| x.wrapping_sub(LOW) & !x;
            let quote = zero_where(word ^ (LOW * u64::from(b'"')));
            let backslash = zero_where(word ^ (LOW * u64::from(b'\\')));
            let control = word.wrapping_sub(LOW * 0x20) & !word;
            // A borrow can only make false marks above a true one, so the lowest mark is right.
            let marks = (quote | backslash | control) & HIGH;
            if marks != 0 {
                self.at += (marks.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte == b'"' || byte == b'\\' || byte < 0x20 {
                return;
            }
            self.at += 1;
        }
    }

    /// A string without its quotes, unescaped into `scratch` if it has escapes. The cursor stands at the first quote.
    #[inline]
    pub(crate) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Taken<&'s [u8]>
    where
        'a: 's,
    {
        self.at += 1;
        let start = self.at;
        self.run_of_text();
        if self.peek() == Some(b'"') {
            let text = self.since(start);
            self.at += 1;
            return Ok(text);
        }
        self.at = start;
        self.escaped_string(scratch)?;
        Ok(scratch)
    }

    fn escaped_string(&mut self, scratch: &mut Vec<u8>) -> Taken {
        scratch.clear();
        loop {
            let start = self.at;
            self.run_of_text();
            scratch.extend_from_slice(self.since(start));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    scratch.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(self.syntax("the end of a string")),
            }
        }
    }

    /// The character of an escape; the cursor stands after the backslash.
    fn escape(&mut self) -> Taken<char> {
        let Some(kind) = self.peek() else { return Err(self.syntax("an escape")) };
        let plain = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                let first = self.hex4()?;
                if let Some(c) = char::from_u32(first) {
                    return Ok(c);
                }
                // A surrogate: only a high one with a low one after it is a character.
                if first < 0xdc00 && self.rest().starts_with(b"\\u") {
                    self.at += 2;
                    let second = self.hex4()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return char::from_u32(code).ok_or_else(|| self.syntax("a character"));
                    }
                }
                return Err(Bad::new(format!("a \\u escape before byte {} is half a surrogate pair", self.at)));
            }
            _ => return Err(self.syntax("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn hex4(&mut self) -> Taken<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|b| char::from(b).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.syntax("a hexadecimal digit")),
            }
            self.at += 1;
        }
        Ok(code)
    }

    /// Moves over a string; escapes are only checked for their form.
    fn skip_string(&mut self) -> Taken {
        self.at += 1;
        loop {
            self.run_of_text();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            self.hex4()?;
                        }
                        _ => return Err(self.syntax("an escape")),
                    }
                }
                _ => return Err(self.syntax("the end of a string")),
            }
        }
    }

    /// Moves over any value, checking its syntax.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Taken {
        if depth == 0 {
            return Err(Bad::new(format!("nests deeper than {}", crate::limits::MAX_DEPTH)));
        }
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            Some(b't') if self.literal(b"true") => Ok(()),
            Some(b'f') if self.literal(b"false") => Ok(()),
            Some(b'n') if self.literal(b"null") => Ok(()),
            Some(b'[') => {
                self.at += 1;
                self.blanks();
                if self.eat(b']') {
                    return Ok(());
                }
                loop {
                    self.skip_value(depth - 1)?;
                    self.blanks();
                    match self.peek() {
                        Some(b',') => self.at += 1,
                        Some(b']') => break,
                        _ => return Err(self.syntax("',' or ']'")),
                    }
                    self.blanks();
                }
                self.at += 1;
                Ok(())
            }
            Some(b'{') => self.skip_object(depth),
            _ => Err(self.syntax("a value")),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Taken {
        self.at += 1;
        self.blanks();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key"));
            }
            self.skip_string()?;
            self.colon()?;
            self.skip_value(depth - 1)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.syntax("',' or '}'")),
            }
            self.blanks();
        }
        self.at += 1;
        Ok(())
    }

    /// The colon after a key, and the blanks around it.
    #[inline]
    pub(crate) fn colon(&mut self) -> Taken {
        self.blanks();
        if !self.eat(b':') {
            return Err(self.syntax("':'"));
        }
        self.blanks();
        Ok(())
    }
}
