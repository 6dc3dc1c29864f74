//! The command line of the measurement.

use super::Result;
use clap::Parser;
use std::path::PathBuf;

/// Measures vboximg-mount beside its peers and writes a table, JSON and a picture
#[derive(Debug, Parser)]
#[command(name = "benches/run")]
pub(crate) struct Options {
    /// Small disks and little data: the cases that have goals, beside those that they are compared with
    #[arg(long)]
    pub(crate) quick: bool,

    /// Smaller still, without guest file systems, peers and root: for the test of this program
    #[arg(long, hide = true, conflicts_with = "quick")]
    pub(crate) tiny: bool,

    /// Only cases whose names contain one of these
    #[arg(long, value_name = "CASE", num_args = 1..)]
    pub(crate) only: Vec<String>,

    /// Only these peers, of those present
    #[arg(long, value_name = "PEER", num_args = 0..)]
    pub(crate) peers: Option<Vec<String>>,

    /// How often each case runs with each peer; 5 times by default, in a quick run 7 times
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Measure all once more, beside two processes that compute
    #[arg(long)]
    pub(crate) busy: bool,

    /// The build to measure, instead of the one that Cargo has just made
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,

    /// One more build, such as that of the commit before, in the same run
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    pub(crate) also: Vec<(String, PathBuf)>,

    /// Where disks are made and kept, and what is not to be committed
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/out"))]
    pub(crate) out: PathBuf,

    /// Where peers.json and peers.svg go; benches/results for a full run, the directory of --out for others
    #[arg(long, value_name = "FOLDER")]
    pub(crate) results: Option<PathBuf>,

    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn named_path(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("give a name and a path, NAME=PATH".to_owned()),
    }
}

impl Options {
    /// Whether a case is asked for.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.contains(part.as_str()))
    }

    /// How often each case runs with each peer.
    pub(crate) fn rounds(&self) -> u16 {
        self.rounds.unwrap_or(if self.quick { 7 } else { 5 })
    }

    /// Whether a run is to tell only whether the goals are reached.
    pub(crate) fn is_about_goals(&self) -> bool {
        self.quick && self.only.is_empty() && self.peers.is_none()
    }

    /// Whether a peer is asked for.
    pub(crate) fn wants_peer(&self, name: &str) -> bool {
        self.peers.as_ref().is_none_or(|names| names.iter().any(|part| name.contains(part.as_str())))
    }

    /// Where results go.
    pub(crate) fn results(&self) -> Result<PathBuf> {
        let whole = !self.quick && !self.tiny && self.only.is_empty() && self.peers.is_none() && self.also.is_empty();
        let directory = match &self.results {
            Some(directory) => directory.clone(),
            None if whole => concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results").into(),
            None => self.out.clone(),
        };
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}
