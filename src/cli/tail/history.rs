//! The lines that are there already, page by page.

use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::{Gap, RunSummary};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::filter::Names;
use super::{Tail, report_gap};
use crate::cli::client::Failure;
use crate::cli::client::http::get;

/// The most that a gateway puts on a page.
const PAGE: usize = 1000;

/// A page of entries. They are kept as they were written, each with its position.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    gaps: Vec<Gap>,
    next: Option<Cursor>,
    /// Where a stream goes on after it.
    end: Cursor,
}

impl Tail {
    /// Fails if the run whose lines are wanted isn't there.
    pub(super) async fn check_run(&self) -> Result<(), Failure> {
        let Some(run) = &self.run else { return Ok(()) };
        let card = [("card", self.card.clone())];
        get::<RunSummary>(&self.endpoint, &["runs", run], &card).await.map(|_| ())
    }

    /// Prints the newest `count` lines that are wanted; the cursor is then at the end of the log.
    pub(super) async fn print_newest(&mut self, count: usize) -> Result<(), Failure> {
        let mut pages: Vec<Page> = Vec::new();
        let mut left = count;
        loop {
            let before = pages.last().and_then(|page| page.next.as_ref()).map_or("end".to_owned(), Cursor::to_string);
            // Also without any history wanted: the page says where the log ends.
            let page = self.page(("before", before), left.clamp(1, PAGE)).await?;
            left = left.saturating_sub(page.entries.len());
            let is_last = left == 0 || page.next.is_none();
            pages.push(page);
            if is_last {
                break;
            }
        }
        if let Some(newest) = pages.first() {
            self.cursor = newest.end.clone();
        }
        if count > 0 {
            for page in pages.iter().rev() {
                self.print(page)?;
            }
        }
        Ok(self.printer.flush()?)
    }

    /// Prints all that is wanted after a position.
    pub(super) async fn print_since(&mut self, position: Cursor) -> Result<(), Failure> {
        self.cursor = position;
        loop {
            let page = self.page(("after", self.cursor.to_string()), PAGE).await?;
            self.print(&page)?;
            self.printer.flush()?;
            self.cursor = page.end;
            if page.next.is_none() {
                return Ok(());
            }
        }
    }

    async fn page(&self, place: (&'static str, String), limit: usize) -> Result<Page, Failure> {
        let mut query = vec![place, ("limit", limit.to_string())];
        query.extend(self.filter.query(Names::Page));
        match &self.run {
            Some(run) => {
                query.push(("card", self.card.clone()));
                get(&self.endpoint, &["runs", run, "entries"], &query).await
            }
            None => get(&self.endpoint, &["cards", &self.card, "entries"], &query).await,
        }
    }

    fn print(&mut self, page: &Page) -> Result<(), Failure> {
        page.gaps.iter().for_each(report_gap);
        for entry in &page.entries {
            self.printer.entry(entry, None)?;
        }
        Ok(())
    }
}
