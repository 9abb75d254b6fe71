//! As much of SQL as the door itself must see: where statements end, and the few commands that concern the session and
//! not the platform. Everything else goes to `fleuve-sql` untouched.

mod command;
mod lexer;
mod split;

pub(crate) use command::{Command, Fetch, SetValue, command};
pub(crate) use lexer::{Token, TokenKind, tokens};
pub(crate) use split::split;

#[cfg(test)]
mod tests;
