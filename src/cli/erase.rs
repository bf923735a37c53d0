//! `agentworks erase`: erases a run, or all of a workspace.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use agentworks_processors::erasure::{Receipt, Replaced, Target, TierState};
use agentworks_schemas::Timestamp;
use anyhow::Context;
use clap::Parser;

use super::client::plain::{Keep, plain, plain_json};
use super::client::{Failure, GatewayArgs, finish, http};

/// Erase a run or a workspace: at once unreadable, then deleted.
///
/// When this command returns, nobody can read through AgentWorks what the run or the workspace had on the log and in any
/// tier; it takes some seconds. Then the tiers are cleared. The receipt says for each since when it is unreadable, and by
/// when it is physically gone; `agentworks erase --list` shows how far that is, with `--json` also which of the archive's
/// files were replaced. What is written afterwards is not erased.
/// It takes a token with the role operator.
#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["workspace", "run", "list"]))]
pub(crate) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Erase all of the workspace, which must be the token's
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Erase this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Show what was erased, and how far each tier is
    #[arg(long)]
    list: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Listed {
    erasures: Vec<Receipt>,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<ExitCode> {
        Ok(finish(self.run().await))
    }

    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.gateway.endpoint()?;
        let what = match (&self.workspace, &self.run) {
            (Some(workspace), _) => ("workspace", workspace.clone()),
            (None, Some(run)) => ("run", run.clone()),
            (None, None) => {
                let listed: Listed = http::get(&endpoint, &["erasures"], &[]).await?;
                return self.print(&listed.erasures);
            }
        };
        if !self.yes && !confirmed(what.0, &what.1)? {
            return Err(Failure::Refused("nothing was erased".to_owned()));
        }
        let receipt: Receipt = http::post(&endpoint, &["erasures"], &[what]).await?;
        self.print(&[receipt])
    }

    fn print(&self, receipts: &[Receipt]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        for receipt in receipts {
            if self.json {
                let line = serde_json::to_string(receipt).context("a receipt can't be written as JSON")?;
                writeln!(out, "{}", plain_json(&line))?;
            } else {
                print(receipt, &mut out)?;
            }
        }
        if receipts.is_empty() && !self.json {
            writeln!(out, "nothing was erased in this workspace")?;
        }
        Ok(())
    }
}

/// Asks whoever sits at the terminal; whoever doesn't has to say --yes.
fn confirmed(kind: &str, name: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Refused("erasing can't be undone: say --yes".to_owned()));
    }
    eprint!("Erase {kind} {name:?}? This can't be undone. Type its name to go on: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']) == name)
}

/// What went with a tier's clearing.
fn went(state: &TierState) -> String {
    let rows = format!("{} rows", state.rows);
    match &state.replaced {
        None => rows,
        // Of splits it isn't known.
        Some(Replaced { files, .. }) if state.rows == 0 => format!("{files} files replaced"),
        Some(Replaced { files, .. }) => format!("{rows}, {files} files replaced"),
    }
}

fn print(receipt: &Receipt, out: &mut impl Write) -> io::Result<()> {
    let erasure = &receipt.erasure;
    let what = match &erasure.target {
        Target::Workspace => format!("workspace {}", plain(&erasure.workspace, Keep::NOTHING)),
        // Whoever wrote it chose it.
        Target::Run(run) => format!("run {}", plain(run, Keep::NOTHING)),
    };
    let by = plain(&erasure.by, Keep::NOTHING);
    writeln!(out, "erased {what} at {} ({}), asked for by {by}", erasure.at, erasure.id)?;
    for state in &receipt.tiers {
        let gone = match (state.cleared, state.gone_by) {
            (Some(at), _) => format!("cleared {at}, {}", went(state)),
            (None, Some(by)) => format!("gone by {by}"),
            (None, None) => "not known yet".to_owned(),
        };
        let since: Timestamp = state.unreadable_since;
        writeln!(out, "  {:<12} unreadable since {since}; {gone}: {}", state.tier, state.note)?;
    }
    Ok(())
}
