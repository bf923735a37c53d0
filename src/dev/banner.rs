//! The one screen that says where everything is.

use std::fmt;
use std::path::Path;

/// What a newcomer needs to know.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) url: &'a str,
    pub(super) brokers: &'a str,
    pub(super) token: &'a str,
    pub(super) workspace: &'a str,
    pub(super) env_file: &'a Path,
    pub(super) log: &'a Path,
    pub(super) demo: bool,
    pub(super) program: &'a str,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Banner { url, brokers, token, workspace, program, .. } = self;
        writeln!(f)?;
        writeln!(f, "  AgentWorks is ready{}.", if self.demo { ", with a demo fleet" } else { "" })?;
        writeln!(f)?;
        // The token stands in the fragment, which browsers don't send to any server.
        writeln!(f, "  Terminal   {url}/#token={token}")?;
        writeln!(f, "  Kafka      {brokers}")?;
        writeln!(f, "  Workspace  {workspace}; the token above is valid for 30 days")?;
        writeln!(f, "  Log        {}", self.log.display())?;
        writeln!(f)?;
        writeln!(f, "  In another shell:")?;
        writeln!(f)?;
        writeln!(f, "    set -a; . {}; set +a", shell_quoted(&self.env_file.display().to_string()))?;
        writeln!(f, "    {program} run --card hello -- ls -l")?;
        writeln!(f, "    {program} tail hello")?;
        writeln!(f, "    cargo build 2>&1 | {program} ship --card build")?;
        writeln!(f)?;
        writeln!(f, "  Ctrl-C stops everything; nothing that was acknowledged is lost.")
    }
}

/// The text as one word of a POSIX shell.
pub(super) fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_quoted;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(shell_quoted("/tmp/data/dev.env"), "/tmp/data/dev.env");
        assert_eq!(shell_quoted("/tmp/my data"), "'/tmp/my data'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted(""), "''");
    }
}
