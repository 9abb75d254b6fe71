//! Consumer groups: Kafka's classic group protocol as a state machine without I/O, and the form in which committed
//! offsets are kept as marks of the log.
//!
//! Membership is derived state: after a restart a group is empty and its members join again. Committed offsets are
//! ground; they live in the log's marks.
//!
//! `step(state, now, event) -> effects`: time and fresh member ids come in, answers go out as effects with the ticket
//! that the request came with. The driver owns sockets, timers and durability.

mod group;
mod join;
mod offsets;
mod table;
mod types;

#[cfg(test)]
mod tests;

pub use offsets::{
    CommittedOffset, OFFSET_MARKS_PREFIX, OFFSET_METADATA_BYTES, group_prefix, offset_key, parse_offset_key,
};
pub use table::{GroupLimits, GroupTable};
pub use types::{
    Effect, Event, GroupDescription, GroupError, GroupListing, GroupState, JoinMember, JoinReply, JoinRequest,
    LeaveMember, MemberDescription, SyncReply, SyncRequest, Ticket,
};
