//! The snapshots of machines as a tree, with the current state, as VirtualBox's own window draws it.

use super::Result;
use super::label;
use super::report::{AttachmentReport, MachineReport, MediumReport, MediumState, Report};
use super::style::{Style, Tone};
use super::text::{fit, printable, scaled, width, wrap};
use std::collections::{HashMap, HashSet};
use std::io::Write;

/// Levels that are drawn. Deeper ones stay at the last one and have their level written out.
const DRAWN_LEVELS: usize = 10;
/// The name of what the machine has attached now.
const CURRENT: &str = "Current state";
/// Other states that share an image and are named; more are counted.
const NAMED: usize = 3;
/// The greatest width of a name on any terminal.
const LONGEST_NAME: usize = 255;
/// The least columns for text to the right of a tree.
const LEAST_TEXT: usize = 20;

/// A state of a machine: a snapshot, by its index, or the current state.
type State = Option<usize>;

/// Writes a tree for each machine.
pub(super) fn write(out: &mut dyn Write, report: &Report, style: Style) -> Result<()> {
    for (index, machine) in report.machines.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let uuid = label::uuid(machine);
        let name = label::machine(machine);
        let columns = style.width.unwrap_or(usize::MAX).saturating_sub(width(&uuid) + 2);
        let name = fit(&name, columns.clamp(1, LONGEST_NAME)).into_owned();
        writeln!(out, "{}  {uuid}", style.paint(Tone::Heading, &name))?;
        if machine.is_copy {
            wrapped(out, "    ", &machine.path, Tone::Plain, style)?;
        }
        match &machine.error {
            Some(error) => wrapped(out, "    ", error, Tone::Problem, style)?,
            None => States::new(machine, report).write(out, style)?,
        }
    }
    Ok(())
}

/// The states of a machine.
struct States<'a> {
    machine: &'a MachineReport,
    report: &'a Report,
    children: HashMap<State, Vec<State>>,
    /// The states that have a medium attached, by its index.
    users: HashMap<usize, Vec<State>>,
}

impl<'a> States<'a> {
    fn new(machine: &'a MachineReport, report: &'a Report) -> Self {
        let index: HashMap<_, _> = machine.snapshots.iter().enumerate().map(|(at, s)| (s.uuid, at)).collect();
        let mut children: HashMap<State, Vec<State>> = HashMap::new();
        for (at, snapshot) in machine.snapshots.iter().enumerate() {
            let parent = snapshot.parent.and_then(|parent| index.get(&parent).copied());
            children.entry(parent).or_default().push(Some(at));
        }
        let current = machine.current_snapshot.and_then(|uuid| index.get(&uuid).copied());
        children.entry(current).or_default().push(None);
        let mut states = Self { machine, report, children, users: HashMap::new() };
        for state in (0..machine.snapshots.len()).map(Some).chain([None]) {
            let media: HashSet<usize> = states.attached(state).iter().flatten().copied().collect();
            for medium in media {
                states.users.entry(medium).or_default().push(state);
            }
        }
        states
    }

    /// The media that a state has attached, in the order of its attachments.
    fn attached(&self, state: State) -> &'a [Option<usize>] {
        state.map_or(&self.machine.attached, |at| &self.machine.snapshots[at].attached)
    }

    fn attachments(&self, state: State) -> &'a [AttachmentReport] {
        state.map_or(&self.machine.attachments, |at| &self.machine.snapshots[at].attachments)
    }

    fn write(&self, out: &mut dyn Write, style: Style) -> Result<()> {
        // From the last to the first, which is then on top.
        let mut next: Vec<(State, usize, String, bool)> = Vec::new();
        push(&mut next, self.children.get(&None).into_iter().flatten().copied(), 0, "");
        while let Some((state, level, bars, more)) = next.pop() {
            let is_deep = level >= DRAWN_LEVELS;
            let branch = if is_deep { format!("{bars}+-({level}) ") } else { format!("{bars}+- ") };
            let below = if is_deep { bars } else { format!("{bars}{}  ", if more { "|" } else { " " }) };
            self.write_state(out, state, &branch, &below, style)?;
            // The current state is the key of those without a parent, too, and has no children.
            if state.is_some() {
                push(&mut next, self.children.get(&state).into_iter().flatten().copied(), level + 1, &below);
            }
        }
        Ok(())
    }

    fn write_state(&self, out: &mut dyn Write, state: State, branch: &str, below: &str, style: Style) -> Result<()> {
        let machine = self.machine;
        let (name, remark, tone) = match state.map(|at| &machine.snapshots[at]) {
            Some(snapshot) => {
                let online = if snapshot.online { ", with a saved state" } else { "" };
                (self.name(state), format!("taken {}{online}", time(&snapshot.time_stamp)), Tone::Plain)
            }
            None => {
                let changed =
                    if machine.current_state_modified && machine.current_snapshot.is_some() { ", changed" } else { "" };
                let since = time(&machine.last_state_change);
                let since = if since.is_empty() { String::new() } else { format!("since {since}") };
                let remark = format!("{since}{changed}");
                (self.name(state), remark.trim_start_matches(", ").to_owned(), Tone::Current)
            }
        };
        let remark = printable(&remark);
        let columns = style.width.unwrap_or(usize::MAX).saturating_sub(width(branch));
        let beside = format!("  ({remark})");
        // Where there is no space for it next to a name, it is below.
        let is_beside = !remark.is_empty() && columns >= width(&beside) + width(&name).min(LEAST_TEXT);
        let columns = if is_beside { columns - width(&beside) } else { columns };
        let name = fit(&name, columns.clamp(1, LONGEST_NAME)).into_owned();
        writeln!(out, "{branch}{}{}", style.paint(tone, &name), if is_beside { &beside } else { "" })?;
        // The stem goes on to the children of the state, if it has some.
        let has_children = state.is_some() && self.children.contains_key(&state);
        let stem = format!("{below}{}  ", if has_children { "|" } else { " " });
        if !is_beside && !remark.is_empty() {
            wrapped(out, &stem, &remark, Tone::Plain, style)?;
        }
        let description = state.map_or("", |at| &machine.snapshots[at].description);
        if let Some(first) = description.lines().map(str::trim).find(|line| !line.is_empty()) {
            let more = if description.trim().lines().count() > 1 { " …" } else { "" };
            wrapped(out, &stem, &format!("{first}{more}"), Tone::Plain, style)?;
        }
        for (attachment, medium) in self.attachments(state).iter().zip(self.attached(state)) {
            if let Some(medium) = medium {
                let tone = label::tone(&self.report.media[*medium], false);
                wrapped(out, &stem, &self.medium(attachment, *medium, state), tone, style)?;
            }
        }
        Ok(())
    }

    /// What a state has in a slot: the image, its size, and which other states have the same.
    fn medium(&self, attachment: &AttachmentReport, index: usize, state: State) -> String {
        let medium: &MediumReport = &self.report.media[index];
        let size = medium.size_on_disk.filter(|_| medium.state != MediumState::NoAccess);
        let size = size.map_or_else(|| "no access".to_owned(), |size| scaled(size).trim_end().to_owned());
        let AttachmentReport { controller, port, device, .. } = attachment;
        let mut text = format!("{controller}-{port}-{device}: {}, {size}", label::image(medium));
        let users = self.users.get(&index).map(Vec::as_slice).unwrap_or_default();
        let others: Vec<State> = users.iter().filter(|user| **user != state).copied().collect();
        if !others.is_empty() {
            let mut names: Vec<String> = others.iter().take(NAMED).map(|state| self.name(*state)).collect();
            if others.len() > NAMED {
                names.push(format!("and {} more", others.len() - NAMED));
            }
            text.push_str(&format!(", shared with {}", names.join(", ")));
        }
        let elsewhere = medium.used_by.iter().filter(|used| Some(used.machine) != self.machine.uuid);
        let mut machines: Vec<String> = elsewhere.map(|used| printable(&used.machine_name).into_owned()).collect();
        machines.dedup();
        if !machines.is_empty() {
            let more = if machines.len() > NAMED { ", ..." } else { "" };
            machines.truncate(NAMED);
            text.push_str(&format!(", also of the VM {}{more}", machines.join(", ")));
        }
        text
    }

    fn name(&self, state: State) -> String {
        match state.map(|at| self.machine.snapshots[at].name.as_str()) {
            None => CURRENT.to_owned(),
            Some("") => "(no name)".to_owned(),
            Some(name) => printable(name).into_owned(),
        }
    }
}

/// Puts the children of a state on the stack.
fn push(
    next: &mut Vec<(State, usize, String, bool)>,
    children: impl DoubleEndedIterator<Item = State>,
    level: usize,
    bars: &str,
) {
    let first = next.len();
    for child in children.rev() {
        let more = next.len() > first;
        next.push((child, level, bars.to_owned(), more));
    }
}

/// A time of the settings file as people read it.
fn time(stamp: &str) -> String {
    let is_utc = stamp.ends_with('Z');
    format!("{}{}", stamp.trim_end_matches('Z').replacen('T', " ", 1), if is_utc { " UTC" } else { "" })
}

fn wrapped(out: &mut dyn Write, stem: &str, text: &str, tone: Tone, style: Style) -> Result<()> {
    let text = printable(text);
    let lines = match style.width {
        Some(columns) => wrap(&text, columns.saturating_sub(width(stem)).max(LEAST_TEXT)),
        None => vec![text.into_owned()],
    };
    for line in lines {
        writeln!(out, "{stem}{}", style.paint(tone, &line))?;
    }
    Ok(())
}
