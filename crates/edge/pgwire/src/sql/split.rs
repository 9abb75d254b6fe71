use super::tokens;

/// One statement of a query string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Characters before it in the query string.
    pub(crate) offset: u64,
    /// Its text, without the semicolon.
    pub(crate) text: &'a str,
}

/// Splits a query string at its semicolons. Pieces of nothing but white space and comments are left out.
pub(crate) fn split(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut open: Option<usize> = None;
    // Characters are counted once over the whole text, not once per piece.
    let (mut counted_bytes, mut counted_chars) = (0, 0u64);
    let mut push = |start: usize, end: usize| {
        counted_chars += sql[counted_bytes..start].chars().count() as u64;
        counted_bytes = start;
        pieces.push(Piece { offset: counted_chars, text: sql[start..end].trim_end() });
    };
    for token in tokens(sql) {
        if token.is_symbol(';') {
            if let Some(start) = open.take() {
                push(start, token.start);
            }
        } else if open.is_none() {
            open = Some(token.start);
        }
    }
    if let Some(start) = open {
        push(start, sql.len());
    }
    pieces
}
