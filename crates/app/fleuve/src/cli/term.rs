//! Writing to a terminal, or to whatever stands in for it.

use std::io::{self, IsTerminal, Write};

use fleuve_types::{Error, Result};

/// Styles, empty when nobody would see them.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output.
    pub fn stdout() -> Self {
        Self { on: wants_colour(io::stdout().is_terminal()) }
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self { on: wants_colour(io::stderr().is_terminal()) }
    }

    /// Never any style.
    pub fn none() -> Self {
        Self { on: false }
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// Marks what has just changed.
    pub fn changed(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self.on && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

fn wants_colour(terminal: bool) -> bool {
    terminal
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var("TERM").as_deref() != Ok("dumb")
}

/// One line on standard error, and the hint if there is one.
pub fn print_error(error: &Error) {
    let paint = Paint::stderr();
    let place = error.location.as_ref().map(|l| format!("{l}: ")).unwrap_or_default();
    let hint = error.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{} {place}{}{hint}", paint.red("error:"), error.message);
}

/// Standard output, for whoever writes much.
pub struct Out {
    inner: io::BufWriter<io::Stdout>,
}

impl Out {
    pub fn new() -> Self {
        Self { inner: io::BufWriter::new(io::stdout()) }
    }

    pub fn line(&mut self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes).map_err(output_error)
    }

    pub fn flush(&mut self) -> Result<()> {
        self.inner.flush().map_err(output_error)
    }
}

/// Whoever read our output stopped doing so: that is no error (`fleuve watch v | head`).
fn output_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Error::io("cannot write the output", error)
}

/// `println!` panics when its reader is gone; this makes that end quiet too.
pub fn quiet_broken_pipe() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        default(info);
    }));
}

/// The columns and lines of the terminal.
pub fn size() -> (usize, usize) {
    match crossterm::terminal::size() {
        Ok((columns, lines)) if columns > 0 && lines > 0 => (columns.into(), lines.into()),
        _ => (100, 30),
    }
}
