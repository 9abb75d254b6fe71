//! `ALTER ...`

use datafusion::sql::sqlparser::tokenizer::Token;
use fleuve_types::{Error, Result};

use super::{ColumnSpec, CreateStream, ObjectWord, Statement, StatementParser, StreamChange, ViewChange};

/// Most changes in one statement.
const MAX_CHANGES: usize = 1000;

impl StatementParser<'_> {
    /// What follows `ALTER`.
    pub(super) fn alter(&mut self) -> Result<Statement> {
        let at = self.here();
        if self.words(&["materialized", "view"]) {
            let name = self.name("the view's name")?;
            if self.word("resume") {
                return Ok(Statement::Resume(ObjectWord::View, name));
            }
            if let Some(change) = self.view_change()? {
                return Ok(Statement::AlterView { name, change });
            }
        } else if self.word("index") {
            let name = self.name("the index's name")?;
            if self.word("resume") {
                return Ok(Statement::Resume(ObjectWord::Index, name));
            }
        } else if self.word("stream") {
            let name = self.name("the stream's name")?;
            if self.words(&["advance", "watermark", "to"]) {
                self.word("timestamp");
                let next = self.parser.peek_token();
                let Token::SingleQuotedString(to) = next.token else {
                    return Err(self.expected("a time, as '2026-05-01 10:00'"));
                };
                self.parser.next_token();
                return Ok(Statement::AdvanceWatermark { name, to: (to, super::place(next.span.start)) });
            }
            if self.peek_word(0, "add") || self.peek_word(0, "alter") || self.peek_word(0, "drop") {
                let mut changes = vec![self.stream_change()?];
                while self.token(&Token::Comma) {
                    if changes.len() == MAX_CHANGES {
                        let message = format!("a statement makes at most {MAX_CHANGES} changes");
                        return Err(Error::new(fleuve_types::ErrorKind::Limit, message).at(self.here()));
                    }
                    changes.push(self.stream_change()?);
                }
                return Ok(Statement::AlterStream { name, changes });
            }
        }
        Err(Error::unsupported(
            "of ALTER there are ALTER STREAM name ADD COLUMN, ALTER COLUMN ... TYPE, DROP COLUMN and ADVANCE WATERMARK TO, ALTER MATERIALIZED VIEW name AS, SET, RESET and RESUME, and ALTER INDEX name RESUME",
        )
        .at(at)
        .hint("`fleuve apply` changes what files declare"))
    }

    /// What of a view changes; None if nothing of that follows.
    fn view_change(&mut self) -> Result<Option<ViewChange>> {
        if self.peek_word(0, "as") {
            return Ok(Some(ViewChange::Query(Box::new(self.view_query()?))));
        }
        if self.word("set") {
            return Ok(Some(ViewChange::Set(self.option_list()?)));
        }
        if !self.word("reset") {
            return Ok(None);
        }
        self.expect(&Token::LParen, "'('")?;
        let mut keys = vec![self.option_key()?];
        while self.token(&Token::Comma) {
            keys.push(self.option_key()?);
        }
        self.expect(&Token::RParen, "',' or ')'")?;
        Ok(Some(ViewChange::Reset(keys)))
    }

    fn stream_change(&mut self) -> Result<StreamChange> {
        if self.word("add") {
            self.word("column");
            let at = self.here();
            // A column brings its checks along in CREATE STREAM.
            let name = super::Name { namespace: None, name: String::new(), at: at.clone() };
            let mut stream = CreateStream {
                if_not_exists: false,
                name,
                columns: None,
                watermark: None,
                checks: vec![],
                options: vec![],
            };
            let column = self.column(&mut stream)?;
            return match stream.checks.first() {
                None => Ok(StreamChange::Add(column)),
                Some((_, at)) => {
                    Err(Error::unsupported("a CHECK cannot come to a stream that is there").at(at.clone()))
                }
            };
        }
        if self.word("drop") {
            self.word("column");
            let (column, at) = self.identifier("a column's name")?;
            if !self.word("restrict") && self.peek_word(0, "cascade") {
                return Err(Error::unsupported("CASCADE is not offered here")
                    .at(self.here())
                    .hint("replace or drop what reads the column first"));
            }
            return Ok(StreamChange::Drop(column, at));
        }
        if !self.word("alter") {
            return Err(self.expected("ADD COLUMN, ALTER COLUMN or DROP COLUMN"));
        }
        self.word("column");
        let (name, at) = self.identifier("a column's name")?;
        self.words(&["set", "data"]);
        if !self.word("type") {
            return Err(self.expected("TYPE: of a column its type can change"));
        }
        let data_type = self.data_type(0)?;
        Ok(StreamChange::Type(ColumnSpec { name, data_type, nullable: true, at }))
    }
}
