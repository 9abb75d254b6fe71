//! The terminal while views are drawn on it.

use std::io::{self, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use fleuve_types::{Error, Result};

use super::pane::Pane;
use crate::cli::render::{TableStyle, fit, table};
use crate::cli::term::{self, Paint};

/// A pane's lines besides its rows: title, three lines of frame, the header.
const FRAME_LINES: usize = 5;
/// The last line stays empty, so that nothing scrolls.
const OUTER_LINES: usize = 1;

/// The alternate screen; given back when this is dropped.
pub(super) struct Screen {
    out: io::Stdout,
    last: String,
}

impl Screen {
    pub(super) fn enter() -> Result<Self> {
        let mut out = io::stdout();
        execute!(out, EnterAlternateScreen, Hide).map_err(|e| Error::io("cannot draw on the terminal", e))?;
        Ok(Self { out, last: String::new() })
    }

    /// Draws all panes, if anything has changed.
    pub(super) fn draw(&mut self, heading: &[String], panes: &[Pane]) -> Result<()> {
        let (columns, lines) = term::size();
        let paint = Paint::stdout();
        let wanted: Vec<usize> = panes.iter().map(|p| p.wanted_lines()).collect();
        let shares = share_lines(&wanted, lines.saturating_sub(OUTER_LINES + heading.len()));
        let mut text: String = heading.iter().map(|line| paint.dim(&fit(line, columns, false)) + "\n").collect();
        for (pane, share) in panes.iter().zip(shares) {
            text.push_str(&paint.bold(&fit(&pane.title(), columns, false)));
            text.push('\n');
            if share <= FRAME_LINES {
                continue;
            }
            let (rows, marked) = pane.rows(share - FRAME_LINES);
            text.push_str(&table(&rows, &marked, TableStyle { paint, max_width: Some(columns) }));
        }
        if text == self.last {
            return Ok(());
        }
        self.paint(&text, lines).map_err(|e| Error::io("cannot draw on the terminal", e))?;
        self.last = text;
        Ok(())
    }

    fn paint(&mut self, text: &str, lines: usize) -> io::Result<()> {
        queue!(self.out, MoveTo(0, 0))?;
        for (at, line) in text.lines().take(lines).enumerate() {
            let row = u16::try_from(at).unwrap_or(u16::MAX);
            queue!(self.out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown))?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // When the terminal is gone there is nothing to give back.
        let _ = execute!(self.out, Show, LeaveAlternateScreen);
    }
}

/// Shares `lines` out: each pane gets what it wants if that is no more than its even share; the others share the rest.
pub(super) fn share_lines(wanted: &[usize], lines: usize) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|i| wanted[*i]);
    let (mut left, mut panes) = (lines, wanted.len());
    for i in order {
        let share = wanted[i].min(left / panes.max(1));
        shares[i] = share;
        left -= share;
        panes -= 1;
    }
    shares
}
