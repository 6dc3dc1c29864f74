//! B-trees: the catalog, the extents overflow tree, and the attributes. Field names and offsets are from
//! `BTNodeDescriptor` and `BTHeaderRec` in Apple's TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#BTrees>).

use super::HfsPlus;
use super::header::{Fork, HfsExtent};
use super::source::{Owned, find};
use crate::guestfs::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes in `BTNodeDescriptor`, and in the header record that follows it in the first node.
const DESCRIPTOR: usize = 14;
const HEADER: usize = 106;
/// `kind` of a node.
const LEAF: u8 = 0xFF;
const INDEX: u8 = 0;
const HEADER_NODE: u8 = 1;
/// `kBTVariableIndexKeysMask`: keys in index nodes have their own length instead of `maxKeyLength`.
const VARIABLE_INDEX_KEYS: u32 = 4;
/// `kHFSBinaryCompare`: names are compared by code unit.
const BINARY: u8 = 0xBC;
/// The most levels; eight hold more records than fit on a volume.
const MAX_DEPTH: u16 = 16;

/// Index records examined to find the leaves after unreadable ones.
const MAX_STEPS: u32 = 1 << 20;

/// Compares a key with the one searched for.
type Order<'a> = &'a dyn Fn(&[u8]) -> Result<Ordering, ParseError>;

/// The trees, with their file IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Extents = 3,
    Catalog = 4,
    Attributes = 8,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Extents => "extents overflow tree",
            Self::Catalog => "catalog",
            Self::Attributes => "attributes tree",
        }
    }
}

/// An opened tree.
pub(super) struct Tree {
    kind: Kind,
    /// Its extents on the volume.
    extents: Vec<HfsExtent>,
    node_size: usize,
    depth: u16,
    root: u32,
    nodes: u64,
    /// The length of keys in index nodes, if it is fixed.
    index_key: Option<usize>,
    /// Whether names are case-sensitive.
    pub(super) case_sensitive: bool,
}

/// A node's bytes.
pub(super) struct Node {
    number: u32,
    /// Its offset on the volume, for messages.
    pub(super) at: u64,
    bytes: Vec<u8>,
    name: &'static str,
}

/// The location of a record: its node and its index in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordId {
    pub(super) node: u32,
    pub(super) record: u16,
}

/// A record: its key without the length, and its data.
pub(super) struct Record<'a> {
    pub(super) record_id: RecordId,
    pub(super) key: &'a [u8],
    pub(super) data: &'a [u8],
    /// Offset of its node on the volume.
    pub(super) at: u64,
}

impl Node {
    fn fields(&self) -> Fields<'_> {
        Fields::new("node of a B-tree", &self.bytes, self.at)
    }

    fn kind(&self) -> Result<u8, ParseError> {
        self.fields().u8(8)
    }

    fn records(&self) -> Result<u16, ParseError> {
        self.fields().u16_be(10)
    }

    /// `fLink`: the next node of the same level; 0 for none.
    fn next(&self) -> Result<u32, ParseError> {
        self.fields().u32_be(0)
    }

    /// Returns record `number`. Its bounds are two of the offsets at the end of the node, which are in reverse order.
    pub(super) fn record(&self, number: u16, index_key: Option<usize>) -> Result<Record<'_>, ParseError> {
        let f = self.fields();
        if number >= self.records()? {
            let what = format!("record in node {} of the {}", self.number, self.name);
            return Err(ParseError::corrupt(self.at, what, format_args!("one below {}", self.records()?), number));
        }
        let slot = |number: usize| f.u16_be(self.bytes.len().saturating_sub(2 * (number + 1)));
        let (start, end) = (slot(number.into())?.into(), slot(usize::from(number) + 1)?.into());
        let bad = || {
            let what = format!("record {number} in node {} of the {}", self.number, self.name);
            ParseError::corrupt(self.at, what, "a key and data within the node", format_args!("bytes {start} to {end}"))
        };
        let all = self.bytes.get(start..end).filter(|_| start >= DESCRIPTOR).ok_or_else(bad)?;
        let key_len = usize::from(u16::from_be_bytes(*all.first_chunk().ok_or_else(bad)?));
        let key = all.get(2..2 + key_len).ok_or_else(bad)?;
        let data = 2 + index_key.unwrap_or(key_len);
        let data = all.get(data.next_multiple_of(2)..).ok_or_else(bad)?;
        Ok(Record { record_id: RecordId { node: self.number, record: number }, key, data, at: self.at })
    }
}

impl Tree {
    /// A tree without records.
    pub(super) fn none(kind: Kind) -> Self {
        Self {
            kind,
            extents: Vec::new(),
            node_size: 512,
            depth: 0,
            root: 0,
            nodes: 1,
            index_key: None,
            case_sensitive: false,
        }
    }
}

impl HfsPlus {
    /// Opens a tree; `None` when the volume has no tree of this kind.
    pub(super) fn open_tree(&self, kind: Kind, fork: &Fork) -> Result<Option<Tree>> {
        if fork.size == 0 {
            return Ok(None);
        }
        if fork.blocks > self.header.blocks {
            let what = format!("blocks of the {}", kind.name());
            let expected = format!("at most {}", self.header.blocks);
            return Err(ParseError::corrupt(self.source.bounds.start, what, expected, fork.blocks).into());
        }
        let mut extents: Vec<HfsExtent> = fork.extents.into_iter().take_while(|extent| extent.count > 0).collect();
        let mut have: u64 = extents.iter().map(|extent| u64::from(extent.count)).sum();
        while have < u64::from(fork.blocks) && kind != Kind::Extents {
            let (extent, within) = self.overflow(Owned { fork, resource: false, file: kind as u32 }, have)?;
            let within = u32::try_from(within).unwrap_or(extent.count);
            let rest = HfsExtent { start: extent.start.saturating_add(within), count: extent.count - within };
            extents.push(rest);
            have += u64::from(rest.count);
        }
        let size = fork.size.min(have * u64::from(self.header.block_size));
        let mut tree = Tree { extents, ..Tree::none(kind) };
        let first = self.read_node(&tree, 0)?;
        self.parse_tree(&mut tree, &first, size)?;
        Ok(Some(tree))
    }

    fn parse_tree(&self, tree: &mut Tree, first: &Node, size: u64) -> Result<(), ParseError> {
        let f = first.fields();
        let name = tree.kind.name();
        if first.kind()? != HEADER_NODE || f.len() < DESCRIPTOR + HEADER {
            let what = format!("kind of the first node of the {name}");
            return Err(ParseError::corrupt(first.at, what, HEADER_NODE, first.kind()?));
        }
        let node_size = f.u16_be(DESCRIPTOR + 18)?;
        if !node_size.is_power_of_two() || !(512..=32768).contains(&node_size) {
            let expected = "a power of two from 512 to 32768";
            return Err(ParseError::corrupt(
                f.offset(DESCRIPTOR + 18),
                format!("node size of the {name}"),
                expected,
                node_size,
            ));
        }
        let depth = f.u16_be(DESCRIPTOR)?;
        if depth > MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH}");
            return Err(ParseError::corrupt(f.offset(DESCRIPTOR), format!("depth of the {name}"), expected, depth));
        }
        tree.node_size = usize::from(node_size);
        tree.depth = depth;
        tree.root = f.u32_be(DESCRIPTOR + 2)?;
        tree.nodes = size / u64::from(node_size);
        let variable = f.u32_be(DESCRIPTOR + 38)? & VARIABLE_INDEX_KEYS != 0;
        let longest = usize::from(f.u16_be(DESCRIPTOR + 20)?);
        tree.index_key = (!variable).then_some(longest);
        tree.case_sensitive = self.header.is_hfsx && f.u8(DESCRIPTOR + 37)? == BINARY;
        Ok(())
    }

    /// Reads a node, bypassing the cache.
    fn read_node(&self, tree: &Tree, number: u32) -> Result<Node> {
        let name = tree.kind.name();
        if u64::from(number) >= tree.nodes {
            let expected = format!("below {}", tree.nodes);
            return Err(
                ParseError::corrupt(self.source.bounds.start, format!("node of the {name}"), expected, number).into()
            );
        }
        let size = u64::from(self.header.block_size);
        let mut bytes = vec![0; tree.node_size];
        let start = u64::from(number) * tree.node_size as u64;
        let (mut done, mut first) = (0, None);
        while done < bytes.len() {
            let offset = start + done as u64;
            let (extent, within) = find(&tree.extents, 0, offset / size).ok_or_else(|| {
                let expected = format!("a block for its byte {offset}");
                ParseError::corrupt(self.source.bounds.start, format!("extents of the {name}"), expected, "the end")
            })?;
            let chunk = self.chunk(extent, within, offset % size)?;
            let now = usize::try_from(chunk.len).unwrap_or(usize::MAX).min(bytes.len() - done);
            self.source.read(chunk.at, &mut bytes[done..done + now])?;
            first = first.or(Some(chunk.at));
            done += now;
        }
        Ok(Node { number, at: self.source.bounds.start + first.unwrap_or(0), bytes, name })
    }

    pub(super) fn node(&self, tree: &Tree, number: u32) -> Result<Arc<Node>> {
        let key = (tree.kind, number);
        if let Some(node) = self.nodes.get(&key) {
            return Ok(node);
        }
        let node = Arc::new(self.read_node(tree, number)?);
        self.nodes.insert(key, node.clone());
        Ok(node)
    }

    /// Returns a node that must be a leaf.
    pub(super) fn leaf(&self, tree: &Tree, number: u32) -> Result<Arc<Node>> {
        let node = self.node(tree, number)?;
        self.expect(tree, &node, LEAF)?;
        Ok(node)
    }

    fn expect(&self, tree: &Tree, node: &Node, kind: u8) -> Result<()> {
        let found = node.kind()?;
        if found == kind {
            return Ok(());
        }
        let what = format!("kind of node {} of the {}", node.number, tree.kind.name());
        Err(ParseError::corrupt(node.at, what, kind, found).into())
    }

    /// Descends to the node, `above` levels above the leaves, whose subtree holds the last record with a key up to the
    /// one searched for. `order` compares a key with it.
    fn descend(&self, tree: &Tree, order: Order<'_>, above: u16) -> Result<Option<u32>> {
        if tree.depth <= above {
            return Ok(None);
        }
        let mut number = tree.root;
        for _ in 1..tree.depth - above {
            let node = self.node(tree, number)?;
            self.expect(tree, &node, INDEX)?;
            let at = last_up_to(&node, tree.index_key, order)?.unwrap_or(0);
            number = child(tree, &node, at)?;
        }
        Ok(Some(number))
    }

    /// Finds the leaf after an unreadable one through the index. The search starts at the index node for `order`, and
    /// gives up after `budget` steps.
    fn leaf_after(&self, tree: &Tree, order: Order<'_>, number: u32, budget: &mut u32) -> Result<Option<u32>> {
        let mut next = self.descend(tree, order, 1)?.unwrap_or(0);
        let mut found = false;
        while next != 0 {
            let node = self.node(tree, next)?;
            self.expect(tree, &node, INDEX)?;
            for at in 0..node.records()? {
                let child = child(tree, &node, at)?;
                if found {
                    return Ok(Some(child));
                }
                found = child == number;
                let Some(left) = budget.checked_sub(1) else { return Ok(None) };
                *budget = left;
            }
            next = node.next()?;
        }
        Ok(None)
    }

    /// Calls `with` for the last record with a key up to the one searched for.
    pub(super) fn last<R>(
        &self,
        tree: &Tree,
        order: Order<'_>,
        with: impl FnOnce(&Record<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        let Some(leaf) = self.descend(tree, order, 0)? else { return Ok(None) };
        let leaf = self.leaf(tree, leaf)?;
        let Some(at) = last_up_to(&leaf, None, order)? else { return Ok(None) };
        with(&leaf.record(at, None)?).map(Some)
    }

    /// Calls `each` for all records from the first one on whose key is not below the one searched for, and with an
    /// error for unreadable ones, until it breaks. The leaf after an unreadable one is found through the index.
    pub(super) fn walk(
        &self,
        tree: &Tree,
        order: Order<'_>,
        each: &mut dyn FnMut(Result<&Record<'_>>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(mut number) = self.descend(tree, order, 0)? else { return Ok(()) };
        // A cyclic chain returns to the remembered node once that is remembered for long enough.
        let (mut remembered, mut steps, mut limit) = (number, 0_u64, 1_u64);
        let mut budget = MAX_STEPS;
        loop {
            let next = match self.leaf(tree, number) {
                Ok(leaf) => {
                    if self.leaf_records(&leaf, order, each)?.is_break() {
                        return Ok(());
                    }
                    leaf.next()?
                }
                Err(error) => {
                    if each(Err(error))?.is_break() {
                        return Ok(());
                    }
                    // Leaves that the index does not yield are missing as well.
                    self.leaf_after(tree, order, number, &mut budget).ok().flatten().unwrap_or(0)
                }
            };
            if next == 0 {
                return Ok(());
            }
            if next == remembered {
                let what = format!("chain of leaves of the {}, to node {next}", tree.kind.name());
                return Err(ParseError::corrupt(self.source.bounds.start, what, "an end", "a circle").into());
            }
            steps += 1;
            if steps == limit {
                (remembered, steps, limit) = (next, 0, limit * 2);
            }
            number = next;
        }
    }

    fn leaf_records(
        &self,
        leaf: &Node,
        order: Order<'_>,
        each: &mut dyn FnMut(Result<&Record<'_>>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        for number in 0..leaf.records()? {
            let record = leaf.record(number, None).and_then(|record| Ok((order(record.key)?, record)));
            let reported = match &record {
                Ok((order, _)) if order.is_lt() => continue,
                Ok((_, record)) => Ok(record),
                Err(cause) => Err(cause.clone().into()),
            };
            if each(reported)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The child that a record of an index node points to.
fn child(tree: &Tree, node: &Node, at: u16) -> Result<u32, ParseError> {
    let record = node.record(at, tree.index_key)?;
    Fields::new("index of a B-tree", record.data, node.at).u32_be(0)
}

/// The last record of a node with a key up to the one searched for.
fn last_up_to(node: &Node, index_key: Option<usize>, order: Order<'_>) -> Result<Option<u16>, ParseError> {
    let mut last = None;
    for number in 0..node.records()? {
        if order(node.record(number, index_key)?.key)?.is_gt() {
            break;
        }
        last = Some(number);
    }
    Ok(last)
}
