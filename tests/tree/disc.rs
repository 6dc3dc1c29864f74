//! What of a tree can be compared on optical disks.

use super::tree::Walk;

/// Reduces a tree to kind, size and digest.
pub(crate) fn plain(walk: Walk) -> Walk {
    let retain = |text: String| -> String {
        let words: Vec<&str> = text.split(' ').collect();
        format!("{} {} {}", &words[0][..words[0].len() - 4], words[4], words.get(7).unwrap_or(&""))
    };
    walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
}

/// Reduces a tree to what a disc can store: times have no fraction, and writers set their own ctime.
pub(crate) fn comparable(walk: Walk) -> Walk {
    let retain = |text: String| -> String {
        let words = text.split(' ').filter(|word| !word.starts_with("ctime="));
        let words = words.map(|word| word.split_once('.').filter(|_| word.starts_with("mtime=")).map_or(word, |w| w.0));
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
}
