//! Spellings that upstream's tool takes and clap does not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Long options that upstream's users write with one dash.
const ONE_DASH: [(&str, &str); 3] = [("-vm", "--vm"), ("-rw", "--rw"), ("-root", "--root")];

/// The option whose value may follow it without anything between.
const GLUED: &[u8] = b"--image";

/// The arguments as clap takes them.
pub(super) fn modern(arguments: &[OsString]) -> Vec<OsString> {
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (options, rest) = arguments.split_at(end);
    options.iter().map(|option| modern_option(option)).chain(rest.iter().cloned()).collect()
}

fn modern_option(option: &OsStr) -> OsString {
    if let Some((_, two_dashes)) = ONE_DASH.iter().find(|(one_dash, _)| option == *one_dash) {
        return two_dashes.into();
    }
    match option.as_bytes().strip_prefix(GLUED) {
        Some(value) if !value.is_empty() && value[0] != b'=' => OsString::from_vec([GLUED, b"=", value].concat()),
        _ => option.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_only_what_clap_does_not_take() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let old = words("x -vm A -rw -root --image/a --image=/b --image /c -lvm -- -rw --image/d");
        let new = words("x --vm A --rw --root --image=/a --image=/b --image /c -lvm -- -rw --image/d");
        assert_eq!(modern(&old), new);
    }
}
