//! The tree of a hard disk's media, as rows from the top down.

use super::media_list::MediaList;
use crate::registry::{MediumId, Registry};
use std::collections::{HashMap, HashSet};

/// Levels that are drawn as a tree. Deeper ones stay at the last one and have their level written out: a chain of
/// hundreds of snapshots would leave the screen.
const DRAWN_LEVELS: usize = 10;
/// Media in a tree from which on those that the machine does not use are left out. A template that thousands of
/// machines are linked clones of would fill thousands of rows under each of them.
const LARGE_TREE: usize = 100;

/// The media of one hard disk.
#[derive(Debug)]
pub(super) struct Tree {
    /// The media, each before its children.
    pub(super) rows: Vec<Node>,
    /// How many media of other machines are left out.
    pub(super) hidden: usize,
}

/// A medium in a tree.
#[derive(Debug)]
pub(super) struct Node {
    /// Its index in [`Report::media`](super::Report::media).
    pub(super) medium: usize,
    /// 0 for the base.
    pub(super) level: usize,
    /// What is drawn before its first line. Empty for the base.
    pub(super) branch: String,
    /// What is drawn before its further lines and before its children's.
    pub(super) stem: String,
    /// The uses of it by the machine that the tree is shown for.
    pub(super) uses: Uses,
}

/// Where one machine has a medium attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// The snapshots, as indexes into the machine's list.
    pub(super) snapshots: Vec<usize>,
    /// Whether the current state does.
    pub(super) current: bool,
}

/// Where each medium's tree begins and how large it is.
pub(super) struct Forest<'a> {
    registry: &'a Registry,
    base: Vec<MediumId>,
    size: Vec<usize>,
}

impl<'a> Forest<'a> {
    /// The forest of all media.
    pub(super) fn new(registry: &'a Registry) -> Self {
        let mut base: Vec<MediumId> = Vec::new();
        for (id, medium) in registry.media.iter() {
            // A parent comes before its children.
            base.push(medium.parent.map_or(id, |parent| base[parent.0]));
        }
        let mut size = vec![0; base.len()];
        for id in &base {
            size[id.0] += 1;
        }
        Self { registry, base, size }
    }

    /// The base of a medium.
    pub(super) fn base(&self, id: MediumId) -> MediumId {
        self.base[id.0]
    }

    /// The tree that begins at `base`, for a machine that uses some of its media. Without any uses, for no machine,
    /// nothing is left out.
    pub(super) fn tree(&self, base: MediumId, uses: &HashMap<MediumId, Uses>, media: &mut MediaList<'_>) -> Tree {
        let large = self.size[base.0] > LARGE_TREE && !uses.is_empty();
        let shown = large.then(|| self.needed(base, uses));
        let mut rows = Vec::new();
        let mut next = vec![Drawn { id: base, level: 0, branch: String::new(), bars: String::new() }];
        while let Some(Drawn { id, level, branch, bars }) = next.pop() {
            let children = &self.registry.media.get(id).children;
            let children = children.iter().filter(|c| shown.as_ref().is_none_or(|s| s.contains(c)));
            let first_child = next.len();
            // Pushed from the last to the first, which is then on top.
            for child in children.rev() {
                let more = next.len() > first_child;
                next.push(Drawn::new(*child, level + 1, &bars, more));
            }
            let uses = uses.get(&id).cloned().unwrap_or_default();
            rows.push(Node { medium: media.add(id), level, branch, stem: bars, uses });
        }
        rows.shrink_to_fit();
        let hidden = self.size[base.0] - rows.len();
        Tree { rows, hidden }
    }

    /// The media that a machine uses of a tree, and those between them and the base.
    fn needed(&self, base: MediumId, uses: &HashMap<MediumId, Uses>) -> HashSet<MediumId> {
        let mut needed = HashSet::from([base]);
        for id in uses.keys().filter(|id| self.base(**id) == base) {
            let mut at = Some(*id);
            while let Some(id) = at.filter(|id| needed.insert(*id)) {
                at = self.registry.media.get(id).parent;
            }
        }
        needed
    }
}

/// A medium whose row is next, and its drawing.
struct Drawn {
    id: MediumId,
    level: usize,
    branch: String,
    /// What its children's rows begin with.
    bars: String,
}

impl Drawn {
    /// A child below a row whose children begin with `bars`; `more` when siblings follow it.
    fn new(id: MediumId, level: usize, bars: &str, more: bool) -> Self {
        if level > DRAWN_LEVELS {
            return Self { id, level, branch: format!("{bars}+-({level}) "), bars: bars.to_owned() };
        }
        let bar = if more { "|" } else { " " };
        Self { id, level, branch: format!("{bars}+- "), bars: format!("{bars}{bar}  ") }
    }
}

impl Tree {
    /// The tree of a medium that is not registered, so that nothing is known of its relatives.
    pub(super) fn of_unknown(medium: usize, uses: Uses) -> Self {
        let node = Node { medium, level: 0, branch: String::new(), stem: String::new(), uses };
        Self { rows: vec![node], hidden: 0 }
    }
}
