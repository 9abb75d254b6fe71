//! The prompt.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fleuve_types::{Error, Result};
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal, ValidationResult, Validator,
    default_emacs_keybindings,
};

use super::complete::{Names, SqlCompleter};
use super::highlight::SqlHighlighter;
use super::meta::{self, Meta};
use super::split::{first_word, split};
use super::{Reply, ask, subscribed, table_style};
use crate::cli::args::ChangeFormat;
use crate::cli::http::Server;
use crate::cli::render;
use crate::cli::subscription::{Step, Subscription, change_line};
use crate::cli::term::{Paint, print_error};

const HISTORY_LINES: usize = 10_000;
const MENU: &str = "completion";

/// What the prompt remembers while it is open.
struct State {
    server: Server,
    names: Arc<Mutex<Names>>,
    expanded: bool,
    timing: bool,
}

/// Reads and runs statements until the user leaves.
pub(super) async fn run(server: Server) -> Result<ExitCode> {
    // Fails early and clearly when nobody is there.
    let version = ask(&server, "SELECT version()").await;
    if let Err(error) = &version
        && error.kind == fleuve_types::ErrorKind::Retry
    {
        return Err(error.clone());
    }
    let names = Arc::new(Mutex::new(Names::fetch(&server).await));
    let mut editor = editor(names.clone())?;
    println!("fleuve {} at {}. \\? for help.", env!("CARGO_PKG_VERSION"), server.url());
    let mut state = State { server, names, expanded: false, timing: false };
    loop {
        match editor.read_line(&SqlPrompt) {
            Ok(Signal::Success(line)) if line.trim_start().starts_with('\\') => match state.meta(&line).await {
                true => {}
                false => return Ok(ExitCode::SUCCESS),
            },
            Ok(Signal::Success(text)) => state.statements(&text).await,
            Ok(Signal::CtrlC) => {}
            Ok(Signal::CtrlD) => return Ok(ExitCode::SUCCESS),
            Err(e) => return Err(Error::io("cannot read from the terminal", e)),
        }
    }
}

impl State {
    /// Runs a backslash command; false when it is time to leave.
    async fn meta(&mut self, line: &str) -> bool {
        let on = |b: bool| if b { "on" } else { "off" };
        match meta::parse(line) {
            Meta::Quit => return false,
            Meta::Help => println!("{}", meta::HELP),
            Meta::Expanded => {
                self.expanded = !self.expanded;
                println!("One line per column is {}.", on(self.expanded));
            }
            Meta::Timing => {
                self.timing = !self.timing;
                println!("Timing is {}.", on(self.timing));
            }
            Meta::Unknown(command) => println!("There is no command {command}; \\? lists them."),
            Meta::Show(queries) => {
                let headings = queries.len() > 1;
                for (heading, sql) in queries {
                    if headings {
                        println!("{}", Paint::stdout().bold(heading));
                    }
                    self.statement(&sql).await;
                }
            }
        }
        true
    }

    async fn statements(&mut self, text: &str) {
        let parts = split(text);
        for statement in parts.complete.iter().copied().chain(parts.rest) {
            if !self.statement(statement).await {
                return;
            }
        }
    }

    /// Runs one statement and shows what came of it; false when it failed or was cancelled.
    async fn statement(&mut self, sql: &str) -> bool {
        let begun = Instant::now();
        let work = async {
            match subscribed(sql) {
                Some(name) => self.follow(&name).await,
                None => ask(&self.server, sql).await.map(|replies| replies.iter().for_each(|r| self.show(r))),
            }
        };
        let is_change = matches!(first_word(sql).as_str(), "CREATE" | "DROP" | "ALTER");
        // Dropping the request closes its connection, and the server drops the query. Changes it carries through.
        let outcome = tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => {
                let told = if is_change {
                    "Not waited for any longer; the server goes on with it. SHOW VIEWS says how far a view is, and dropping it ends its build."
                } else {
                    "Cancelled."
                };
                println!("\n{told}");
                return false;
            }
        };
        if let Err(error) = outcome {
            show_error(sql, &error);
            return false;
        }
        if self.timing {
            println!("{}", Paint::stdout().dim(&format!("Time: {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0)));
        }
        if is_change {
            let names = Names::fetch(&self.server).await;
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        }
        true
    }

    fn show(&self, reply: &Reply) {
        let (Reply::Rows(_, notices) | Reply::Done { notices, .. }) = reply;
        notices.iter().for_each(|notice| println!("notice: {notice}"));
        match reply {
            Reply::Rows(rows, _) if self.expanded => print!("{}", render::expanded(rows, Paint::stdout())),
            Reply::Rows(rows, _) => print!("{}", render::shown(rows, table_style())),
            Reply::Done { tag, .. } => println!("{tag}"),
        }
    }

    async fn follow(&self, name: &str) -> Result<()> {
        let mut subscription = Subscription::open(&self.server, name).await?;
        println!("{}", Paint::stdout().dim("epoch, + or -, row; Ctrl-C ends it"));
        while let Some(step) = subscription.next().await? {
            if let Step::Change(change) = step {
                println!("{}", change_line(&subscription.columns, &change, ChangeFormat::Text));
            }
        }
        Ok(())
    }
}

/// The error under the line it is about, with a mark at the column.
fn show_error(sql: &str, error: &Error) {
    let Some(location) = &error.location else { return print_error(error) };
    let line = usize::try_from(location.line).ok().and_then(|n| sql.lines().nth(n.checked_sub(1)?));
    let mut shown = error.clone();
    if let Some(line) = line {
        let column = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
        let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        eprintln!("  {line}\n  {indent}{}", Paint::stderr().red("^"));
        if !sql.contains('\n') {
            shown.location = None;
        }
    }
    print_error(&shown);
}

fn editor(names: Arc<Mutex<Names>>) -> Result<Reedline> {
    let mut keys = default_emacs_keybindings();
    let next = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.into()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, next);
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, ReedlineEvent::Edit(vec![EditCommand::InsertNewline]));
    let editor = Reedline::create()
        .with_completer(Box::new(SqlCompleter::new(names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
        .with_partial_completions(true)
        .with_quick_completions(true)
        .with_validator(Box::new(StatementEnd))
        .with_highlighter(Box::new(SqlHighlighter))
        .with_hinter(Box::new(DefaultHinter::default().with_style(nu_ansi_term::Style::new().dimmed())))
        .with_edit_mode(Box::new(Emacs::new(keys)));
    let Some(path) = history_file() else { return Ok(editor) };
    let history = FileBackedHistory::with_file(HISTORY_LINES, path.clone())
        .map_err(|e| Error::io(format!("cannot use the history file {}", path.display()), e))?;
    Ok(editor.with_history(Box::new(history)))
}

/// `FLEUVE_HISTORY`, else a file where such files live.
fn history_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let path = variable("FLEUVE_HISTORY").or_else(|| {
        let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
        Some(state.join("fleuve/history"))
    })?;
    std::fs::create_dir_all(path.parent()?).ok()?;
    Some(path)
}

/// Enter runs what is complete and goes on to the next line otherwise.
struct StatementEnd;

impl Validator for StatementEnd {
    fn validate(&self, line: &str) -> ValidationResult {
        match line.trim_start().starts_with('\\') || split(line).rest.is_none() {
            true => ValidationResult::Complete,
            false => ValidationResult::Incomplete,
        }
    }
}

struct SqlPrompt;

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("fleuve")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("     -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}
