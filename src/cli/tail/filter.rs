//! Which lines are wanted: what the gateway is asked to leave out.

use agentworks_schemas::Source;
use clap::Args;

use super::levels::Levels;

/// Which lines are wanted; the gateway sends no others.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only lines of these levels: `warn+` (and graver), `error`, `info,warn`
    #[arg(long, value_name = "LEVEL")]
    level: Option<Levels>,
    /// Only lines of these sources: `orchestrator`, `provider`, `agent`, `system`
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    source: Vec<Source>,
    /// Only lines of these components
    #[arg(long, value_name = "COMPONENT", value_delimiter = ',')]
    component: Vec<String>,
    /// Only lines whose message contains this, whatever the case
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
}

/// How a route names its filters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Names {
    /// `level`, `source`, `component`.
    Page,
    /// `levels`, `sources`, `components`.
    Stream,
}

impl Filter {
    /// The filters as parameters.
    pub(super) fn query(&self, names: Names) -> Vec<(&'static str, String)> {
        let [level, source, component] = match names {
            Names::Page => ["level", "source", "component"],
            Names::Stream => ["levels", "sources", "components"],
        };
        let sources: Vec<&str> = self.source.iter().map(|source| source.as_str()).collect();
        let lists = [
            (level, self.level.as_ref().map(Levels::names)),
            (source, (!sources.is_empty()).then(|| sources.join(","))),
            (component, (!self.component.is_empty()).then(|| self.component.join(","))),
            ("text", self.grep.clone()),
        ];
        lists.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        filter: Filter,
    }

    fn query(line: &str, names: Names) -> Vec<(&'static str, String)> {
        Command::try_parse_from(line.split(' ')).unwrap().filter.query(names)
    }

    #[test]
    fn what_is_wanted_is_asked_of_the_gateway() {
        assert!(query("tail", Names::Stream).is_empty());
        let line = "tail --level warn+ --source agent,system --component planner --component tools --grep disk";
        let own = |pairs: [(&'static str, &str); 4]| pairs.map(|(name, value)| (name, value.to_owned())).to_vec();
        let pairs = [
            ("levels", "warn,error,fatal"),
            ("sources", "agent,system"),
            ("components", "planner,tools"),
            ("text", "disk"),
        ];
        assert_eq!(query(line, Names::Stream), own(pairs));
        let pairs = [
            ("level", "warn,error,fatal"),
            ("source", "agent,system"),
            ("component", "planner,tools"),
            ("text", "disk"),
        ];
        assert_eq!(query(line, Names::Page), own(pairs));
        assert!(Command::try_parse_from(["tail", "--source", "human"]).is_err());
    }
}
