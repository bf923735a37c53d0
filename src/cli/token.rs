//! `agentworks token`: mints a token.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_schemas::access::{Claims, Role};
use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};

/// The file of a dev instance's data folder that holds its secret.
const SECRET_FILE: &str = "jwt.secret";

/// Mint a token, and print it.
///
/// It is signed with the secret of AGENTWORKS_JWT_SECRET, of --secret-file, or of a dev instance's data folder: the first
/// of --secret-file, --data and the variable that is given. Without any of them, ./data is tried.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The workspace that the token is limited to
    #[arg(long, env = "AGENTWORKS_WORKSPACE", value_name = "ID", default_value = "default")]
    workspace: String,
    /// What its bearer may do
    #[arg(long, value_enum, default_value_t = RoleName::Viewer)]
    role: RoleName,
    /// The cards that it is limited to, separated by commas; all of the workspace's if not given
    #[arg(long, value_name = "CARD,…", value_delimiter = ',')]
    cards: Option<Vec<String>>,
    /// How long it is valid: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Who its bearer is
    #[arg(long, value_name = "NAME", default_value = "cli")]
    subject: String,
    /// A file that holds the secret
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    secret_file: Option<PathBuf>,
    /// The data folder of an `agentworks dev`, which keeps a secret of its own
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    /// Reads
    Viewer,
    /// Reads and writes
    Writer,
    /// Reads, writes, and sees the service itself
    Operator,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Role::Viewer,
            RoleName::Writer => Role::Writer,
            RoleName::Operator => Role::Operator,
        }
    }
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let secret = self.secret()?;
        if self.workspace.is_empty() {
            bail!("--workspace: a token needs a workspace");
        }
        let claims = Claims {
            workspace: self.workspace,
            subject: self.subject,
            role: self.role.into(),
            cards: self.cards,
            // It ends `ttl` after its minting.
            ..Claims::default()
        };
        println!("{}", mint(&secret, &claims, self.ttl)?);
        Ok(ExitCode::SUCCESS)
    }

    fn secret(&self) -> anyhow::Result<Secret> {
        if let Some(file) = &self.secret_file {
            return Ok(Secret::from_file(file)?);
        }
        if let Some(data) = &self.data {
            return Ok(Secret::from_file(&data.join(SECRET_FILE))?);
        }
        if let Some(secret) = Secret::from_env()? {
            return Ok(secret);
        }
        let default = Path::new("data").join(SECRET_FILE);
        if default.exists() {
            return Ok(Secret::from_file(&default)?);
        }
        bail!("no secret: set AGENTWORKS_JWT_SECRET, or give --secret-file FILE, or --data DIR of an `agentworks dev`")
    }
}

fn parse_ttl(text: &str) -> anyhow::Result<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => bail!("a number with a unit is wanted: 90s, 30m, 12h, 7d"),
    };
    let number: u64 = number.parse().context("a number with a unit is wanted: 90s, 30m, 12h, 7d")?;
    let ttl = number.checked_mul(seconds).filter(|seconds| (1..=10 * 365 * 24 * 60 * 60).contains(seconds));
    Ok(Duration::from_secs(ttl.context("from 1s to 3650d")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_ttl("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_ttl("12h").unwrap(), Duration::from_secs(43_200));
        assert_eq!(parse_ttl("7d").unwrap(), Duration::from_secs(604_800));
        for wrong in ["", "12", "h", "0s", "-1h", "1.5h", "12 h", "4000d", "99999999999999999999s", "1h30m"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
