//! What the client has declared: views, indexes and sinks, and which of it is not certain.

use fleuve_sql::{ObjectSet, Spec};

use crate::query::{Query, Source};
use crate::{Failure, Sim};

/// What the client can be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certain {
    /// It is there.
    There,
    /// Making it, or taking it away, had an unknown outcome.
    Unknown,
}

/// A view.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Its name.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) query: Query,
    /// What it may show instead: a replacement had an unknown outcome.
    pub(crate) next: Option<Query>,
    /// The statement as the catalog keeps it, once it was seen there.
    pub(crate) text: String,
    /// Whether it is there.
    pub(crate) certain: Certain,
}

/// An index of a stream or a view.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Its name.
    pub(crate) name: String,
    /// What it is of.
    pub(crate) on: String,
    /// Whether it is there.
    pub(crate) certain: Certain,
}

/// A sink, and the stream that it made.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    /// Its name.
    pub(crate) name: String,
    /// The view that it takes out.
    pub(crate) view: String,
    /// Its stream.
    pub(crate) into: String,
    /// Whether it is there.
    pub(crate) certain: Certain,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// Views, each after those that it reads.
    pub(crate) views: Vec<View>,
    /// Indexes.
    pub(crate) indexes: Vec<Index>,
    /// Sinks.
    pub(crate) sinks: Vec<Sink>,
    next: usize,
}

impl Objects {
    /// A name that was never used.
    pub(crate) fn name(&mut self, letter: char) -> String {
        self.next += 1;
        format!("{letter}{}", self.next)
    }

    /// What a query may read: the streams and the views that are surely there.
    pub(crate) fn sources(&self, streams: &[&str]) -> Vec<Source> {
        let mut out: Vec<Source> = streams.iter().map(|s| Source { name: (*s).to_string(), is_stream: true }).collect();
        let sure = self.views.iter().filter(|v| v.certain == Certain::There && v.next.is_none());
        out.extend(sure.map(|v| Source { name: v.name.clone(), is_stream: false }));
        out
    }

    /// Whether anything reads a view.
    pub(crate) fn is_read(&self, view: &str) -> bool {
        self.views.iter().any(|v| v.query.reads.iter().any(|r| r == view))
            || self.sinks.iter().any(|s| s.view == view)
            || self.indexes.iter().any(|i| i.on == view)
    }

    /// Looks at what the server has, and becomes certain.
    ///
    /// # Errors
    /// When something is missing that was surely there, or there that was surely not.
    pub(crate) fn reconcile(&mut self, set: &ObjectSet) -> Sim<()> {
        let find = |name: &str| set.get("public", name).map(|b| b.object.sql.clone());
        for view in &mut self.views {
            match find(&view.name) {
                None if view.certain == Certain::There => return Err(Failure(format!("view {} is gone", view.name))),
                None => view.name.clear(),
                Some(text) => {
                    view.certain = Certain::There;
                    match view.next.take() {
                        Some(next) if text != view.text => view.query = next,
                        _ if !view.text.is_empty() && text != view.text => {
                            return Err(Failure(format!("view {} is {text}, and was {}", view.name, view.text)));
                        }
                        _ => {}
                    }
                    view.text = text;
                }
            }
        }
        self.views.retain(|v| !v.name.is_empty());
        for index in &mut self.indexes {
            match find(&index.name) {
                None if index.certain == Certain::There => {
                    return Err(Failure(format!("index {} is gone", index.name)));
                }
                None => index.on.clear(),
                Some(_) => index.certain = Certain::There,
            }
        }
        self.indexes.retain(|i| !i.on.is_empty());
        for sink in &mut self.sinks {
            match find(&sink.name) {
                None if sink.certain == Certain::There => return Err(Failure(format!("sink {} is gone", sink.name))),
                None => sink.view.clear(),
                Some(_) => sink.certain = Certain::There,
            }
        }
        self.sinks.retain(|s| !s.view.is_empty());
        for bound in set.by_name.values() {
            let name = &bound.object.name;
            let known = match bound.spec {
                Spec::View(_) => self.views.iter().any(|v| v.name == *name),
                Spec::Index(_) => self.indexes.iter().any(|i| i.name == *name),
                Spec::Sink(_) => self.sinks.iter().any(|s| s.name == *name),
                _ => true,
            };
            if !known && name != crate::setup::CLOSING_VIEW {
                return Err(Failure(format!("{name} is there, and nobody declared it")));
            }
        }
        Ok(())
    }
}
