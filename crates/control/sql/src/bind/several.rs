//! Several objects in one statement.

use std::collections::BTreeSet;

use fleuve_catalog::Object;

use super::draft::Draft;
use crate::parse::Name;

impl Draft {
    /// Objects to drop, each before those that it reads, and each once; what is not there first.
    pub(crate) fn readers_first<'a>(&self, names: &'a [Name]) -> Vec<&'a Name> {
        let object = |name: &Name| {
            let unusable = || self.objects.unusable(name.namespace(), &name.name).map(|u| &u.object);
            self.objects.get(name.namespace(), &name.name).map(|b| &b.object).or_else(unusable)
        };
        let (there, mut out): (Vec<&Name>, Vec<&Name>) = names.iter().partition(|name| object(name).is_some());
        let mut seen = BTreeSet::new();
        let there = there.into_iter().filter_map(|name| Some((name, object(name)?)));
        let there: Vec<(&Name, &Object)> = there.filter(|(_, object)| seen.insert(object.id)).collect();
        // Through what is not named, too.
        let reads = |(_, a): &(&Name, &Object), (_, b): &(&Name, &Object)| a.id != b.id && self.reaches(a.id, b.id);
        let mut rest = there;
        while !rest.is_empty() {
            let is_read = |o: &(&Name, &Object)| rest.iter().any(|other| reads(other, o));
            let at = rest.iter().position(|o| !is_read(o)).unwrap_or(0);
            out.push(rest.remove(at).0);
        }
        out
    }
}
