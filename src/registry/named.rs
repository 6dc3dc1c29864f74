//! Finding one of several things by what the user calls it: its UUID, the beginning of that, or its name.

use super::xml::{parse_bare_uuid, parse_uuid};
use super::{Error, MachineEntry, Medium, Snapshot};
use std::borrow::Cow;
use std::path::Path;
use uuid::Uuid;

/// The hexadecimal digits of a UUID by which it may be known at least.
const LEAST_DIGITS: usize = 4;

/// Names, UUIDs or disks that one message shows at most.
const SHOWN: usize = 8;

/// From which similarity on, between 0 and 1, a name may be a mistyped other one.
const SIMILAR: f64 = 0.6;

/// The characters of a part of a name that is taken for it, at least.
const LEAST_PART: usize = 3;

/// What the user may name.
pub(super) trait Named {
    /// Its UUID; nil when it is not known.
    fn uuid(&self) -> Uuid;
    /// Its name.
    fn name(&self) -> Cow<'_, str>;
    /// Its name, or what of it is worth a comparison with a mistyped one.
    fn stem(&self) -> Cow<'_, str> {
        self.name()
    }
    /// Its name and UUID, to tell it apart from others.
    fn describe(&self) -> String {
        format!("{:?} ({})", self.name(), self.uuid())
    }
}

impl Named for MachineEntry {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Cow<'_, str> {
        self.name()
    }

    fn describe(&self) -> String {
        if self.uuid.is_nil() {
            return format!("{:?} in {}", self.name(), self.path.display());
        }
        format!("{:?} ({})", self.name(), self.uuid)
    }
}

impl Named for Snapshot {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn describe(&self) -> String {
        format!("{:?} ({}, {})", self.name, self.uuid, self.time_stamp)
    }
}

impl Named for Medium {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(self.file_name())
    }

    fn stem(&self) -> Cow<'_, str> {
        let name = self.file_name();
        Cow::Owned(Path::new(&name).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()))
    }

    fn describe(&self) -> String {
        format!("{} ({})", self.uuid, self.location.display())
    }
}

/// The indices of the things that `what` means: those with that UUID, with hyphens; else with exactly that name; else
/// with a name that differs only in case; else with that UUID without hyphens; else with a UUID that begins so.
pub(super) fn find<'a, T: Named + 'a>(all: impl Iterator<Item = &'a T> + Clone, what: &str) -> Vec<usize> {
    let matching = |is: &dyn Fn(&T) -> bool| -> Vec<usize> {
        all.clone().enumerate().filter(|(_, one)| is(one)).map(|(index, _)| index).collect()
    };
    let by_uuid = |uuid: Uuid| matching(&|one| one.uuid() == uuid && !uuid.is_nil());
    let lower = what.to_lowercase();
    let looks: [&dyn Fn() -> Vec<usize>; 5] = [
        &|| parse_uuid(what).map(by_uuid).unwrap_or_default(),
        &|| matching(&|one| one.name() == what),
        &|| matching(&|one| one.name().to_lowercase() == lower),
        &|| parse_bare_uuid(what).map(by_uuid).unwrap_or_default(),
        &|| match digits(what) {
            Some(digits) => matching(&|one| begins_with(one.uuid(), &digits)),
            None => Vec::new(),
        },
    ];
    looks.iter().map(|look| look()).find(|found| !found.is_empty()).unwrap_or_default()
}

/// The digits of what may be the beginning of a UUID, in lower case.
pub(super) fn digits(what: &str) -> Option<String> {
    let bare = what.strip_prefix('{').unwrap_or(what);
    let digits: String = bare.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (all && digits.len() >= LEAST_DIGITS).then_some(digits)
}

/// Whether a UUID, if it is known, begins with digits.
pub(super) fn begins_with(uuid: Uuid, digits: &str) -> bool {
    !uuid.is_nil() && uuid.simple().encode_lower(&mut Uuid::encode_buffer()).starts_with(digits)
}

/// The error for what several things are called. `how` completes "give ...".
pub(super) fn ambiguous<'a, T: Named + 'a>(
    what: String,
    candidates: impl IntoIterator<Item = &'a T>,
    how: &'static str,
) -> Error {
    Error::Ambiguous { what, candidates: list(candidates.into_iter().map(Named::describe)), how }
}

/// The things whose names are like `what`, as a question; none when there are none.
pub(super) fn did_you_mean<'a, T: Named + 'a>(all: impl Iterator<Item = &'a T>, what: &str) -> Option<String> {
    let lower = what.to_lowercase();
    let scored = all.map(|one| (similarity(&lower, &one.stem().to_lowercase()), one));
    let mut near: Vec<(f64, &T)> = scored.filter(|(score, _)| *score >= SIMILAR).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    (!near.is_empty()).then(|| format!("did you mean {}?", list(near.into_iter().map(|(_, one)| one.describe()))))
}

fn similarity(asked: &str, name: &str) -> f64 {
    let is_part = |part: &str, whole: &str| part.chars().count() >= LEAST_PART && whole.contains(part);
    if is_part(asked, name) || is_part(name, asked) { 1.0 } else { strsim::normalized_damerau_levenshtein(asked, name) }
}

/// Items with commas between them, of which many are only counted.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items = items.into_iter();
    let mut text = items.by_ref().take(SHOWN).collect::<Vec<_>>().join(", ");
    let rest = items.count();
    if rest > 0 {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_beginnings_of_uuids() {
        assert_eq!(digits("{FBFD-f717").as_deref(), Some("fbfdf717"));
        for not in ["abc", "{abc", "", "abcx", "a.b.c.d", "ab/cd", "----"] {
            assert_eq!(digits(not), None, "{not}");
        }
        let uuid = Uuid::from_u128(0x00AB_CDEF << 96);
        assert!(begins_with(uuid, "00abcdef") && !begins_with(uuid, "abcd") && !begins_with(uuid, &"0".repeat(40)));
    }
}
