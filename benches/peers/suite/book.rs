//! What was measured.

use super::{KERNEL, RAW, REAL};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Millions of bytes a second.
    #[serde(rename = "MB/s")]
    Speed,
    /// Reads or writes a second.
    #[serde(rename = "operations/s")]
    Operations,
    #[serde(rename = "ms")]
    Milliseconds,
}

impl Unit {
    pub(crate) fn more_is_better(self) -> bool {
        self != Self::Milliseconds
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Speed => "MB/s",
            Self::Operations => "op/s",
            Self::Milliseconds => "ms",
        }
    }
}

/// What a peer did in a case.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Entry {
    /// A number for each round.
    pub(crate) samples: Vec<f64>,
    pub(crate) median: Option<f64>,
    /// The most memory of the serving process, in KiB.
    pub(crate) peak_kib: Option<u64>,
    /// Why there is no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<String>,
}

/// A thing that is measured.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// The ratio that is to be reached.
    pub(crate) goal: Option<Goal>,
    pub(crate) peers: BTreeMap<String, Entry>,
    /// How many times as fast our program is as each peer.
    pub(crate) ratios: BTreeMap<String, f64>,
}

/// A ratio that is to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Goal {
    /// A part of the name of the peer that is compared with.
    pub(crate) against: &'static str,
    pub(crate) least: f64,
}

impl Case {
    /// The ratio to the peer of the goal, if it was measured.
    pub(crate) fn reached(&self) -> Option<f64> {
        let goal = self.goal?;
        self.ratios.iter().find(|(peer, _)| peer.contains(goal.against)).map(|(_, ratio)| *ratio)
    }

    /// Whether the goal was reached.
    pub(crate) fn passes(&self) -> Option<bool> {
        Some(self.reached()? >= self.goal?.least)
    }
}

/// A limit that our program is held to by itself.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) found: f64,
    pub(crate) limit: f64,
    pub(crate) met: bool,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Book {
    pub(crate) machine: String,
    pub(crate) scale: &'static str,
    pub(crate) rounds: u16,
    /// Our program is the first.
    pub(crate) peers: Vec<String>,
    /// Who is not there at all, and why.
    pub(crate) absent: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
    pub(crate) checks: Vec<Check>,
}

/// The ratios that are to be reached, by the beginning of the cases' names; the first that fits counts.
const GOALS: &[(&str, &str, f64)] = &[
    ("seq-", REAL, 1.2),
    ("rand-1/", REAL, 1.0),
    ("rand-8/", REAL, 1.2),
    ("start/small", REAL, 5.0),
    ("list/oracle-cold", REAL, 10.0),
    ("write/seq", REAL, 3.0),
    ("cp/tree-", KERNEL, 0.8),
    ("cp/", RAW, 0.8),
];

/// The goal of a case, if it has one.
pub(crate) fn goal(case: &str) -> Option<Goal> {
    let (_, against, least) = GOALS.iter().find(|(start, ..)| case.starts_with(start))?;
    Some(Goal { against, least: *least })
}

impl Book {
    /// Makes room for a case.
    pub(crate) fn case(&mut self, name: &str, title: &str, unit: Unit) {
        self.cases.push(Case {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            goal: goal(name),
            peers: BTreeMap::new(),
            ratios: BTreeMap::new(),
        });
    }

    fn entry(&mut self, case: &str, peer: &str) -> &mut Entry {
        let case = self.cases.iter_mut().find(|known| known.name == case).expect("a case that was made");
        case.peers.entry(peer.to_owned()).or_default()
    }

    /// Adds a number of a round, and the peak of the memory.
    pub(crate) fn add(&mut self, case: &str, peer: &str, sample: f64, peak: Option<u64>) {
        println!("  {case:24} {peer:28} {sample:>10.1}");
        let entry = self.entry(case, peer);
        entry.samples.push(sample);
        entry.peak_kib = entry.peak_kib.max(peak);
    }

    /// Says why a peer has no number.
    pub(crate) fn absent(&mut self, case: &str, peer: &str, reason: &str) {
        self.entry(case, peer).absent = Some(reason.to_owned());
    }

    /// The median of a peer in a case.
    pub(crate) fn median(&self, case: &str, peer: &str) -> Option<f64> {
        self.cases.iter().find(|known| known.name == case)?.peers.get(peer)?.median
    }

    /// Works out medians and ratios.
    pub(crate) fn finish(&mut self) {
        let ours = &self.peers[0];
        for case in &mut self.cases {
            case.peers.values_mut().for_each(|entry| entry.median = median(&entry.samples));
            let Some(own) = case.peers.get(ours) else { continue };
            for (name, other) in case.peers.iter().filter(|(name, _)| *name != ours) {
                if let Some(ratio) = ratio(own, other, case.unit) {
                    case.ratios.insert(name.clone(), ratio);
                }
            }
        }
        self.check();
    }

    /// What issue 5 asks of our program by itself.
    fn check(&mut self) {
        let ours = self.peers[0].clone();
        for job in ["seq", "rand"] {
            let deep = self.median(&format!("chain-{job}/128-again"), &ours);
            if let Some((deep, flat)) = deep.zip(self.median(&format!("chain-{job}/1-again"), &ours)) {
                self.hold(&format!("chain of 128 to one image, {job}, once touched"), deep / flat, 0.9, true);
            }
        }
        if let Some(time) = self.median("list/10000", &ours) {
            self.hold("10,000 machines listed, ms", time, 2000.0, false);
        }
        let peaks = self.cases.iter().filter_map(|case| case.peers.get(&ours)?.peak_kib);
        if let Some(peak) = peaks.max().and_then(|peak| u32::try_from(peak).ok()) {
            self.hold("peak memory of all cases, MB", f64::from(peak) * 1024.0 / 1e6, 100.0, false);
        }
    }

    fn hold(&mut self, what: &str, found: f64, limit: f64, at_least: bool) {
        let met = if at_least { found >= limit } else { found < limit };
        self.checks.push(Check { what: what.to_owned(), found, limit, met });
    }
}

/// How many times as fast. What is measured in one round is disturbed alike, so it is the median of the rounds' ratios,
/// where both have measured each.
fn ratio(own: &Entry, other: &Entry, unit: Unit) -> Option<f64> {
    let ratio = |own: f64, other: f64| if unit.more_is_better() { own / other } else { other / own };
    if own.samples.len() == other.samples.len() {
        let ratios: Vec<f64> = own.samples.iter().zip(&other.samples).map(|(own, other)| ratio(*own, *other)).collect();
        return median(&ratios);
    }
    Some(ratio(own.median?, other.median?))
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
