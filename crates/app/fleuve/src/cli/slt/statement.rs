//! What is no query: statements, errors, commands, variables.

use std::borrow::Cow;

use fleuve_types::{Error, ErrorKind, Result};

use super::external::External;
use super::foreign::{Here, created};
use super::message::{Fit, Message};
use super::parse::{Record, Wanted};
use super::run::{End, Runner, Tries, Way};
use super::shell;

impl Runner<'_> {
    /// All but a query, tried as often as the record says. Of a table, `create` makes the stream and `fill` brings its rows.
    pub(super) async fn statement(&mut self, record: &Record, create: bool, fill: bool) -> End {
        let record = match self.filled(record) {
            Ok(record) => record,
            Err(end) => return end,
        };
        let mut tries = Tries::new(&record);
        loop {
            let end = self.tried(&record, create, fill).await;
            if tries.are_over(&end).await {
                return end;
            }
        }
    }

    async fn tried(&mut self, record: &Record, create: bool, fill: bool) -> End {
        match &record.wanted {
            Wanted::Done(count) => self.done(record, *count, create, fill).await,
            Wanted::Failure(message) => self.fails(record, message).await,
            Wanted::Pause(time) => {
                tokio::time::sleep(*time).await;
                End::Passed
            }
            Wanted::System(output) => self.system(record, output.as_deref()).await,
            Wanted::Variables(names) => self.bind(record, names).await,
            Wanted::Unknown(why) => End::Skipped(why.clone()),
            Wanted::Wrong(why) => End::Failed(why.clone()),
            Wanted::Rows(_) => End::Passed,
        }
    }

    async fn done(&mut self, record: &Record, count: Option<u64>, create: bool, fill: bool) -> End {
        let here = self.database.here(&record.sql, self.way == Way::Before);
        if create && let Some(Err(e)) = here.replaced().map(|name| self.database.to_drop(name)) {
            return End::Failed(e.to_string());
        }
        let sql = match here {
            Here::Missing { reason, name } => {
                self.missing.extend(name);
                return End::Skipped(reason);
            }
            Here::Table { name, columns, query, drop } => {
                let is_filled_later = query.is_some() && !fill;
                match self.table(&name, columns, query.as_deref(), drop, (create, fill)).await {
                    Ok(found) => {
                        self.is_made(&name, create);
                        return if is_filled_later { End::Passed } else { counted(found, count) };
                    }
                    Err(e) => {
                        self.missing.insert(name);
                        let word = self.database.table_word().to_lowercase();
                        return End::Skipped(format!("CREATE TABLE as a {word}: {}", e.message));
                    }
                }
            }
            Here::External(table) => match self.external(&table, create, fill).await {
                Ok(found) => {
                    self.is_made(&table.name, create);
                    return if fill { counted(found, count) } else { End::Passed };
                }
                Err(e) => {
                    self.missing.insert(table.name);
                    let hint = if e.kind == ErrorKind::NotFound { " (--data DIR says where it is)" } else { "" };
                    return End::Skipped(format!("CREATE EXTERNAL TABLE: {}{hint}", e.message));
                }
            },
            Here::Copy { sql, file } => {
                let file = self.options.data.join(file);
                return match self.database.copy(record.connection.as_ref(), &sql, &file).await {
                    Ok(answer) => counted(answer.count, count),
                    Err(e) => self.failed(record, "it failed", &e),
                };
            }
            _ if !create => return End::Passed,
            Here::Instead(sql) => Cow::Owned(sql),
            Here::Same => Cow::Borrowed(&record.sql),
        };
        match self.database.run_on(record.connection.as_ref(), &sql).await {
            Err(e) => self.failed(record, "it failed", &e),
            Ok(answer) => {
                if let Some(name) = created(&record.sql) {
                    self.is_made(&name, true);
                }
                counted(answer.count, count)
            }
        }
    }

    /// What has been `made` under a name is missing no longer.
    fn is_made(&mut self, name: &str, made: bool) {
        let bare = |name: &str| name.trim_matches('"').to_ascii_lowercase();
        self.missing.retain(|missing| !made || bare(missing) != bare(name));
    }

    /// A statement that is to fail. If it is none of the server's, it is what the server has for it that is to fail.
    async fn fails(&mut self, record: &Record, message: &Message) -> End {
        let said = match self.database.run_on(record.connection.as_ref(), &record.sql).await {
            Ok(_) => return End::Failed("it works, and should not".into()),
            Err(e) => e,
        };
        let other = match (message.fits(&said), self.database.here(&record.sql, false)) {
            (Fit::Yes, _) => return End::Passed,
            (_, Here::Same | Here::Copy { .. }) => Err(said),
            (_, Here::Missing { reason, .. }) => return End::Skipped(reason),
            (_, Here::External(table)) => match table.columns(&self.options.data, self.database.type_name()) {
                Ok(_) => self.external(&table, true, true).await.map(drop),
                Err(e) => return End::Skipped(format!("CREATE EXTERNAL TABLE: {}", e.message)),
            },
            (_, Here::Table { name, columns, query, drop: replace }) => {
                self.table(&name, columns, query.as_deref(), replace, (true, true)).await.map(drop)
            }
            (_, Here::Instead(sql)) => self.database.run_on(record.connection.as_ref(), &sql).await.map(drop),
        };
        let Err(said) = other else { return End::Failed("it works, and should not".into()) };
        match message.fits(&said) {
            Fit::Yes => End::Passed,
            Fit::Unknown if !self.options.strict_errors => {
                self.tally.uncompared += 1;
                End::Passed
            }
            Fit::No | Fit::Unknown => {
                self.failed(record, &format!("another error is wanted: {message:?}; this is"), &said)
            }
        }
    }

    async fn system(&mut self, record: &Record, output: Option<&str>) -> End {
        if !self.options.system {
            return End::Skipped("a command of the shell (--allow-system runs them)".into());
        }
        let variables = if record.substituted { self.variables.all() } else { vec![] };
        match (shell::run(record.sql.clone(), variables).await, output) {
            (Err(e), _) => End::Failed(format!("the command failed: {}", e.message)),
            (Ok(found), Some(wanted)) if found.trim() != wanted.trim() => {
                End::Failed(format!("the command wrote:\n{}\n    and this is wanted:\n{wanted}", found.trim()))
            }
            _ => End::Passed,
        }
    }

    async fn bind(&mut self, record: &Record, names: &[String]) -> End {
        let answer = match self.database.run_on(record.connection.as_ref(), &record.sql).await {
            Ok(answer) => answer,
            Err(e) => return self.failed(record, "the query failed", &e),
        };
        match answer.rows.as_slice() {
            [row] if row.len() == names.len() => {
                names.iter().zip(row).for_each(|(name, value)| self.variables.bind(name, value.clone()));
                End::Passed
            }
            rows => End::Failed(format!(
                "let wants one row with a value for each of {}; the query gives {} rows of {} columns",
                names.join(", "),
                rows.len(),
                answer.kinds.len()
            )),
        }
    }

    /// The stream and its rows; how many these are, if it has some and they are filled in.
    async fn table(
        &mut self,
        name: &str,
        columns: Option<String>,
        query: Option<&str>,
        drop: bool,
        (create, fill): (bool, bool),
    ) -> Result<Option<u64>> {
        if create {
            let columns = match (columns, query) {
                (Some(columns), _) => format!("({columns})"),
                (None, Some(query)) => self.database.columns(query).await?,
                (None, None) => return Err(Error::input("a stream without columns")),
            };
            self.create(name, &columns, false, drop).await?;
        }
        if let (true, Some(query)) = (fill, query) {
            return Ok(self.database.run(&format!("INSERT INTO {name} {query}")).await?.count);
        }
        Ok(None)
    }

    /// A table whose rows are in files; how many these are, if it is told.
    async fn external(&mut self, table: &External, create: bool, fill: bool) -> Result<Option<u64>> {
        let (folder, type_name) = (&self.options.data, self.database.type_name());
        if create {
            let columns = table.columns(folder, type_name)?;
            self.create(&table.name, &format!("({columns})"), table.if_not_exists, table.or_replace).await?;
        }
        let mut count = Some(0);
        if fill {
            for statement in table.inserts(folder, type_name)? {
                let more = self.database.run(&statement?).await?.count;
                count = count.zip(more).map(|(count, more)| count + more);
            }
        }
        Ok(count)
    }

    async fn create(&mut self, name: &str, columns: &str, if_not_exists: bool, drop: bool) -> Result<()> {
        let (word, options) = (self.database.table_word(), self.database.table_options());
        if drop {
            let dropped = self.database.to_drop(name)?;
            self.drop_views().await?;
            self.database.run(&format!("DROP {word} IF EXISTS {dropped} CASCADE")).await?;
        }
        let unless = if if_not_exists { "IF NOT EXISTS " } else { "" };
        self.database.run(&format!("CREATE {word} {unless}{name} {columns}{options}")).await?;
        Ok(())
    }
}

/// Whether a statement was about as many rows as the record wants, where that is known.
fn counted(found: Option<u64>, wanted: Option<u64>) -> End {
    match (found, wanted) {
        (_, None) => End::Passed,
        (Some(found), Some(wanted)) if found == wanted => End::Passed,
        (Some(found), Some(wanted)) => End::Failed(format!("it is about {found} rows, {wanted} are wanted")),
        (None, Some(_)) => End::Skipped("'statement count' of a statement that tells no number of rows".into()),
    }
}
