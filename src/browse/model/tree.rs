//! The tree on the left: nodes with stable keys, of which some are open, and the rows that are to be seen.

use super::cursor::Cursor;
use super::message::Opened;
use crate::open::Which;
use crate::registry::MediumId;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The number of a node in its tree.
pub(crate) type NodeId = usize;

/// What a node stands for.
#[derive(Clone)]
pub(crate) enum Item {
    /// The invisible top.
    Root,
    /// A group of machines.
    Group,
    /// A machine: an index into the registry's.
    Machine(usize),
    /// A state of a machine: a snapshot, or the current state.
    State(usize, Option<usize>),
    /// A disk that can be opened.
    Disk(Disk),
    /// A volume of the disk above it: an index into [`Opened::volumes`].
    Volume(usize),
    /// A directory of a guest.
    Directory {
        /// Its inode number in the view.
        inode: u64,
        /// Its path in the view.
        path: PathBuf,
    },
    /// The media that no machine has attached.
    Unattached,
    /// What is wrong with the registry.
    Problems,
}

/// A disk in the tree.
#[derive(Clone)]
pub(crate) struct Disk {
    /// How it is opened.
    pub(crate) which: Which,
    /// What the registry has of it.
    pub(crate) medium: Option<MediumId>,
    /// Where it is attached, such as `SATA-0-0`.
    pub(crate) slot: Option<String>,
    /// Why there is nothing to open: an empty drive, a medium that nothing registers.
    pub(crate) nothing: Option<String>,
    /// The disk, while it is open.
    pub(crate) opened: Option<Arc<Opened>>,
    /// Why it could not be opened.
    pub(crate) failure: Option<String>,
}

/// A node of the tree.
pub(crate) struct Node {
    /// The node above it.
    pub(crate) parent: NodeId,
    /// The nodes below it, in order.
    pub(crate) children: Vec<NodeId>,
    /// What it stands for.
    pub(crate) item: Item,
    /// What is shown, without anything that a terminal interprets.
    pub(crate) label: String,
    /// What tells it from the others below the same node, also after the registry was read again.
    pub(crate) key: String,
    /// Whether what is below it is shown.
    pub(crate) is_open: bool,
    /// Whether the nodes below it are known.
    pub(crate) is_loaded: bool,
}

/// A row that is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its node.
    pub(crate) node: NodeId,
    /// How far it is from the top level, which has 0.
    pub(crate) depth: usize,
}

/// The tree.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// What can be seen when scrolled to, from the top down.
    pub(crate) rows: Vec<Row>,
    /// The selected row.
    pub(crate) cursor: Cursor,
    /// Only nodes whose labels have this, and those above them, are shown; in lower case.
    pub(crate) filter: String,
}

impl Tree {
    /// A tree without nodes.
    pub(crate) fn new() -> Self {
        let root = Node {
            parent: 0,
            children: Vec::new(),
            item: Item::Root,
            label: String::new(),
            key: String::new(),
            is_open: true,
            is_loaded: true,
        };
        Self { nodes: vec![root], rows: Vec::new(), cursor: Cursor::default(), filter: String::new() }
    }

    /// The node above all others.
    pub(crate) const ROOT: NodeId = 0;

    /// A node.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// A node, to change it.
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// Adds a node as the last one below another.
    pub(crate) fn add(&mut self, parent: NodeId, item: Item, label: String, key: String) -> NodeId {
        let id = self.nodes.len();
        // What has nothing to load has it loaded.
        let is_loaded = !matches!(item, Item::Machine(_) | Item::Disk(_) | Item::Volume(_) | Item::Directory { .. });
        self.nodes.push(Node { parent, children: Vec::new(), item, label, key, is_open: false, is_loaded });
        self.nodes[parent].children.push(id);
        id
    }

    /// All nodes, those above others first.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeId> + use<> {
        1..self.nodes.len()
    }

    /// The node that is selected; none in an empty tree.
    pub(crate) fn selected(&self) -> Option<NodeId> {
        self.rows.get(self.cursor.at).map(|row| row.node)
    }

    /// A node and those above it, from it upwards.
    pub(crate) fn lineage(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(id), |id| Some(self.nodes[*id].parent)).take_while(|id| *id != Self::ROOT)
    }

    /// The disk that a node is, or is within.
    pub(crate) fn disk_of(&self, id: NodeId) -> Option<(NodeId, &Disk)> {
        self.lineage(id).find_map(|id| match &self.nodes[id].item {
            Item::Disk(disk) => Some((id, disk)),
            _ => None,
        })
    }

    /// The disk of a node, to change it.
    pub(crate) fn disk_mut(&mut self, id: NodeId) -> Option<&mut Disk> {
        match &mut self.nodes[id].item {
            Item::Disk(disk) => Some(disk),
            _ => None,
        }
    }

    /// The machine that a node is, or is within.
    pub(crate) fn machine_of(&self, id: NodeId) -> Option<usize> {
        self.lineage(id).find_map(|id| match self.nodes[id].item {
            Item::Machine(at) => Some(at),
            _ => None,
        })
    }

    /// Opens what is above a node, where that is needed to see it, and selects it.
    pub(crate) fn select(&mut self, id: NodeId) {
        let mut below = id;
        for above in self.lineage(id).skip(1).collect::<Vec<_>>() {
            if self.is_hidden_by(above, below) {
                self.nodes[above].is_open = true;
            }
            below = above;
        }
        self.arrange();
        if let Some(at) = self.rows.iter().position(|row| row.node == id) {
            self.cursor.at = at;
        }
    }

    /// Whether something is, or may be, below a node that opening it would show.
    pub(crate) fn can_open(&self, id: NodeId) -> bool {
        let node = &self.nodes[id];
        match &node.item {
            Item::State(..) => node.children.iter().any(|child| self.is_hidden_by(id, *child)),
            Item::Disk(disk) => disk.nothing.is_none(),
            _ => !node.is_loaded || !node.children.is_empty(),
        }
    }

    /// Whether a node shows a child only when it is open. The snapshots of an open machine are always shown.
    fn is_hidden_by(&self, parent: NodeId, child: NodeId) -> bool {
        !matches!((&self.nodes[parent].item, &self.nodes[child].item), (Item::State(..), Item::State(..)))
    }

    /// Finds the rows again, after nodes were added, opened or closed. The selected node stays so, or the nearest one
    /// above it that is still to be seen.
    pub(crate) fn arrange(&mut self) {
        let selected = self.selected();
        let kept = (!self.filter.is_empty()).then(|| self.kept());
        let mut rows = Vec::with_capacity(self.rows.len());
        // With whether something above matches, so that all below an open node is shown.
        let mut next: Vec<(NodeId, usize, bool)> =
            self.nodes[Self::ROOT].children.iter().rev().map(|id| (*id, 0, false)).collect();
        while let Some((id, depth, within)) = next.pop() {
            let node = &self.nodes[id];
            if kept.as_ref().is_some_and(|kept| !within && !kept[id]) {
                continue;
            }
            rows.push(Row { node: id, depth });
            let matches = within || kept.is_some() && self.matches(id);
            for child in node.children.iter().rev() {
                let leads_on = kept.as_ref().is_some_and(|kept| kept[*child]);
                if node.is_open || !self.is_hidden_by(id, *child) || leads_on {
                    next.push((*child, depth + 1, matches && node.is_open));
                }
            }
        }
        self.rows = rows;
        let seen = |id: NodeId| self.rows.iter().position(|row| row.node == id);
        let at = selected.and_then(|id| self.lineage(id).find_map(seen));
        self.cursor.at = at.unwrap_or(0);
    }

    /// Whether a node's label has the filter's text.
    pub(crate) fn matches(&self, id: NodeId) -> bool {
        self.nodes[id].label.to_lowercase().contains(&self.filter)
    }

    /// For each node whether it matches or leads to one that does.
    fn kept(&self) -> Vec<bool> {
        let mut kept = vec![false; self.nodes.len()];
        for id in (1..self.nodes.len()).rev() {
            // A node comes after the one above it.
            kept[id] = kept[id] || self.matches(id);
            kept[self.nodes[id].parent] |= kept[id];
        }
        kept
    }

    /// The keys from the top to a node.
    pub(crate) fn path_of(&self, id: NodeId) -> Vec<String> {
        let mut keys: Vec<String> = self.lineage(id).map(|id| self.nodes[id].key.clone()).collect();
        keys.reverse();
        keys
    }

    /// The node at keys from the top, as far as there are such nodes.
    pub(crate) fn find(&self, path: &[String]) -> Option<NodeId> {
        path.iter().try_fold(Self::ROOT, |at, key| self.child(at, key))
    }

    /// The node with a key below another.
    pub(crate) fn child(&self, parent: NodeId, key: &str) -> Option<NodeId> {
        self.nodes[parent].children.iter().copied().find(|id| self.nodes[*id].key == key)
    }

    /// The paths of all open nodes.
    pub(crate) fn open_paths(&self) -> HashSet<Vec<String>> {
        (1..self.nodes.len()).filter(|id| self.nodes[*id].is_open).map(|id| self.path_of(id)).collect()
    }

    /// Forgets what is below a node.
    pub(crate) fn clear(&mut self, id: NodeId) {
        // The nodes stay in the list, unreachable: disks are few, and their keys go with the next registry.
        for below in std::mem::take(&mut self.nodes[id].children) {
            self.release(below);
        }
        self.nodes[id].is_loaded = false;
        self.nodes[id].is_open = false;
    }

    fn release(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        node.label = String::new();
        node.item = Item::Root;
        for below in std::mem::take(&mut node.children) {
            self.release(below);
        }
    }
}
