//! The names that an image's header gives for its parent.

use crate::registry::location;
use std::path::{Path, PathBuf};

/// The paths that a hint may mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// The very path; `None` for a path of another host.
    pub(super) direct: Option<PathBuf>,
    /// Where the file may be after the images were copied; none for a relative path, which was copied with them.
    pub(super) elsewhere: Option<Vec<PathBuf>>,
}

impl Hint {
    /// Reads the hint of an image in `directory`, or returns why it is never followed.
    pub(super) fn parse(directory: &Path, text: &str) -> Result<Self, &'static str> {
        // `\\?\C:\` is Windows' long form of `C:\`.
        let text = text.strip_prefix(r"\\?\").filter(|rest| location::is_windows_absolute(rest)).unwrap_or(text);
        if text.is_empty() {
            return Err("empty");
        }
        if text.contains('\0') {
            return Err("no file name");
        }
        if is_device(text) {
            return Err("a device");
        }
        if text.starts_with(r"\\") || text.starts_with("//") {
            return Err("on another computer");
        }
        if has_scheme(text) {
            return Err("a URL or option string");
        }
        let direct = (!location::is_windows_absolute(text)).then(|| location::absolute(directory, text));
        if direct.as_deref().is_some_and(|path| path.starts_with("/dev") || path.starts_with("/proc")) {
            return Err("a device");
        }
        let elsewhere = location::is_absolute(text).then(|| location::relocations(directory, text));
        Ok(Self { direct, elsewhere })
    }
}

/// Devices of Windows: `\\.\PhysicalDrive0`, `\\?\Volume{...}\`.
fn is_device(text: &str) -> bool {
    text.starts_with(r"\\.\") || text.starts_with(r"\\?\") || text.starts_with("//./")
}

/// Whether the text begins as `http://`, `nbd:`, `json:{` or `file:` does; a single letter is a drive of Windows.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Hint, &'static str> {
        Hint::parse(Path::new("/vms/x"), text)
    }

    #[test]
    fn devices_urls_and_options_are_never_followed() {
        for (text, reason) in [
            ("/dev/sda", "a device"),
            ("../../dev/sda", "a device"),
            ("/proc/self/mem", "a device"),
            (r"\\.\PhysicalDrive0", "a device"),
            (r"\\?\Volume{5e3f}\a.vhdx", "a device"),
            (r"\\server\share\a.vhd", "on another computer"),
            ("//server/a.vhd", "on another computer"),
            ("http://example.org/a.qcow2", "a URL or option string"),
            ("file:a.qcow2", "a URL or option string"),
            ("nbd:localhost:10809", "a URL or option string"),
            (r#"json:{"driver":"raw"}"#, "a URL or option string"),
            ("", "empty"),
            ("a\0b", "no file name"),
        ] {
            assert_eq!(parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn relative_hints_are_relative_to_the_image() {
        for (text, path) in [
            ("base.vhd", "/vms/x/base.vhd"),
            (r".\base.vhd", "/vms/x/base.vhd"),
            (r"..\y\base.vhd", "/vms/y/base.vhd"),
            ("../base.vmdk", "/vms/base.vmdk"),
            ("a: b.vmdk", "/vms/x/a: b.vmdk"),
        ] {
            assert_eq!(parse(text), Ok(Hint { direct: Some(path.into()), elsewhere: None }), "{text}");
        }
    }

    #[test]
    fn absolute_hints_are_looked_for_next_to_the_image_too() {
        let hint = parse("/old/x/base.vmdk").unwrap();
        assert_eq!(hint.direct, Some("/old/x/base.vmdk".into()));
        assert!(hint.elsewhere.iter().flatten().any(|path| *path == Path::new("/vms/x/base.vmdk")), "{hint:?}");
        for windows in [r"C:\old\x\base.vhd", r"\\?\C:\old\x\base.vhd"] {
            let hint = parse(windows).unwrap();
            assert_eq!(hint.direct, None);
            assert!(hint.elsewhere.iter().flatten().any(|path| *path == Path::new("/vms/x/base.vhd")), "{hint:?}");
        }
    }
}
