//! Everything but `CREATE`.

use datafusion::sql::sqlparser::ast::{self, TableObject};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use fleuve_types::{Error, Result};

use super::{
    CommentTarget, ExplainMode, ExplainRow, ExplainTarget, Name, ObjectWord, RowsOf, Show, Statement, StatementParser,
    name_of,
};

const CAN_BE_EXPLAINED: &str = "EXPLAIN takes a query, the name of a view or index, CREATE [OR REPLACE] MATERIALIZED VIEW, ALTER MATERIALIZED VIEW, ALTER STREAM, or ROW of a view";

/// Statements of which there is nothing to explain.
const OTHERS: [&str; 14] = [
    "drop",
    "insert",
    "update",
    "delete",
    "truncate",
    "merge",
    "copy",
    "comment",
    "show",
    "describe",
    "subscribe",
    "set",
    "reset",
    "alter",
];

impl StatementParser<'_> {
    pub(super) fn any_statement(&mut self) -> Result<Statement> {
        let next = self.parser.peek_token();
        let word = match &next.token {
            Token::LParen => return Ok(Statement::Query(self.query()?)),
            Token::Word(w) if w.quote_style.is_none() => w.value.to_ascii_lowercase(),
            _ => return Err(self.expected("a statement")),
        };
        if matches!(word.as_str(), "select" | "with" | "values" | "table") {
            return Ok(Statement::Query(self.query()?));
        }
        let at = self.here();
        self.parser.next_token();
        match word.as_str() {
            "create" => self.create(),
            "drop" => self.drop(),
            "comment" => self.comment(),
            "show" => Ok(Statement::Show(self.show()?)),
            "describe" | "desc" => {
                let _ = self.words(&["materialized", "view"]) || self.object_word().is_some();
                Ok(Statement::Describe(self.name("the name of a stream, view, source or sink")?))
            }
            "explain" => self.explain(),
            "subscribe" => {
                self.word("to");
                Ok(Statement::Subscribe(self.name("the name of a view or stream")?))
            }
            "insert" => self.insert(),
            "set" => self.set(),
            "reset" => self.reset(),
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" | "discard"
            | "deallocate" | "close" | "unlisten" | "listen" => self.acknowledge(&word),
            "update" | "delete" | "truncate" | "merge" => Err(Error::unsupported(format!(
                "{} is not offered: a stream keeps what was written",
                word.to_uppercase()
            ))
            .at(at)
            .hint("a materialized view can leave rows out or keep only the newest")),
            "alter" => self.alter(),
            "copy" => {
                Err(Error::unsupported("COPY is not offered").at(at).hint("use INSERT, or CREATE SOURCE for files"))
            }
            "grant" | "revoke" => Err(Error::unsupported("there are no permissions yet").at(at)),
            "prepare" | "execute" => Err(Error::unsupported("PREPARE and EXECUTE as SQL text are not offered")
                .at(at)
                .hint("clients prepare statements through the wire protocol")),
            _ => {
                let known = [
                    "select",
                    "with",
                    "values",
                    "table",
                    "create",
                    "alter",
                    "drop",
                    "comment",
                    "show",
                    "describe",
                    "explain",
                    "subscribe",
                    "insert",
                    "set",
                    "reset",
                    "begin",
                    "commit",
                    "rollback",
                ];
                let mut error = Error::input(format!("\"{}\" does not begin a statement", word.escape_debug())).at(at);
                if let Some(near) = crate::suggest::nearest(&word, known) {
                    error = error.hint(format!("did you mean {}?", near.to_uppercase()));
                }
                Err(error)
            }
        }
    }

    fn object_word(&mut self) -> Option<ObjectWord> {
        if self.words(&["materialized", "view"]) || self.word("view") {
            Some(ObjectWord::View)
        } else if self.word("stream") {
            Some(ObjectWord::Stream)
        } else if self.word("source") {
            Some(ObjectWord::Source)
        } else if self.word("sink") {
            Some(ObjectWord::Sink)
        } else if self.word("index") {
            Some(ObjectWord::Index)
        } else if self.word("table") {
            Some(ObjectWord::Table)
        } else {
            None
        }
    }

    fn drop(&mut self) -> Result<Statement> {
        let Some(word) = self.object_word() else {
            return Err(self.expected("STREAM, SOURCE, MATERIALIZED VIEW, SINK or INDEX after DROP"));
        };
        let if_exists = self.words(&["if", "exists"]);
        let mut names = vec![self.name("a name")?];
        while self.token(&Token::Comma) {
            names.push(self.name("a name")?);
        }
        let cascade = self.word("cascade");
        if !cascade {
            self.word("restrict");
        }
        Ok(Statement::Drop { word, if_exists, names, cascade })
    }

    fn comment(&mut self) -> Result<Statement> {
        self.expect_word("ON")?;
        let target = if self.word("column") {
            let at = self.here();
            let mut parts = vec![self.identifier("a name")?.0];
            while self.token(&Token::Period) {
                parts.push(self.identifier("a name")?.0);
            }
            let column = parts.pop().unwrap_or_default();
            if parts.is_empty() {
                return Err(Error::input("a column is named object.column").at(at));
            }
            CommentTarget::Column(super::name_of_parts(parts, at)?, column)
        } else {
            let Some(word) = self.object_word() else {
                return Err(self.expected("STREAM, SOURCE, MATERIALIZED VIEW, SINK, INDEX or COLUMN"));
            };
            CommentTarget::Object(word, self.name("a name")?)
        };
        self.expect_word("IS")?;
        let text = if self.word("null") { None } else { Some(self.string("the comment as a 'string', or NULL")?) };
        Ok(Statement::Comment { target, text })
    }

    fn show(&mut self) -> Result<Show> {
        let simple = [
            ("streams", Show::Streams),
            ("sources", Show::Sources),
            ("views", Show::Views),
            ("sinks", Show::Sinks),
            ("indexes", Show::Indexes),
            ("tables", Show::Tables),
            ("all", Show::All),
        ];
        for (word, show) in simple {
            if self.word(word) {
                return Ok(show);
            }
        }
        if self.words(&["materialized", "views"]) {
            return Ok(Show::Views);
        }
        if self.word("create") {
            self.object_word();
            return Ok(Show::Create(self.name("a name")?));
        }
        if self.words(&["transaction", "isolation", "level"]) {
            return Ok(Show::Setting("transaction_isolation".into()));
        }
        if self.words(&["time", "zone"]) {
            return Ok(Show::Setting("timezone".into()));
        }
        if self.words(&["session", "authorization"]) {
            return Ok(Show::Setting("session_authorization".into()));
        }
        Ok(Show::Setting(self.setting_name("STREAMS, VIEWS, SOURCES, SINKS, INDEXES, TABLES or a setting")?))
    }

    fn setting_name(&mut self, what: &str) -> Result<String> {
        let mut name = self.identifier(what)?.0.to_lowercase();
        while self.token(&Token::Period) {
            name = format!("{name}.{}", self.identifier("a setting")?.0.to_lowercase());
        }
        Ok(name)
    }

    fn explain(&mut self) -> Result<Statement> {
        let mut mode = ExplainMode::default();
        if self.parser.peek_token().token == Token::LParen && !self.begins_query(1) {
            self.explain_options(&mut mode)?;
        } else {
            loop {
                if self.word("analyze") {
                    mode.analyze = true;
                } else if self.word("verbose") {
                    mode.verbose = true;
                } else {
                    break;
                }
            }
        }
        if self.begins_query(0) {
            return Ok(Statement::Explain(mode, ExplainTarget::Query(self.query()?, self.emit_at.take().is_some())));
        }
        let at = self.here();
        if self.words(&["create"]) {
            let Statement::CreateView(view) = self.create()? else {
                let error = Error::unsupported("of CREATE only that of a materialized view can be explained").at(at);
                return Err(error.hint(CAN_BE_EXPLAINED));
            };
            if view.or_replace && mode == ExplainMode::default() {
                return Ok(Statement::Explain(mode, ExplainTarget::Replace(Box::new(view))));
            }
            return Ok(Statement::Explain(mode, ExplainTarget::Query(view.query, view.emit_on_close)));
        }
        let names_a_row = |token: &Token| matches!(token, Token::Word(_) | Token::LParen);
        if self.peek_word(0, "row") && names_a_row(&self.parser.peek_nth_token_ref(1).token) {
            return Ok(Statement::Explain(mode, ExplainTarget::Row(Box::new(self.explain_row()?))));
        }
        if self.peek_word(0, "alter") && (self.peek_word(1, "stream") || self.peek_word(1, "materialized")) {
            self.word("alter");
            return match self.alter()? {
                Statement::AlterStream { name, changes } => {
                    Ok(Statement::Explain(mode, ExplainTarget::Alter(name, changes)))
                }
                Statement::AlterView { name, change } => {
                    Ok(Statement::Explain(mode, ExplainTarget::AlterView(name, change)))
                }
                _ => {
                    Err(Error::input("of ALTER only changes of a stream's columns and of a view can be explained")
                        .at(at))
                }
            };
        }
        // What has one of these names and nothing after it is a view.
        let is_followed = matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_));
        if let Some(word) = OTHERS.iter().find(|word| is_followed && self.peek_word(0, word)) {
            let error = Error::unsupported(format!("{} cannot be explained", word.to_uppercase())).at(at);
            return Err(error.hint(CAN_BE_EXPLAINED));
        }
        let _ = self.words(&["materialized", "view"]) || self.word("view") || (is_followed && self.word("index"));
        Ok(Statement::Explain(mode, ExplainTarget::View(self.name("a query or a view's name")?)))
    }

    fn explain_row(&mut self) -> Result<ExplainRow> {
        self.expect_word("ROW")?;
        let (view, rows) = if self.token(&Token::LParen) {
            let view = self.name("a view's name")?;
            let mut key = vec![];
            while self.token(&Token::Comma) {
                key.push(self.sql(|p| p.parse_expr())?);
            }
            self.expect(&Token::RParen, "',' or ')'")?;
            (view, if key.is_empty() { RowsOf::All } else { RowsOf::Key(key) })
        } else {
            let view = self.name("a view's name")?;
            (
                view,
                if self.word("where") { RowsOf::Where(Box::new(self.sql(|p| p.parse_expr())?)) } else { RowsOf::All },
            )
        };
        let mut limit = None;
        if self.word("limit") {
            let at = self.here();
            let next = self.parser.next_token();
            let number = match &next.token {
                Token::Number(n, _) => n.parse::<usize>().ok(),
                _ => None,
            };
            limit = Some(number.ok_or_else(|| Error::input("LIMIT takes a whole number here").at(at))?);
        }
        Ok(ExplainRow { view, rows, limit })
    }

    /// `EXPLAIN (ANALYZE, VERBOSE off, FORMAT text, ...) ...` as PostgreSQL writes it.
    fn explain_options(&mut self, mode: &mut ExplainMode) -> Result<()> {
        self.expect(&Token::LParen, "'('")?;
        loop {
            let (name, at) = self.identifier("an option of EXPLAIN")?;
            let mut on = true;
            if !matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
                let value = self.parser.next_token();
                on = !matches!(value.token.to_string().to_lowercase().as_str(), "off" | "false" | "0");
            }
            match name.as_str() {
                "analyze" => mode.analyze = on,
                "verbose" => mode.verbose = on,
                "format" | "costs" | "timing" | "summary" | "buffers" | "settings" | "wal" => {}
                _ => return Err(Error::input(format!("EXPLAIN has no option \"{name}\"")).at(at)),
            }
            if !self.token(&Token::Comma) {
                return self.expect(&Token::RParen, "',' or ')'");
            }
        }
    }

    fn begins_query(&self, n: usize) -> bool {
        match &self.parser.peek_nth_token_ref(n).token {
            Token::LParen => true,
            Token::Word(w) => {
                matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE)
                    && w.quote_style.is_none()
            }
            _ => false,
        }
    }

    fn insert(&mut self) -> Result<Statement> {
        let at = self.here();
        self.parser.prev_token();
        let token = self.parser.next_token();
        let ast::Statement::Insert(insert) = self.sql(|p| p.parse_insert(token))? else {
            return Err(Error::input("expected INSERT INTO stream").at(at));
        };
        let refuse = |what: &str| Err(Error::unsupported(format!("INSERT with {what} is not offered")).at(at.clone()));
        if insert.on.is_some() || insert.or.is_some() {
            return refuse("ON CONFLICT");
        }
        if insert.returning.is_some() {
            return refuse("RETURNING");
        }
        if insert.overwrite || insert.replace_into || insert.partitioned.is_some() || !insert.assignments.is_empty() {
            return refuse("these clauses");
        }
        let TableObject::TableName(object) = &insert.table else {
            return refuse("a table function");
        };
        let into: Name = name_of(object)?;
        let columns = insert
            .columns
            .iter()
            .map(|c| match c.0.as_slice() {
                [ast::ObjectNamePart::Identifier(i)] => Ok(i.clone()),
                _ => Err(Error::input(format!("\"{c}\" is not a column of the stream")).at(at.clone())),
            })
            .collect::<Result<Vec<_>>>()?;
        let Some(source) = insert.source else {
            return refuse("DEFAULT VALUES");
        };
        Ok(Statement::Insert { into, columns, source })
    }

    fn set(&mut self) -> Result<Statement> {
        if self.words(&["session", "characteristics"]) || self.peek_word(0, "transaction") || self.word("constraints") {
            self.rest();
            return Ok(Statement::Acknowledge("SET".into()));
        }
        let _ = self.word("session") || self.word("local");
        if self.peek_word(0, "transaction") {
            self.rest();
            return Ok(Statement::Acknowledge("SET".into()));
        }
        if self.word("names") {
            return Ok(Statement::Set { name: "client_encoding".into(), value: Some(self.setting_value()?) });
        }
        if self.words(&["time", "zone"]) {
            let value = if self.word("default") || self.word("local") { None } else { Some(self.setting_value()?) };
            return Ok(Statement::Set { name: "timezone".into(), value });
        }
        let name = self.setting_name("a setting")?;
        if !self.word("to") {
            self.expect(&Token::Eq, "TO or '='")?;
        }
        let value = if self.word("default") { None } else { Some(self.setting_value()?) };
        Ok(Statement::Set { name, value })
    }

    /// One or more values with commas, as text.
    fn setting_value(&mut self) -> Result<String> {
        let mut out = String::new();
        loop {
            let next = self.parser.peek_token();
            match next.token {
                Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => out.push_str(&s),
                Token::Word(w) => out.push_str(&w.value),
                Token::Number(n, _) => out.push_str(&n),
                Token::Minus => {
                    out.push('-');
                    self.parser.next_token();
                    continue;
                }
                _ => return Err(self.expected("a value")),
            }
            self.parser.next_token();
            if !self.token(&Token::Comma) {
                return Ok(out);
            }
            out.push_str(", ");
        }
    }

    fn reset(&mut self) -> Result<Statement> {
        if self.word("all") {
            return Ok(Statement::Reset(None));
        }
        if self.words(&["time", "zone"]) {
            return Ok(Statement::Reset(Some("timezone".into())));
        }
        Ok(Statement::Reset(Some(self.setting_name("a setting or ALL")?)))
    }

    /// Transactions and what clients send to clean up: read, answered, without effect.
    fn acknowledge(&mut self, word: &str) -> Result<Statement> {
        let tag = match word {
            "begin" => "BEGIN".into(),
            "start" => {
                self.expect_word("TRANSACTION")?;
                "START TRANSACTION".into()
            }
            "commit" | "end" => "COMMIT".into(),
            "rollback" | "abort" => "ROLLBACK".into(),
            "discard" => format!("DISCARD {}", self.identifier("ALL")?.0.to_uppercase()),
            "close" if self.peek_word(0, "all") => "CLOSE CURSOR ALL".into(),
            "close" => "CLOSE CURSOR".into(),
            "deallocate" if self.peek_word(0, "all") => "DEALLOCATE ALL".into(),
            other => other.to_uppercase(),
        };
        self.rest();
        Ok(Statement::Acknowledge(tag))
    }

    fn rest(&mut self) {
        while self.parser.next_token().token != Token::EOF {}
    }
}
