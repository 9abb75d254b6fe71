use crate::disk::Fault;
use crate::world::World;

impl World {
    /// Something is going to break, or breaks, or is repaired.
    pub(super) fn break_something(&mut self) {
        if self.is_faulty && self.random.chance(60) {
            self.heal();
            self.trace.say("all is repaired");
            return;
        }
        let after = 1 + self.random.below(20) as u64;
        match self.random.below(10) {
            0..=4 => {
                self.disk.arm(after, Fault::PowerCut);
                self.trace.say(format!("the power will go at operation {after}"));
            }
            5 => {
                let after = 1 + after / 4;
                self.disk.arm(after, Fault::Write);
                self.trace.say(format!("write {after} will fail"));
            }
            6 => {
                let after = 1 + after / 4;
                self.disk.arm(after, Fault::Sync);
                self.trace.say(format!("sync {after} will fail"));
            }
            7 => {
                self.disk.set_full(true);
                self.is_faulty = true;
                self.trace.say("the disk is full");
            }
            8 => {
                self.disk.set_reads_fail(true);
                self.is_faulty = true;
                self.trace.say("reads fail");
            }
            _ => {
                let is_made = self.random.chance(50);
                self.commits.fail_next(is_made);
                self.is_faulty = true;
                self.trace.say(format!(
                    "the next commit of the catalog fails ({})",
                    if is_made { "after" } else { "before" }
                ));
            }
        }
    }
}
