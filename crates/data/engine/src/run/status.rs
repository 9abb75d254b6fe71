//! What readers see of the engine and its views.

use std::collections::HashMap;
use std::sync::Arc;

use fleuve_types::{Epoch, Frontier, ObjectId};

use super::{BuildProgress, ByObject, MemoryStatus, StreamTime};
use crate::output::ViewSnapshot;
use crate::profile::Profile;

/// How a view is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewState {
    /// Takes part in epochs.
    Running,
    /// Reads what was there before it.
    Building(BuildProgress),
    /// Stopped alone, with the reason; shows its last answer.
    Failed(String),
    /// Stopped because one that it reads did; shows its last answer.
    Stopped(String),
}

/// A view's figures.
#[derive(Clone, Debug)]
pub struct ViewStatus {
    /// How it is doing.
    pub state: ViewState,
    /// Rows of its answer.
    pub rows: usize,
    /// Memory of its circuit and its answer.
    pub state_bytes: usize,
    /// What of its state lies on disk and is read as needed.
    pub disk_bytes: u64,
    /// Changed rows it has put out since the start.
    pub rows_out: u64,
    /// Its last epoch, if that is not what the engine has reached.
    pub epoch: Option<Epoch>,
    /// What its answer includes, if that is not what the engine has reached.
    pub frontier: Option<Frontier>,
    /// The time of the epoch in which it failed or stopped, if that is known.
    pub stopped_us: Option<i64>,
    /// What its operators have done and hold.
    pub profile: Arc<Profile>,
}

impl ViewStatus {
    /// That of a view that has no answer yet.
    pub(super) fn building(progress: BuildProgress, profile: Arc<Profile>) -> Self {
        let state = ViewState::Building(progress);
        let (bytes, disk_bytes) = profile.state_bytes();
        let state_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (rows, rows_out, epoch, frontier, stopped_us) = (0, 0, None, None, None);
        Self { state, rows, state_bytes, disk_bytes, rows_out, epoch, frontier, stopped_us, profile }
    }
}

/// What readers see: all views at one epoch, with the inputs that it includes.
#[derive(Clone, Default)]
pub struct Published {
    /// The epoch.
    pub epoch: Epoch,
    /// Its time, which is what `now()` is in views.
    pub time_us: i64,
    /// The offsets that it includes.
    pub frontier: Frontier,
    /// The views' answers.
    pub views: ByObject<ViewSnapshot>,
    /// The views' figures.
    pub status: ByObject<ViewStatus>,
    /// The sinks, with the reason if one has stopped.
    pub sinks: HashMap<ObjectId, Option<String>>,
    /// The event times of streams that have one.
    pub times: HashMap<ObjectId, StreamTime>,
    /// The memory budget, as it was last looked at.
    pub memory: MemoryStatus,
}
