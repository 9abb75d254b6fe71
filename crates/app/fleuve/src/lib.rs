//! `fleuve`: the whole platform and its command line in one program.
//!
//! This crate wires the rooms together and knows them all; nothing but the simulator knows it. `platform` is the running server, `config`
//! its settings, `cli` the commands. `test` and `slt` run servers of their own that go with them; the commands other than these and `serve`
//! are ordinary clients: they reach a server over HTTP or the Kafka protocol and never open its data.

// A program's parts: `pub` mostly means "for the other modules".
#![allow(unreachable_pub)]

mod cli;
pub mod config;
mod data_folder;
mod doors;
pub mod memory;
pub mod platform;

pub use cli::main;
