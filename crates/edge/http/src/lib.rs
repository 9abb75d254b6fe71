//! The HTTP doors: the main one (SQL, project folders, subscriptions, status page, metrics) and the schema registry's.
//!
//! Both are plain [`axum::Router`]s over traits ([`Sql`], [`Observe`]) and the registry; [`serve`] runs one on a listener. The crate
//! keeps no state of its own.
//!
//! Invariants:
//! - Everything that comes in is bounded: header time, body bytes and time, connections, queries and subscriptions at once, rendered bytes.
//! - A request that goes away takes its query with it.
//! - A page of another site can neither make this server do anything nor read from it ([`Hosts`]).
//! - An error leaves in one form (`{"error": {...}}` or Confluent's), mapped to a status in one place.
//!
//! It must not know how SQL is planned, what the engine does, or where data lies.
//!
//! It does not promise: TLS or authentication yet, HTTP/2, resuming a subscription after a break (a reader starts again from the
//! whole answer), or a proper status after rows have begun to flow (the connection is cut instead).

mod api;
mod door;
mod error;
mod guard;
mod observe;
mod registry;
mod render;
mod sql;
#[cfg(test)]
mod testing;

pub use api::{
    Api, MAX_APPLY_FILES, MAX_BODY_BYTES, MAX_JSON_BYTES, MAX_QUERIES, MAX_SUBSCRIPTIONS, api_router, openapi,
};
pub use door::{MAX_CONNECTIONS, serve};
pub use error::status_of;
pub use guard::Hosts;
pub use observe::{
    BackfillReport, ConnectorReport, DoorReport, InputReport, Observe, ServerReport, StatusReport, StreamReport,
    ViewReport,
};
pub use registry::registry_router;
pub use render::texts;
pub use sql::{Sessions, Sql};
