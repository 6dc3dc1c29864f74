//! Finds VirtualBox's settings directory.
//!
//! The order is that of `com::GetVBoxUserHomeDirectory` (VirtualBox, `src/VBox/Main/glue/com.cpp`): the environment,
//! then the first directory that exists. Where none exists VirtualBox creates the last one; nothing is created here.

use super::{Error, Result, settings};
use crate::error_kind::IoError;
use directories::BaseDirs;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The conventions for a user's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Linux, Solaris and the BSDs: XDG directories.
    Unix,
    /// macOS: `~/Library`.
    MacOs,
    /// Windows: the profile directory.
    Windows,
}

impl Platform {
    /// The one that this program was built for.
    #[must_use]
    pub(crate) fn host() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Unix
        }
    }
}

/// The directories that may hold `VirtualBox.xml`, in VirtualBox's order: one if `VBOX_USER_HOME` names it. Relative
/// ones are relative to `current`. `home` is the user's home, or profile directory on Windows.
#[must_use]
pub(crate) fn candidates(
    platform: Platform,
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
    current: &Path,
) -> Vec<PathBuf> {
    let directory = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = directory("VBOX_USER_HOME") {
        return vec![current.join(given)];
    }
    let Some(home) = home else { return Vec::new() };
    match platform {
        Platform::Unix => {
            // The XDG specification has relative values ignored.
            let config = directory("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
            let config = config.unwrap_or_else(|| home.join(".config"));
            vec![home.join(".VirtualBox"), config.join("VirtualBox")]
        }
        Platform::MacOs => vec![home.join("Library/VirtualBox")],
        Platform::Windows => vec![home.join(".VirtualBox")],
    }
}

/// The settings directory among `candidates`: the first that has settings by `are_in`, or else the first that exists by
/// `exists`. VirtualBox takes one that exists without looking into it, and finds nothing in an empty one.
///
/// # Errors
/// [`Error::Io`] when it cannot be seen whether one exists and no other does; [`Error::NotFound`] naming all of them.
pub(crate) fn choose(
    candidates: Vec<PathBuf>,
    are_in: impl Fn(&Path) -> bool,
    exists: impl Fn(&Path) -> io::Result<bool>,
) -> Result<PathBuf> {
    if let Some(directory) = candidates.iter().find(|directory| are_in(directory)) {
        return Ok(directory.clone());
    }
    let mut hidden = None;
    for directory in &candidates {
        match exists(directory) {
            Ok(true) => return Ok(directory.clone()),
            Ok(false) => {}
            Err(e) => {
                let hint = "check HOME, or give the directory that holds VirtualBox.xml with --settings";
                let source = io::Error::new(e.kind(), format!("{e}; {hint}"));
                hidden = hidden.or(Some(IoError::new(directory, "look into", source).into()));
            }
        }
    }
    if let Some(error) = hidden {
        return Err(error);
    }
    let looked = match &*candidates {
        [] => "the home directory is not known, so there is nowhere to look".to_owned(),
        directories => {
            let names: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
            format!("there is no directory {}", names.join(" and no directory "))
        }
    };
    Err(Error::NotFound {
        what: "VirtualBox's settings directory".to_owned(),
        hint: format!("{looked}; give the directory that holds VirtualBox.xml with --settings or VBOX_USER_HOME"),
    })
}

/// Adds to an error about missing settings where those of the user who ran `sudo` are. `user` is their name.
pub(super) fn name_invoking_user(error: Error, user: Option<OsString>) -> Error {
    let user = user.map(|user| user.to_string_lossy().into_owned()).filter(|user| !user.is_empty() && user != "root");
    match (error, user) {
        (Error::NotFound { what, hint }, Some(user)) => {
            let hint = format!("{hint}; the settings of {user}, who ran sudo, are given with --settings ~{user}");
            Error::NotFound { what, hint }
        }
        (error, _) => error,
    }
}

/// The settings directory of the user who runs this program.
///
/// # Errors
/// As [`choose`].
pub(crate) fn find() -> Result<PathBuf> {
    // Only a relative path needs the current directory, which may be gone.
    let current = env::current_dir().unwrap_or_default();
    let user = BaseDirs::new();
    let home = user.as_ref().map(BaseDirs::home_dir);
    let all = candidates(Platform::host(), |name| env::var_os(name), home, &current);
    choose(all, settings::are_in, |directory| match fs::metadata(directory) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(platform: Platform, variables: &[(&str, &str)], existing: &[&str]) -> Result<PathBuf> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        let all = candidates(platform, variable, Some(Path::new("/home/joe")), Path::new("/work"));
        choose(all, |_| false, |path| Ok(existing.iter().any(|directory| Path::new(directory) == path)))
    }

    #[test]
    fn the_variable_decides_and_is_made_absolute() {
        let all = ["/work/vb", "/vb", "/home/joe/.VirtualBox"];
        for platform in [Platform::Unix, Platform::MacOs, Platform::Windows] {
            assert_eq!(look(platform, &[("VBOX_USER_HOME", "vb")], &all).unwrap(), Path::new("/work/vb"));
            assert_eq!(look(platform, &[("VBOX_USER_HOME", "/vb")], &all).unwrap(), Path::new("/vb"));
        }
    }

    #[test]
    fn a_variable_that_names_no_directory_is_not_replaced_by_another_directory() {
        let error = look(Platform::Unix, &[("VBOX_USER_HOME", "/gone")], &["/home/joe/.VirtualBox"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VirtualBox's settings directory is not known: there is no directory /gone; give the directory that \
             holds VirtualBox.xml with --settings or VBOX_USER_HOME"
        );
    }

    #[test]
    fn on_unix_the_legacy_directory_wins_then_xdg() {
        let (legacy, xdg, default) = ("/home/joe/.VirtualBox", "/xdg/VirtualBox", "/home/joe/.config/VirtualBox");
        let variables = [("XDG_CONFIG_HOME", "/xdg")];
        assert_eq!(look(Platform::Unix, &variables, &[legacy, xdg, default]).unwrap(), Path::new(legacy));
        assert_eq!(look(Platform::Unix, &variables, &[xdg, default]).unwrap(), Path::new(xdg));
        assert_eq!(look(Platform::Unix, &[], &[xdg, default]).unwrap(), Path::new(default));
        for unusable in ["", "relative"] {
            let variables = [("XDG_CONFIG_HOME", unusable), ("VBOX_USER_HOME", "")];
            assert_eq!(look(Platform::Unix, &variables, &[default]).unwrap(), Path::new(default));
        }
    }

    #[test]
    fn macos_and_windows_have_one_place() {
        let mac = "/home/joe/Library/VirtualBox";
        assert_eq!(look(Platform::MacOs, &[], &["/home/joe/.VirtualBox", mac]).unwrap(), Path::new(mac));
        let windows = "/home/joe/.VirtualBox";
        assert_eq!(
            look(Platform::Windows, &[], &["/home/joe/.config/VirtualBox", windows]).unwrap(),
            Path::new(windows)
        );
    }

    #[test]
    fn prefers_a_directory_with_settings() {
        let all = || vec![PathBuf::from("/old"), PathBuf::from("/new")];
        let new = |path: &Path| path == Path::new("/new");
        assert_eq!(choose(all(), new, |_| Ok(true)).unwrap(), Path::new("/new"));
        assert_eq!(choose(all(), |_| false, |_| Ok(true)).unwrap(), Path::new("/old"));
    }

    #[test]
    fn does_not_report_an_unreadable_directory_as_missing() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let all = || vec![PathBuf::from("/hidden"), PathBuf::from("/seen")];
        let error = choose(all(), |_| false, |_| Err(denied())).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (crate::error_kind::ErrorKind::Io, "Cannot look into /hidden".to_owned())
        );
        let seen = choose(all(), |_| false, |path| if path == Path::new("/seen") { Ok(true) } else { Err(denied()) });
        assert_eq!(seen.unwrap(), Path::new("/seen"));
    }

    #[test]
    fn names_the_settings_of_the_user_who_ran_sudo() {
        let error = |user: &str| {
            let error = look(Platform::Unix, &[], &[]).unwrap_err();
            name_invoking_user(error, Some(OsString::from(user))).to_string()
        };
        assert!(error("ann").ends_with("the settings of ann, who ran sudo, are given with --settings ~ann"));
        for user in ["", "root"] {
            assert!(error(user).ends_with("with --settings or VBOX_USER_HOME"));
        }
    }

    #[test]
    fn names_every_directory_that_was_tried() {
        let error = look(Platform::Unix, &[("XDG_CONFIG_HOME", "/xdg")], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VirtualBox's settings directory is not known: there is no directory /home/joe/.VirtualBox and no directory \
             /xdg/VirtualBox; give the directory that holds VirtualBox.xml with --settings or VBOX_USER_HOME"
        );
        assert_eq!(error.kind(), crate::error_kind::ErrorKind::NotFound);
        let homeless = candidates(Platform::Unix, |_| None, None, Path::new("/"));
        let homeless = choose(homeless, |_| true, |_| Ok(true)).unwrap_err();
        assert!(homeless.to_string().contains("the home directory is not known"), "{homeless}");
    }
}
