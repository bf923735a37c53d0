//! What was counted, on standard output.

use std::collections::BTreeMap;
use std::io::Write;

use agentworks_schemas::protocol::TimelinePoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::client::Failure;
use crate::cli::client::plain::{Keep, plain, plain_json};
use crate::cli::client::print::{Output, Printer};

/// How wide the longest bar of a histogram is.
const BAR: u64 = 50;

/// The values of a field, the most frequent first.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Values {
    values: Vec<One>,
    others: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct One {
    value: String,
    count: u64,
}

/// What a search counted besides, and how it was understood.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counted<'a> {
    pub(super) total_count: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) facets: &'a BTreeMap<String, Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeline_data: Option<&'a [TimelinePoint]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<&'a Value>,
}

impl Counted<'_> {
    /// Prints what was asked for; nothing, if nothing was.
    pub(super) fn print<W: Write>(&self, printer: &mut Printer<W>) -> Result<(), Failure> {
        if self.facets.is_empty() && self.explanation.is_none() && self.timeline_data.is_none() {
            return Ok(());
        }
        if printer.output() == Output::Json {
            let line = serde_json::to_string(self).map_err(anyhow::Error::from)?;
            return Ok(printer.line(&plain_json(&line))?);
        }
        if let Some(timeline) = self.timeline_data {
            histogram(printer, timeline)?;
        }
        for (field, values) in self.facets {
            printer.line(&format!("\n{field}"))?;
            for One { value, count } in &values.values {
                printer.line(&format!("{count:>10}  {}", plain(value, Keep::NOTHING)))?;
            }
            if values.others > 0 {
                printer.line(&format!("{:>10}  (others)", values.others))?;
            }
        }
        if let Some(explanation) = self.explanation {
            let text = serde_json::to_string_pretty(explanation).map_err(anyhow::Error::from)?;
            printer.line(&format!("\n{}", plain(&text, Keep { colours: false, breaks: Some("") })))?;
        }
        Ok(())
    }
}

/// A bar for each bucket, from the first to the last that have lines.
fn histogram<W: Write>(printer: &mut Printer<W>, timeline: &[TimelinePoint]) -> Result<(), Failure> {
    let most = timeline.iter().map(|point| point.count).max().unwrap_or(0).max(1);
    printer.line("")?;
    for point in timeline {
        let (moment, count) = (printer.moment(point.timestamp), point.count);
        printer.line(format!("{moment} {count:>10} {}", bar(count, most)).trim_end())?;
    }
    Ok(())
}

/// The longest has [`BAR`] characters, and none that counts anything is empty.
fn bar(count: u64, most: u64) -> String {
    let length = u128::from(count) * u128::from(BAR) / u128::from(most);
    "#".repeat(usize::try_from(length).unwrap_or(0).max(usize::from(count > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!(bar(0, 100), "");
        assert_eq!(bar(1, 1_000_000), "#");
        assert_eq!(bar(50, 100).len(), 25);
        assert_eq!(bar(u64::MAX, u64::MAX).len(), 50);
    }
}
