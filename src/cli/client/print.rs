//! Entries on standard output, as text or JSON.

use std::borrow::Cow;
use std::env;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use agentworks_schemas::{Cursor, Level, Source, Timestamp};
use anyhow::Context;
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failure;
use super::plain::{Keep, plain, plain_json};

/// How entries are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line for people: local time, level, source/component, run, message
    #[default]
    Text,
    /// All of an entry as one JSON object a line, with its `position`
    Json,
}

/// What begins the further lines of a message that has several.
const INDENT: &str = "             | ";

/// Prints entries. Nothing is sure to be out before [`Printer::flush`].
#[derive(Debug)]
pub(crate) struct Printer<W: Write = BufWriter<Stdout>> {
    out: W,
    output: Output,
    colours: bool,
    zone: TimeZone,
    /// Whether lines are of many days and cards, and so say theirs.
    afield: bool,
}

/// What text shows of an entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    timestamp: Timestamp,
    level: Level,
    source: Source,
    #[serde(borrow)]
    component: Cow<'a, str>,
    #[serde(borrow)]
    card_id: Cow<'a, str>,
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

impl Printer {
    /// A printer to standard output.
    pub(crate) fn stdout(output: Output) -> Self {
        let colours = wants_colours(io::stdout().is_terminal(), |name| env::var(name).ok());
        Printer { out: BufWriter::new(io::stdout()), output, colours, zone: TimeZone::system(), afield: false }
    }

    /// The same for lines of many days and cards.
    pub(crate) fn afield(self) -> Self {
        Printer { afield: true, ..self }
    }
}

impl<W: Write> Printer<W> {
    /// Prints an entry, given as its JSON. `position` is added to JSON that doesn't hold one.
    pub(crate) fn entry(&mut self, entry: &RawValue, position: Option<&Cursor>) -> Result<(), Failure> {
        match self.output {
            Output::Json => self.json(entry, position)?,
            Output::Text => {
                let shown: Shown<'_> = serde_json::from_str(entry.get()).context("an entry can't be read")?;
                self.text(&shown)?;
            }
        }
        Ok(())
    }

    /// Prints a line of its own.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// What lines are printed as.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// The local date and time of an instant, to the second.
    pub(crate) fn moment(&self, timestamp: Timestamp) -> String {
        local(timestamp, &self.zone, "%Y-%m-%d %H:%M:%S")
    }

    /// Hands over what was printed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn json(&mut self, entry: &RawValue, position: Option<&Cursor>) -> io::Result<()> {
        let entry = entry.get().trim();
        // Between tokens, for a JSON string holds no bare line break.
        let entry =
            if entry.contains(['\n', '\r']) { Cow::Owned(entry.replace(['\n', '\r'], " ")) } else { entry.into() };
        match (position, entry.strip_prefix('{')) {
            (Some(position), Some(members)) => {
                writeln!(self.out, "{{\"position\":\"{position}\",{}", plain_json(members))
            }
            _ => writeln!(self.out, "{}", plain_json(&entry)),
        }
    }

    fn text(&mut self, entry: &Shown<'_>) -> io::Result<()> {
        let format = if self.afield { "%Y-%m-%d %H:%M:%S.%3f" } else { "%H:%M:%S.%3f" };
        let time = local(entry.timestamp, &self.zone, format);
        let card = plain(&entry.card_id, Keep::NOTHING);
        let card = if self.afield { format!("{card} ") } else { String::new() };
        let level = entry.level.as_str().to_uppercase();
        let (source, component) = (entry.source, plain(&entry.component, Keep::NOTHING));
        let run = short(&entry.run_id);
        let run = plain(&run, Keep::NOTHING);
        let message = plain(&entry.message, Keep { colours: self.colours, breaks: Some(INDENT) });
        if self.colours {
            let colour = colour(entry.level);
            write!(self.out, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:<5}\x1b[0m {card}")?;
            writeln!(self.out, "\x1b[2m{source}/\x1b[0m{component} \x1b[36m{run}\x1b[0m  {message}")
        } else {
            writeln!(self.out, "{time} {level:<5} {card}{source}/{component} {run}  {message}")
        }
    }
}

fn local(timestamp: Timestamp, zone: &TimeZone, format: &str) -> String {
    match jiff::Timestamp::from_millisecond(timestamp.millis()) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => "--:--:--.---".to_owned(),
    }
}

/// The end of a long id, where ids that begin with a time differ.
fn short(id: &str) -> Cow<'_, str> {
    match id.char_indices().rev().nth(7) {
        Some((at, _)) if id.len() > 12 => Cow::Owned(format!("…{}", &id[at..])),
        _ => Cow::Borrowed(id),
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Debug => "2",
        Level::Info => "34",
        Level::Warn => "33",
        Level::Error => "31",
        Level::Fatal => "1;35",
    }
}

/// NO_COLOR has the last word, then CLICOLOR_FORCE, then what standard output is.
fn wants_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return false;
    }
    if variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") {
        return true;
    }
    is_terminal && variable("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn printed(output: Output, colours: bool, entry: &str, position: Option<&Cursor>) -> String {
        let mut printer = Printer { out: Vec::new(), output, colours, zone: TimeZone::UTC, afield: false };
        let raw: &RawValue = serde_json::from_str(entry).unwrap();
        printer.entry(raw, position).unwrap();
        String::from_utf8(printer.out).unwrap()
    }

    fn entry(run: &str, message: &str) -> String {
        let message = serde_json::to_string(message).unwrap();
        format!(
            r#"{{"id":"1","runId":"{run}","cardId":"c","workspaceId":"w","timestamp":"2025-12-02T10:15:30.123Z","sequence":1,"level":"warn","source":"agent","component":"planner","message":{message},"data":{{"n":1.10}}}}"#
        )
    }

    #[test]
    fn text_is_one_line_for_people() {
        let line = printed(Output::Text, false, &entry("run-1", "hello\tworld"), None);
        assert_eq!(line, "10:15:30.123 WARN  agent/planner run-1  hello\tworld\n");
        let line = printed(Output::Text, false, &entry("01936a2e-1111-7aaa-8bbb-0000deadbeef", "x"), None);
        assert_eq!(line, "10:15:30.123 WARN  agent/planner …deadbeef  x\n");
    }

    #[test]
    fn lines_of_many_days_and_cards_say_theirs() {
        let mut printer =
            Printer { out: Vec::new(), output: Output::Text, colours: false, zone: TimeZone::UTC, afield: true };
        let entry = entry("run-1", "hello");
        printer.entry(serde_json::from_str(&entry).unwrap(), None).unwrap();
        let line = String::from_utf8(printer.out).unwrap();
        assert_eq!(line, "2025-12-02 10:15:30.123 WARN  c agent/planner run-1  hello\n");
    }

    #[test]
    fn further_lines_of_a_message_cannot_pass_for_entries() {
        let line = printed(Output::Text, false, &entry("r", "a\n10:00:00.000 FATAL x"), None);
        assert_eq!(line, format!("10:15:30.123 WARN  agent/planner r  a\n{INDENT}10:00:00.000 FATAL x\n"));
    }

    #[test]
    fn text_can_do_nothing_to_a_terminal() {
        let hostile = entry("r", "\x1b]0;t\x07\x1b[2J\x1b[31mred");
        assert_eq!(printed(Output::Text, false, &hostile, None), "10:15:30.123 WARN  agent/planner r  red\n");
        let coloured = printed(Output::Text, true, &hostile, None);
        assert!(coloured.ends_with("  \x1b[31mred\x1b[0m\n"), "{coloured:?}");
        assert!(!coloured.contains("\x1b]") && !coloured.contains("2J"), "{coloured:?}");
    }

    #[test]
    fn json_is_what_came_with_the_position() {
        let cursor = Cursor::new();
        let hostile = entry("r", "\x1b[2J\n");
        let line = printed(Output::Json, false, &hostile, Some(&cursor));
        assert_eq!(line, format!("{{\"position\":\"{cursor}\",{}\n", &hostile[1..]));
        assert_eq!(printed(Output::Json, true, &hostile, None), format!("{hostile}\n"));
        assert_eq!(printed(Output::Json, true, "{\n\"a\":\n1}", None), "{ \"a\": 1}\n");
    }

    #[test]
    fn variables_say_whether_there_are_colours() {
        let wants = |is_terminal, set: &[(&str, &str)]| {
            wants_colours(is_terminal, |name| {
                set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(wants(true, &[]));
        assert!(!wants(false, &[]));
        assert!(!wants(true, &[("TERM", "dumb")]));
        assert!(!wants(true, &[("NO_COLOR", "1")]));
        assert!(wants(true, &[("NO_COLOR", "")]));
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }
}
