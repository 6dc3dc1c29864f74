//! Saying what is wrong with a registry beside what its lists show.

use crate::error_kind::message;
use crate::open;
use crate::registry::{Error, Registry};

/// Says what is wrong with a registry and is not to be seen in its list.
pub(super) fn warn_of(registry: &Registry) {
    if registry.machines.is_empty() && registry.media.iter().next().is_none() && registry.problems.is_empty() {
        log::warn!("The settings in {} have neither machines nor media", registry.directory.display());
    }
    let problems = || registry.problems.iter().filter(|problem| !is_listed(problem));
    let is_moved = |problem: &&Error| matches!(problem, Error::Moved { .. });
    let is_outside = |problem: &&Error| matches!(problem, Error::Outside { .. });
    let others = problems().filter(|problem| !is_moved(problem) && !is_outside(problem));
    open::shortened(others).iter().for_each(|problem| log::warn!("{problem}"));
    // A whole home that was copied is one thing to say.
    let moved = "are not where they are registered, and were found by their UUIDs";
    warn_once(&problems().filter(is_moved).collect::<Vec<_>>(), moved);
    warn_once(&problems().filter(is_outside).collect::<Vec<_>>(), "were found only outside of what was given");
}

/// Says problems of one kind as one.
fn warn_once(problems: &[&Error], what: &str) {
    match problems {
        [] => {}
        [first] => log::warn!("{}", message(*first)),
        [first, ..] => log::warn!("{} machines and media {what}; the first: {}", problems.len(), message(*first)),
    }
}

/// A medium that nothing registers has a row of its own.
fn is_listed(problem: &Error) -> bool {
    matches!(problem, Error::NotFound { .. })
}
