//! Runs: what the store says of each, and which it lists.

use std::collections::{BTreeMap, BTreeSet};

use agentworks_processors::runs::{RunListing, RunReader};
use agentworks_schemas::protocol::RunSummary;

use super::{Checker, Faults};

/// How many runs a page has.
const PAGE: usize = 200;

impl Checker {
    /// All runs of each workspace, page by page: each once, with the summary of a recount; and each card's, by name.
    pub(super) async fn check_runs(&self, faults: &mut Faults) {
        for workspace in self.truth.workspaces() {
            let of_workspace = self.truth.runs.iter().filter(|((of, _), _)| of == workspace);
            let mut expected: BTreeMap<_, _> = of_workspace.map(|((_, run), told)| (run.as_str(), told)).collect();
            match self.list(workspace, &RunListing::Workspace).await {
                Ok(found) => {
                    for summary in found {
                        let Some(told) = expected.remove(summary.run_id.as_str()) else {
                            faults.add(format!("run {workspace}/{}: listed twice or for nothing", summary.run_id));
                            continue;
                        };
                        let recounted = told.summary(&summary.run_id);
                        if recounted != summary {
                            let run = &summary.run_id;
                            faults.add(format!(
                                "run {workspace}/{run}: the topics tell {recounted:?}\n    the store {summary:?}"
                            ));
                        }
                    }
                    for run in expected.keys() {
                        faults.add(format!("run {workspace}/{run} is not listed"));
                    }
                }
                Err(error) => faults.add(format!("the runs of {workspace}: {error}")),
            }
        }
        for (workspace, card) in self.truth.cards.keys() {
            let of_card = self.truth.runs.iter().filter(|((of, _), run)| of == workspace && run.card() == card);
            let expected: BTreeSet<_> = of_card.map(|((_, run), _)| run.clone()).collect();
            match self.list(workspace, &RunListing::Card(card.clone())).await {
                Ok(found) => {
                    let names: BTreeSet<_> = found.iter().map(|summary| summary.run_id.clone()).collect();
                    if names != expected || names.len() != found.len() {
                        let (listed, told) = (found.len(), expected.len());
                        faults.add(format!("card {workspace}/{card} lists {listed} runs, the topics have {told}"));
                    }
                }
                Err(error) => faults.add(format!("the runs of card {workspace}/{card}: {error}")),
            }
        }
    }

    /// Which partitions know of each run, and from which record on.
    pub(super) async fn check_parts(&self, faults: &mut Faults) {
        let reader = RunReader::new(self.store.clone());
        for ((workspace, run), told) in &self.truth.runs {
            let expected: BTreeMap<_, _> =
                told.parts.iter().map(|(partition, part)| (*partition, part.first)).collect();
            match reader.parts(workspace, run).await {
                Ok(found) => {
                    let firsts: BTreeMap<_, _> = found.iter().map(|part| (part.partition, part.first)).collect();
                    if firsts != expected || found.iter().any(|part| part.epoch != 0) {
                        faults.add(format!(
                            "run {workspace}/{run}: the topics begin it at {expected:?}, the store {firsts:?}"
                        ));
                    }
                }
                Err(error) => faults.add(format!("the parts of run {workspace}/{run}: {error}")),
            }
        }
    }

    async fn list(&self, workspace: &str, listing: &RunListing) -> Result<Vec<RunSummary>, String> {
        let reader = RunReader::new(self.store.clone());
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let page =
                reader.list(workspace, listing, after.as_ref(), PAGE).await.map_err(|error| error.to_string())?;
            runs.extend(page.runs);
            after = page.next;
            if after.is_none() {
                return Ok(runs);
            }
        }
    }
}
