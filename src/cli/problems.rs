//! Saying what is wrong with a registry beside what its lists show.

use crate::error_kind::message;
use crate::registry::{Error, Registry};

/// Warnings that are said; the rest is counted.
const SAID: usize = 8;

/// Says what is wrong with a registry and is not to be seen in its list.
pub(super) fn warn_of(registry: &Registry) {
    if registry.machines.is_empty() && registry.media.iter().next().is_none() && registry.problems.is_empty() {
        log::warn!("The settings in {} have neither machines nor media", registry.folder.display());
    }
    let (moved, others): (Vec<&Error>, Vec<&Error>) =
        registry.problems.iter().filter(|problem| !is_listed(problem)).partition(|problem| is_moved(problem));
    warn(others);
    // A whole home that was copied is one thing to say.
    match *moved {
        [] => {}
        [first] => log::warn!("{}", message(first)),
        [first, ..] => log::warn!(
            "{} machines and media are not where they are registered, and were found by their UUIDs; the first: {}",
            moved.len(),
            message(first)
        ),
    }
}

/// Says each of these problems, up to a number.
pub(super) fn warn<'a>(problems: impl IntoIterator<Item = &'a Error>) {
    let mut problems = problems.into_iter();
    problems.by_ref().take(SAID).for_each(|problem| log::warn!("{}", message(problem)));
    let more = problems.count();
    if more > 0 {
        log::warn!("The settings have {more} more problems; -l --json has them all");
    }
}

/// Whether any disk may be another than the one that is meant, or be missing.
pub(super) fn concerns_all(problem: &Error) -> bool {
    matches!(problem, Error::TooMany { .. } | Error::Emptied { .. })
}

/// A medium that nothing registers has a row of its own.
fn is_listed(problem: &Error) -> bool {
    matches!(problem, Error::NotFound { .. })
}

fn is_moved(problem: &Error) -> bool {
    matches!(problem, Error::Moved { .. })
}
