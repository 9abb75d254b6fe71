//! What the engine's thread is told to do.

use fleuve_types::Error;

use super::core::Core;
use super::{Command, Reply, ViewSubscription};

/// How the loop ends.
pub(super) enum Ending {
    /// With a last checkpoint.
    Stop(Reply<()>),
    /// At once.
    Halt(Reply<()>),
}

impl Core {
    pub(super) fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Stop(reply) => {
                self.finish_checkpoint(true);
                self.wait_for_outside();
                self.begin_checkpoint(vec![reply]);
                self.finish_checkpoint(true);
            }
            Ending::Halt(reply) => {
                // What is being written may or may not arrive, as in a crash.
                self.writing = None;
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Carries out a command; tells if it was the last one.
    pub(super) fn command(&mut self, command: Command) -> Option<Ending> {
        match command {
            Command::Wake => {}
            Command::Step(reply) => {
                let progressed = self.step();
                let _ = reply.send(Ok(progressed));
            }
            Command::AddStream(id, reader, reply) => {
                self.streams.insert(id, reader);
                let _ = reply.send(Ok(()));
            }
            Command::AlterStream(id, reader, views, reply) => {
                let _ = reply.send(self.alter_stream(id, reader, views));
            }
            Command::RemoveStream(id, reply) => {
                self.streams.remove(&id);
                self.times.remove(&id);
                self.outlived.retain(|(stream, _), _| *stream != id);
                self.frontier.offsets.retain(|(stream, _), _| *stream != id);
                self.epochs.forget(id);
                self.publish_now();
                let _ = reply.send(Ok(()));
            }
            Command::CreateView(definition, below, reply) => {
                self.below.insert(definition.id, *below);
                self.create(*definition, vec![reply]);
            }
            Command::ResumeView(id, reply) => self.resume(id, reply),
            Command::EndBuild(id, why, reply) => {
                self.end_build(id, why);
                drop(reply.send(Ok(())));
            }
            Command::AdvanceWatermark(id, watermark, reply) => self.advance_watermark(id, watermark, reply),
            Command::LimitView(id, limits, reply) => {
                self.limit(id, limits);
                drop(reply.send(Ok(())));
            }
            Command::DropView(id, reply) => {
                self.stop_sinks_of(id);
                self.remove_view(id);
                self.publish_now();
                let _ = reply.send(Ok(()));
            }
            Command::AddSink(id, view, writer, reply) => self.add_sink(id, view, writer, reply),
            Command::DropSink(id, reply) => {
                self.sinks.retain(|s| s.id != id);
                self.publish_now();
                let _ = reply.send(Ok(()));
            }
            Command::Subscribe(id, reply) => {
                let epoch = self.epoch;
                let _ = reply.send(self.view(id).map(|_| ()).and_then(|()| {
                    let view = self.views.iter_mut().find(|v| v.id() == id);
                    let view = view.ok_or_else(|| Error::not_found("there is no such view"))?;
                    if let Some(stopped) = view.stopped() {
                        return Err(Error::input(stopped).hint("its last answer can be read with SELECT"));
                    }
                    Ok(ViewSubscription { start: view.output.snapshot(epoch), changes: view.changes.subscribe() })
                }));
            }
            Command::Explain(id, reply) => {
                let decoding = self.epochs.decoding();
                let _ = reply.send(self.view(id).map(|v| v.explain(&decoding)));
            }
            Command::ExplainReplacements(definitions, below, reply) => {
                let _ = reply.send(self.replacements(definitions, &below));
            }
            Command::Built(built) => self.attach(*built),
            Command::FollowClock(reply) => {
                self.next_tick_us = i64::MIN;
                self.live_epoch();
                let _ = reply.send(Ok(()));
            }
            Command::Checkpoint(reply) => {
                self.finish_checkpoint(true);
                self.wait_for_beginnings();
                self.begin_checkpoint(vec![reply]);
            }
            Command::BeginCheckpoint(reply) => {
                self.finish_checkpoint(true);
                self.begin_checkpoint(vec![]);
                let _ = reply.send(Ok(()));
            }
            Command::LetGo(records, reply) => self.let_go(*records, reply),
            Command::Stop(reply) => return Some(Ending::Stop(reply)),
            Command::Halt(reply) => return Some(Ending::Halt(reply)),
        }
        None
    }
}
