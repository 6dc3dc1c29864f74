//! The table for the terminal.

use super::book::{Book, Case, Entry};
use std::fmt::Write;

/// The medians, the ratios, and who is absent.
pub(crate) fn table(book: &Book) -> String {
    let mut rows = vec![vec!["case".to_owned(), "unit".to_owned()]];
    for (number, peer) in book.peers.iter().enumerate() {
        rows[0].push(peer.clone());
        if number > 0 {
            rows[0].push("ratio".to_owned());
        }
    }
    rows[0].extend(["goal".to_owned(), "peak MiB of the first two".to_owned()]);
    rows.extend(book.cases.iter().map(|case| row(book, case)));
    let widths: Vec<usize> = (0..rows[0].len()).map(|column| widest(&rows, column)).collect();
    let mut out = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < 2 { write!(out, "{cell:width$}  ") } else { write!(out, "{cell:>width$}  ") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out.push_str(&verdict(book));
    for check in &book.checks {
        let word = if check.met { "met" } else { "NOT MET" };
        let _ = writeln!(out, "{}: {:.2}, limit {}: {word}", check.what, check.found, check.limit);
    }
    for (peer, reason) in &book.absent {
        let _ = writeln!(out, "Absent: {peer}: {reason}");
    }
    for (case, peer, reason) in reasons(book) {
        let _ = writeln!(out, "Absent: {peer} in {case}: {reason}");
    }
    out
}

/// Which goals were not reached, and how many were.
fn verdict(book: &Book) -> String {
    let mut out = String::new();
    for case in book.cases.iter().filter(|case| case.passes() == Some(false)) {
        if let (Some(goal), Some(ratio)) = (case.goal, case.reached()) {
            let _ = writeln!(out, "FAIL {}: x{ratio:.2} of {}, at least {}", case.name, goal.against, goal.least);
        }
    }
    let verdicts: Vec<bool> = book.cases.iter().filter_map(Case::passes).collect();
    let passed = verdicts.iter().filter(|passes| **passes).count();
    let _ = writeln!(out, "Goals reached: {passed} of {}", verdicts.len());
    out
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
}

fn row(book: &Book, case: &Case) -> Vec<String> {
    let mut cells = vec![case.name.clone(), case.unit.text().to_owned()];
    for (number, peer) in book.peers.iter().enumerate() {
        cells.push(case.peers.get(peer).and_then(|entry| entry.median).map_or("-".to_owned(), short));
        if number > 0 {
            cells.push(case.ratios.get(peer).map_or(String::new(), |ratio| format!("x{ratio:.2}")));
        }
    }
    cells.push(case.goal.map_or(String::new(), |goal| match case.passes() {
        Some(passes) => format!("{} {}", goal.least, if passes { "PASS" } else { "FAIL" }),
        None => goal.least.to_string(),
    }));
    let peak = |peer: &String| case.peers.get(peer)?.peak_kib.map(|kib| (kib / 1024).to_string());
    let peaks = book.peers.iter().take(2).map(|peer| peak(peer).unwrap_or("-".to_owned()));
    cells.push(peaks.collect::<Vec<_>>().join(" / "));
    cells
}

fn short(number: f64) -> String {
    if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Each reason once, with the cases that it holds for.
fn reasons(book: &Book) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for case in &book.cases {
        let absent = case.peers.iter().filter_map(|(peer, Entry { absent, .. })| Some((peer, absent.as_ref()?)));
        for (peer, reason) in absent {
            match found.iter_mut().find(|(_, known, why)| known == peer && why == reason) {
                Some((cases, ..)) => *cases += &format!(", {}", case.name),
                None => found.push((case.name.clone(), peer.clone(), reason.clone())),
            }
        }
    }
    found
}
