//! Bytes of the PostgreSQL frontend/backend protocol 3.0 (PostgreSQL 16 manual, chapter 55). No I/O, no SQL.

mod backend;
mod frontend;

pub(crate) use backend::{Column, Out, TransactionStatus, patch_length};
pub(crate) use frontend::{Bind, Frontend, StartupPacket, Target, decode, take_frame, take_startup};

#[cfg(test)]
mod tests;
