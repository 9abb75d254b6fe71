/// What a piece of SQL text is, as far as the door cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or bare name.
    Word,
    /// `"name"`
    Quoted,
    /// `'text'`, `E'text'`, `$$text$$`
    Text,
    Number,
    /// `$1`
    Placeholder,
    /// One character of anything else.
    Symbol,
}

/// A token's place in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn is_symbol(&self, symbol: char) -> bool {
        self.kind == TokenKind::Symbol && self.text.starts_with(symbol)
    }

    /// The value: a name without its quotes (lower case if bare), a text without quotes and escapes.
    pub(crate) fn value(&self) -> String {
        match self.kind {
            TokenKind::Quoted => self.text.trim_matches('"').replace("\"\"", "\""),
            TokenKind::Text => self.text.trim_start_matches(['e', 'E']).trim_matches('\'').replace("''", "'"),
            TokenKind::Word => self.text.to_ascii_lowercase(),
            _ => self.text.to_string(),
        }
    }
}

/// The tokens of a text, without white space and comments. An open quote or comment runs to the end.
pub(crate) fn tokens(sql: &str) -> Tokens<'_> {
    Tokens { sql, at: 0 }
}

pub(crate) struct Tokens<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment_len(trimmed);
            } else {
                return;
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let rest = &self.sql[self.at..];
        let first = rest.chars().next()?;
        let second = rest[first.len_utf8()..].chars().next();
        let (kind, len) = match (first, second) {
            ('\'', _) => (TokenKind::Text, quoted_len(rest, '\'', false)),
            ('e' | 'E', Some('\'')) => (TokenKind::Text, 1 + quoted_len(&rest[1..], '\'', true)),
            ('"', _) => (TokenKind::Quoted, quoted_len(rest, '"', false)),
            ('$', Some(c)) if c.is_ascii_digit() => {
                (TokenKind::Placeholder, 1 + run(&rest[1..], |c| c.is_ascii_digit()))
            }
            ('$', _) => match dollar_len(rest) {
                Some(len) => (TokenKind::Text, len),
                None => (TokenKind::Symbol, 1),
            },
            (c, _) if c.is_alphabetic() || c == '_' => {
                (TokenKind::Word, run(rest, |c| c.is_alphanumeric() || "_$".contains(c)))
            }
            (c, _) if c.is_ascii_digit() => (TokenKind::Number, run(rest, |c| c.is_ascii_alphanumeric() || c == '.')),
            (c, _) => (TokenKind::Symbol, c.len_utf8()),
        };
        let token = Token { kind, text: &rest[..len], start: self.at };
        self.at += len;
        Some(token)
    }
}

fn run(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// Length of a quoted piece that starts at the first character; a doubled quote stands for itself.
fn quoted_len(text: &str, quote: char, backslash: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if backslash && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, c)| *c == quote).is_none() {
            return i + 1;
        }
    }
    text.len()
}

/// Length of `$tag$ ... $tag$`, or `None` if no tag starts here.
fn dollar_len(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    if !tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some(text[end..].find(tag).map_or(text.len(), |i| end + i + tag.len()))
}

/// Length of a comment, which may hold others.
fn comment_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut i) = (0usize, 0);
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => {
                depth += 1;
                i += 2;
            }
            b"*/" => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    text.len()
}
