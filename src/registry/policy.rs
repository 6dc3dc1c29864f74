//! Decides which media may be mounted for writing.

use super::{Chain, Error, MediumKind, Result};

use std::path::Path;

/// How many names a message lists.
const NAMES: usize = 3;

/// Whether the leaf of a chain may be written to: nothing else may depend on its bytes. No option overrides this.
///
/// # Errors
/// [`Error::NotWritten`] for a medium that has children, is attached to a machine in saved state, or is of a kind that
/// is never written.
pub(crate) fn check_writable(chain: &Chain) -> Result<()> {
    let cached = "writes go to a difference that each machine has of its own; mount that one, or a clone";
    let is_of_appliance = chain.links.first().is_some_and(|leaf| leaf.named_in.is_some());
    let reason = if is_of_appliance {
        "it is a disk of an appliance; import that into VirtualBox, and write to the disk of the machine".to_owned()
    } else if !chain.children.is_empty() {
        let children = names(chain.children.iter().map(|path| file_name(path)));
        format!(
            "{children} would no longer fit it; mount the newest snapshot image, or a clone (VBoxManage clonemedium)"
        )
    } else if !chain.saved_in.is_empty() {
        let machines = names(chain.saved_in.iter().cloned());
        format!(
            "it belongs to the saved state of {machines}; start and shut down the machine, or discard the state, first"
        )
    } else {
        match chain.kind {
            MediumKind::Normal | MediumKind::Writethrough | MediumKind::Shareable => return Ok(()),
            MediumKind::Immutable => format!("it is immutable, {cached}"),
            MediumKind::MultiAttach => format!("it is a multi-attach medium, {cached}"),
            MediumKind::Readonly => "it is registered as read-only; mount it without --rw, or a clone".to_owned(),
        }
    };
    let image = chain.links.first().map(|link| link.path.clone()).unwrap_or_default();
    Err(Error::NotWritten { image, reason })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// `a`, `a and b`, `a, b, c and 4 more`
fn names(all: impl ExactSizeIterator<Item = String>) -> String {
    let count = all.len();
    let mut shown: Vec<String> = all.take(NAMES).collect();
    let last = if count > NAMES { Some(format!("{} more", count - NAMES)) } else { shown.pop() };
    match last {
        Some(last) if !shown.is_empty() => format!("{} and {last}", shown.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::ErrorKind;
    use crate::registry::Link;
    use std::collections::BTreeMap;

    fn chain(kind: MediumKind) -> Chain {
        let link = Link { path: "/vms/a/leaf.vdi".into(), ..Link::default() };
        Chain {
            links: vec![link],
            uuid: None,
            kind,
            children: Vec::new(),
            saved_in: Vec::new(),
            base_properties: BTreeMap::new(),
            outside: None,
            notes: Vec::new(),
        }
    }

    fn refusal(chain: &Chain) -> String {
        let error = check_writable(chain).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        error.to_string()
    }

    #[test]
    fn kinds() {
        for kind in [MediumKind::Normal, MediumKind::Writethrough, MediumKind::Shareable] {
            check_writable(&chain(kind)).unwrap();
        }
        for (kind, word) in [
            (MediumKind::Immutable, "it is immutable"),
            (MediumKind::MultiAttach, "it is a multi-attach medium"),
            (MediumKind::Readonly, "it is registered as read-only"),
        ] {
            let text = refusal(&chain(kind));
            assert!(text.starts_with(&format!("/vms/a/leaf.vdi is not mounted for writing: {word}")), "{text}");
        }
    }

    #[test]
    fn what_others_depend_on() {
        let mut with_children = chain(MediumKind::Normal);
        with_children.children = vec!["/vms/a/Snapshots/1.vdi".into()];
        assert!(refusal(&with_children).contains("writing: 1.vdi would no longer fit it"));
        with_children.children = (1..=5).map(|n| format!("/x/{n}.vdi").into()).collect();
        assert!(refusal(&with_children).contains("1.vdi, 2.vdi, 3.vdi and 2 more would"));
        let mut saved = chain(MediumKind::Normal);
        saved.saved_in = vec!["Alpha".into(), "Beta".into()];
        assert!(refusal(&saved).contains("saved state of Alpha and Beta;"));
    }
}
