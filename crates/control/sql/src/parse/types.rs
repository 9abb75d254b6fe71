//! Types of columns. sqlparser's, and `STRUCT<name type, ...>`, which it does not read in PostgreSQL's dialect.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Ident, StructBracketKind, StructField};
use datafusion::sql::sqlparser::tokenizer::{Location as At, Token, Tokenizer};
use fleuve_types::{Error, Result};

use super::dialect::FleuveDialect;
use super::{StatementParser, TextPlaces, place};

/// Deepest nesting of structs.
const MAX_DEPTH: usize = 16;

/// Reads a type alone.
///
/// # Errors
/// What is not a type.
pub(crate) fn parse_type(text: &str) -> Result<DataType> {
    let dialect = FleuveDialect::new(text.len());
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|e| Error::input(e.message.clone()).at(place(e.location)))?;
    let end = tokens.last().map_or(At::empty(), |t| t.span.end);
    let places = TextPlaces::new(text);
    let mut parser = StatementParser::new(&tokens, &dialect, &places, end);
    let data_type = parser.data_type(0)?;
    match parser.parser.peek_token().token {
        Token::EOF => Ok(data_type),
        _ => Err(parser.expected("the end of the type")),
    }
}

impl StatementParser<'_> {
    pub(super) fn data_type(&mut self, depth: usize) -> Result<DataType> {
        if !self.peek_word(0, "struct") {
            return self.sql(|p| p.parse_data_type());
        }
        if depth >= MAX_DEPTH {
            return Err(Error::input(format!("a type is nested more than {MAX_DEPTH} levels deep")).at(self.here()));
        }
        self.word("struct");
        let angle = self.token(&Token::Lt);
        if !angle {
            self.expect(&Token::LParen, "'<' after STRUCT")?;
        }
        let mut fields = Vec::new();
        loop {
            let (name, _) = self.identifier("the name of a field")?;
            let field_type = self.data_type(depth + 1)?;
            let name = if super::quoted(&name) == name { Ident::new(name) } else { Ident::with_quote('"', name) };
            fields.push(StructField { field_name: Some(name), field_type, options: None });
            if self.open_angles > 0 || !self.token(&Token::Comma) {
                break;
            }
        }
        if angle {
            self.close_angle()?
        } else {
            self.expect(&Token::RParen, "',' or ')'")?
        }
        let mut out = DataType::Struct(fields, StructBracketKind::AngleBrackets);
        while self.open_angles == 0 && self.token(&Token::LBracket) {
            self.expect(&Token::RBracket, "']'")?;
            out = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(out), None));
        }
        Ok(out)
    }

    /// `>`, of which several may have come as one token.
    fn close_angle(&mut self) -> Result<()> {
        if self.open_angles > 0 {
            self.open_angles -= 1;
            return Ok(());
        }
        let shown = self.parser.peek_token_ref().token.to_string();
        if shown.is_empty() || shown.bytes().any(|b| b != b'>') {
            return Err(self.expected("',' or '>'"));
        }
        self.parser.next_token();
        self.open_angles = shown.len() - 1;
        Ok(())
    }
}
