//! The picture for the README: how many times as fast as the real vboximg-mount, a bar for each case.

use super::book::{Book, Case};
use std::fmt::Write;

/// Pixels.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 24.0;
const TOP: f64 = 66.0;
/// The ratios at the ends of the axis, which is logarithmic.
const LOWEST: f64 = 0.25;
const HIGHEST: f64 = 100.0;
const TICKS: [(f64, &str); 8] =
    [(0.5, "½"), (1.0, "1"), (2.0, "2"), (5.0, "5"), (10.0, "10"), (20.0, "20"), (50.0, "50"), (100.0, "100")];

/// Colours that can be read on white and on black; the text takes the reader's choice.
const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #24292f } .dim { fill: #6e7781 } \
    .title { font-size: 15px; font-weight: 600 } .grid { stroke: #8c959f; stroke-opacity: .35 } \
    .one { stroke: #6e7781; stroke-width: 1.5 } .faster { fill: #2da44e } .slower { fill: #cf5b4f } \
    .least { stroke: #bf8700; stroke-width: 2 } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .dim { fill: #9198a1 } .one { stroke: #9198a1 } }";

/// The ratios of our program to `peer` as an SVG file.
pub(crate) fn picture(book: &Book, peer: &str) -> String {
    let cases: Vec<(&Case, f64)> = book.cases.iter().filter_map(|case| Some((case, *case.ratios.get(peer)?))).collect();
    let height = TOP + ROW * f64::from(u32::try_from(cases.len()).unwrap_or(0)) + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>Times as fast as {peer}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"16\" y=\"26\">Times as fast as {}</text>\n\
         <text class=\"dim\" x=\"16\" y=\"46\">Medians of rounds in turn: {}; cold start: without its service running; yellow: to reach; {}</text>\n",
        escape(peer),
        book.rounds,
        escape(&book.machine)
    );
    let bottom = height - 28.0;
    for (ratio, label) in TICKS {
        let class = if label == "1" { "one" } else { "grid" };
        let x = place(ratio);
        let _ = writeln!(out, "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>");
        let _ = writeln!(
            out,
            "<text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        );
    }
    let mut y = TOP;
    for (case, ratio) in cases {
        bar(&mut out, peer, case, ratio, y);
        y += ROW;
    }
    out + "</svg>\n"
}

fn bar(out: &mut String, peer: &str, case: &Case, ratio: f64, y: f64) {
    let (one, end) = (place(1.0), place(ratio));
    let class = if ratio >= 1.0 { "faster" } else { "slower" };
    let (x, width) = (one.min(end), (end - one).abs());
    let middle = y + 16.0;
    let _ =
        writeln!(out, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>", LEFT - 12.0, escape(&case.title));
    let _ =
        writeln!(out, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"15\"/>", y + 4.0);
    if let Some(goal) = case.goal.filter(|goal| peer.contains(goal.against)) {
        let x = place(goal.least);
        let _ =
            writeln!(out, "<line class=\"least\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>", y + 2.0, y + 21.0);
    }
    let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{middle}\">{ratio:.2}</text>", end.max(one) + 6.0);
}

fn place(ratio: f64) -> f64 {
    let part = (ratio.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
