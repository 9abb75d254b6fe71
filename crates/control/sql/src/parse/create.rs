//! `CREATE ...`

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};
use datafusion::sql::sqlparser::tokenizer::Token;
use fleuve_types::{Error, Location, Result};

use super::{
    ColumnSpec, CreateIndex, CreateSink, CreateSource, CreateStream, CreateView, Name, OptionEntry, OptionValue,
    Options, Statement, StatementParser, ViewQuery, WatermarkClause, duration_us, limits, place,
};

/// Most columns of a stream.
const MAX_COLUMNS: usize = 1000;

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        let or_replace_at = self.here();
        let or_replace = self.words(&["or", "replace"]);
        if self.word("materialized") {
            self.expect_word("VIEW")?;
            return self.create_view(or_replace);
        }
        if or_replace {
            return Err(Error::unsupported("OR REPLACE is offered for materialized views only").at(or_replace_at));
        }
        let at = self.here();
        if self.word("stream") {
            self.create_stream()
        } else if self.word("source") {
            self.create_source()
        } else if self.word("sink") {
            self.create_sink()
        } else if self.word("index") {
            self.create_index()
        } else if self.words(&["unique", "index"]) {
            let error = Error::unsupported("an index is not unique: a stream keeps every row").at(at);
            Err(error.hint("a materialized view with GROUP BY has one row per key, and an index by it already"))
        } else if self.word("view") {
            Err(Error::unsupported("plain views are not offered").at(at).hint("use CREATE MATERIALIZED VIEW"))
        } else if self.word("table") {
            Err(Error::unsupported("tables come in a later version")
                .at(at)
                .hint("use CREATE STREAM for data that arrives"))
        } else {
            Err(self.expected("STREAM, SOURCE, MATERIALIZED VIEW, SINK or INDEX after CREATE"))
        }
    }

    fn create_index(&mut self) -> Result<Statement> {
        // All are made so.
        self.word("concurrently");
        let if_not_exists = self.if_not_exists();
        let name = if !if_not_exists && self.peek_word(0, "on") { None } else { Some(self.name("the index's name")?) };
        self.expect_word("ON")?;
        let on = self.name("a stream or view")?;
        if self.peek_word(0, "using") {
            let error = Error::unsupported("USING is not offered for an index").at(self.here());
            return Err(error.hint("there is one kind of index: leave USING and the word after it out"));
        }
        let columns = self.column_names()?;
        let include = if self.word("include") { Some(self.column_names()?) } else { None };
        if columns.is_empty() {
            return Err(Error::input("an index is by at least one column").at(on.at));
        }
        let is_named = name.is_some();
        let name = match name {
            Some(name) if name.namespace.is_some() && name.namespace() != on.namespace() => {
                return Err(Error::input("an index is in the namespace of what it is of").at(name.at));
            }
            Some(name) => Name { namespace: on.namespace.clone(), ..name },
            None => {
                let list: Vec<&str> = columns.iter().map(|(c, _)| c.as_str()).collect();
                Name { name: format!("{}_{}_idx", on.name, list.join("_")), ..on.clone() }
            }
        };
        Ok(Statement::CreateIndex(CreateIndex { if_not_exists, name, is_named, on, columns, include }))
    }

    /// Names of columns in brackets.
    fn column_names(&mut self) -> Result<Vec<(String, Location)>> {
        self.expect(&Token::LParen, "'('")?;
        let mut columns = vec![];
        if self.token(&Token::RParen) {
            return Ok(columns);
        }
        loop {
            columns.push(self.identifier("the name of a column")?);
            if columns.len() > MAX_COLUMNS {
                let message = format!("an index holds at most {MAX_COLUMNS} columns");
                return Err(Error::new(fleuve_types::ErrorKind::Limit, message).at(self.here()));
            }
            if !self.token(&Token::Comma) {
                break;
            }
        }
        let computed =
            "an index is by columns; of what is computed make a view with that as a column, and the index of it";
        self.expect(&Token::RParen, "',' or ')'").map_err(|e| e.hint(computed))?;
        Ok(columns)
    }

    fn create_stream(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name("the stream's name")?;
        let mut stream =
            CreateStream { if_not_exists, name, columns: None, watermark: None, checks: vec![], options: vec![] };
        if self.token(&Token::LParen) {
            loop {
                self.stream_item(&mut stream)?;
                if !self.token(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen, "',' or ')'")?;
        }
        stream.options = self.options()?;
        Ok(Statement::CreateStream(stream))
    }

    /// A column, `WATERMARK FOR ...`, or `[CONSTRAINT name] CHECK (...)`.
    fn stream_item(&mut self, stream: &mut CreateStream) -> Result<()> {
        let at = self.here();
        if self.peek_word(0, "watermark") && self.peek_word(1, "for") {
            let clause = self.watermark()?;
            if stream.watermark.is_some() {
                return Err(Error::input("a stream has one watermark").at(at));
            }
            stream.watermark = Some(clause);
            return Ok(());
        }
        if self.word("constraint") {
            self.identifier("the constraint's name")?;
            if !self.peek_word(0, "check") {
                return Err(self.expected("CHECK"));
            }
        }
        if self.peek_word(0, "primary") || self.peek_word(0, "unique") || self.peek_word(0, "foreign") {
            return Err(Error::unsupported("a stream has no keys: it keeps every record")
                .at(at)
                .hint("a materialized view with GROUP BY has one row per key"));
        }
        if self.word("check") {
            self.expect(&Token::LParen, "'('")?;
            let at = self.here();
            let check = self.sql(|p| p.parse_expr())?;
            self.expect(&Token::RParen, "')'")?;
            stream.checks.push((check, at));
            return Ok(());
        }
        let column = self.column(stream)?;
        let columns = stream.columns.get_or_insert_default();
        if columns.len() == MAX_COLUMNS {
            return Err(Error::new(
                fleuve_types::ErrorKind::Limit,
                format!("a stream has at most {MAX_COLUMNS} columns"),
            )
            .at(at));
        }
        if columns.iter().any(|c| c.name == column.name) {
            return Err(Error::input(format!("column \"{}\" is declared twice", column.name)).at(column.at));
        }
        columns.push(column);
        Ok(())
    }

    pub(super) fn column(&mut self, stream: &mut CreateStream) -> Result<ColumnSpec> {
        let (name, at) = self.identifier("a column, WATERMARK FOR or CHECK")?;
        let data_type = self.data_type(0)?;
        let mut nullable = true;
        loop {
            let here = self.here();
            if self.words(&["not", "null"]) {
                nullable = false;
            } else if self.word("null") {
                nullable = true;
            } else if self.word("check") {
                self.expect(&Token::LParen, "'('")?;
                let at = self.here();
                let check = self.sql(|p| p.parse_expr())?;
                self.expect(&Token::RParen, "')'")?;
                stream.checks.push((check, at));
            } else if self.peek_word(0, "default") || self.peek_word(0, "generated") {
                return Err(Error::unsupported("columns of a stream have no default").at(here));
            } else if self.peek_word(0, "primary") || self.peek_word(0, "unique") || self.peek_word(0, "references") {
                return Err(Error::unsupported("a stream has no keys: it keeps every record")
                    .at(here)
                    .hint("a materialized view with GROUP BY has one row per key"));
            } else {
                return Ok(ColumnSpec { name, data_type, nullable, at });
            }
        }
    }

    fn watermark(&mut self) -> Result<WatermarkClause> {
        let at = self.here();
        self.expect_word("WATERMARK")?;
        self.expect_word("FOR")?;
        let (column, _) = self.identifier("the event-time column")?;
        self.expect_word("AS")?;
        let expr_at = self.here();
        let expr = self.sql(|p| p.parse_expr())?;
        let delay_us = watermark_delay(&column, &expr).ok_or_else(|| {
            Error::input(format!("a watermark is {column} or {column} - INTERVAL '...'"))
                .at(expr_at)
                .hint(format!("for instance WATERMARK FOR {column} AS {column} - INTERVAL '5 seconds'"))
        })?;
        Ok(WatermarkClause { column, delay_us, at })
    }

    fn create_source(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name("the source's name")?;
        if self.parser.peek_token().token == Token::LParen {
            return Err(Error::unsupported("a source has no columns of its own")
                .at(self.here())
                .hint("declare them with CREATE STREAM, then CREATE SOURCE name INTO stream WITH (...)"));
        }
        self.expect_word("INTO")?;
        let into = self.name("the stream's name")?;
        let options = self.options()?;
        Ok(Statement::CreateSource(CreateSource { if_not_exists, name, into, options }))
    }

    fn create_sink(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name("the sink's name")?;
        self.expect_word("FROM")?;
        let from = self.name("the view's name")?;
        if self.peek_word(0, "with") {
            return Err(Error::unsupported("sinks into other systems come in a later version")
                .at(self.here())
                .hint("CREATE SINK name FROM view INTO stream gives a stream that any Kafka client reads"));
        }
        self.expect_word("INTO")?;
        let into = self.name("the stream's name")?;
        let options = self.options()?;
        Ok(Statement::CreateSink(CreateSink { if_not_exists, name, from, into, options }))
    }

    fn create_view(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name("the view's name")?;
        let mut columns = Vec::new();
        if self.token(&Token::LParen) {
            loop {
                let (column, at) = self.identifier("a column's name")?;
                columns.push((column, at));
                if !self.token(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen, "',' or ')'")?;
        }
        let options = self.options()?;
        let ViewQuery { query, text, emit_on_close, on_error } = self.view_query()?;
        Ok(Statement::CreateView(CreateView {
            or_replace,
            if_not_exists,
            name,
            columns,
            options,
            query,
            query_text: text,
            emit_on_close,
            on_error: on_error.unwrap_or_default(),
        }))
    }

    /// A view's query, and what stands behind it.
    pub(super) fn view_query(&mut self) -> Result<ViewQuery> {
        self.expect_word("AS")?;
        let from = self.parser.peek_token().span.start;
        let query = self.query()?;
        let to = self.parser.get_current_token().span.end;
        let at = self.here();
        if self.words(&["with", "no", "data"]) {
            return Err(Error::unsupported("a view always holds its data").at(at));
        }
        self.words(&["with", "data"]);
        let text = self.places.slice(from, to).to_string();
        let emit_on_close = self.emit_at.take().is_some();
        let on_error = self.on_error.take().map(|(policy, _)| policy);
        Ok(ViewQuery { query, text, emit_on_close, on_error })
    }

    /// `WITH (key = value, ...)`, or nothing.
    pub(super) fn options(&mut self) -> Result<Options> {
        if self.word("with") { self.option_list() } else { Ok(vec![]) }
    }

    /// `(key = value, ...)`
    pub(super) fn option_list(&mut self) -> Result<Options> {
        let mut out: Options = Vec::new();
        self.expect(&Token::LParen, "'('")?;
        if self.token(&Token::RParen) {
            return Ok(out);
        }
        loop {
            let (key, at) = self.option_key()?;
            self.expect(&Token::Eq, "'='")?;
            let value = self.option_value()?;
            if out.iter().any(|o| o.key == key) {
                return Err(Error::input(format!("option \"{key}\" is given twice")).at(at));
            }
            out.push(OptionEntry { key, value, at });
            if !self.token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen, "',' or ')'")?;
        Ok(out)
    }

    pub(super) fn option_key(&mut self) -> Result<(String, Location)> {
        let next = self.parser.peek_token();
        if let Token::SingleQuotedString(s) = next.token {
            self.parser.next_token();
            return Ok((s.to_lowercase(), place(next.span.start)));
        }
        let (mut key, at) = self.identifier("an option")?;
        while self.token(&Token::Period) {
            key = limits::check_name(format!("{key}.{}", self.identifier("an option")?.0), at.clone())?;
        }
        Ok((key.to_lowercase(), at))
    }

    fn option_value(&mut self) -> Result<OptionValue> {
        let next = self.parser.peek_token();
        let value = match next.token {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => OptionValue::Text(s),
            Token::DollarQuotedString(s) => OptionValue::Text(s.value),
            Token::Number(n, _) => OptionValue::Number(n),
            Token::Minus => {
                self.parser.next_token();
                match self.parser.peek_token().token {
                    Token::Number(n, _) => OptionValue::Number(format!("-{n}")),
                    _ => return Err(self.expected("a number")),
                }
            }
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("true") => {
                OptionValue::Boolean(true)
            }
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("false") => {
                OptionValue::Boolean(false)
            }
            Token::Word(w) => OptionValue::Text(if w.quote_style.is_some() { w.value } else { w.value.to_lowercase() }),
            _ => return Err(self.expected("a value")),
        };
        self.parser.next_token();
        Ok(value)
    }
}

/// The delay of `column - INTERVAL '...'` or of `column`.
fn watermark_delay(column: &str, expr: &Expr) -> Option<i64> {
    let is_column = |e: &Expr| match e {
        Expr::Identifier(i) => column == if i.quote_style.is_some() { i.value.clone() } else { i.value.to_lowercase() },
        _ => false,
    };
    match expr {
        Expr::Nested(inner) => watermark_delay(column, inner),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            interval_us(right).filter(|us| *us >= 0)
        }
        other => is_column(other).then_some(0),
    }
}

/// The length of an `INTERVAL` literal in microseconds.
fn interval_us(expr: &Expr) -> Option<i64> {
    let Expr::Interval(interval) = expr else { return None };
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let (Value::SingleQuotedString(text) | Value::Number(text, _)) = &value.value else { return None };
    match &interval.leading_field {
        Some(unit) => duration_us(&format!("{text} {unit}")),
        None => duration_us(text),
    }
}
