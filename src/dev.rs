//! Everything on one machine: Kafka as a child, and one process for the rest.

mod banner;
mod folder;
mod kafka;
mod pipeline;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_gateway::server;
use agentworks_schemas::Topics;
use agentworks_schemas::access::{Claims, Role};
use anyhow::Context;

use crate::cli::dev::Args;
use crate::logging;
use crate::roles::Stop;
use banner::{Banner, shell_quoted};
use folder::DataFolder;
use kafka::Kafka;
use pipeline::Pipeline;

/// How long the token that is printed is valid.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs everything until it is told to stop, or until Kafka can't be kept running or written to.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::allocator::keep_longer();
    let loaded = args.config()?;
    for (key, source) in loaded.given().filter(|(key, _)| args.decides(key)) {
        eprintln!("note: {key}, from {source}, is not used: `dev` decides that itself");
    }
    let folder = DataFolder::open(&args.data)?;
    logging::to_file(&folder.log())?;
    let mut stop = Stop::new()?;
    // First of all what fails at once, while nothing has been started yet.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.http_port));
    let listener = server::bind(address).with_context(|| {
        format!("cannot listen on {address}: choose another port with --http-port, or 0 for any that is free")
    })?;
    let secret = Secret::from_file_or_new(&folder.secret())?;
    let topics = Topics::with_prefix(&args.topic_prefix);

    let mut kafka = tokio::select! {
        kafka = Kafka::start(&args, &folder) => kafka?,
        () = stop.wait() => return Ok(ExitCode::SUCCESS),
    };
    let settings = kafka.settings(topics, loaded.kafka()?);
    let pipeline = tokio::select! {
        pipeline = Pipeline::start(&args, loaded, &folder, &settings, kafka.watch(), &secret, listener) => pipeline,
        () = stop.wait() => {
            kafka.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let pipeline = match pipeline {
        Ok(pipeline) => pipeline,
        Err(error) => {
            kafka.stop().await;
            return Err(error);
        }
    };

    announce(&args, &folder, &settings.brokers, pipeline.url(), &secret)?;
    let failure = tokio::select! {
        () = stop.wait() => None,
        reason = kafka.failed() => Some(format!("Kafka can't be kept running: {reason}")),
        // What ends a producer is that Kafka has lost what it acknowledged, or lets nobody write. Who is at the screen is to
        // see that, rather than another producer in silence; a start takes seconds, and goes on from the log.
        reason = pipeline.failed() => Some(format!("{reason}; start it again")),
    };
    eprintln!("stopping");
    folder.remove_env_file()?;
    tokio::select! {
        () = async { pipeline.stop().await; kafka.stop().await } => {}
        () = stop.wait() => {
            eprintln!("stopped at once, with work under way; it goes on from the log next time");
            return Ok(ExitCode::FAILURE);
        }
    }
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(reason) => Err(anyhow::anyhow!(reason)),
    }
}

/// Writes down where everything is, for clients and for people.
fn announce(args: &Args, folder: &DataFolder, brokers: &str, url: &str, secret: &Secret) -> anyhow::Result<()> {
    let claims = Claims {
        workspace: args.workspace.clone(),
        subject: "dev".into(),
        role: Role::Operator,
        // It ends `ttl` after its minting.
        ..Claims::default()
    };
    let token = mint(secret, &claims, TOKEN_TTL)?;
    let variables = [
        ("AGENTWORKS_URL", url),
        ("AGENTWORKS_TOKEN", &token),
        ("AGENTWORKS_BROKERS", brokers),
        ("AGENTWORKS_WORKSPACE", &args.workspace),
        ("AGENTWORKS_TOPIC_PREFIX", &args.topic_prefix),
    ];
    let set = variables.iter().filter(|(_, value)| !value.is_empty());
    let lines: String = set.map(|(name, value)| format!("{name}={}\n", shell_quoted(value))).collect();
    DataFolder::write_private(&folder.env_file(), &lines)?;
    let program = env::args().next().unwrap_or_else(|| "agentworks".into());
    let banner = Banner {
        url,
        brokers,
        token: &token,
        workspace: &args.workspace,
        env_file: &folder.env_file(),
        log: &folder.log(),
        demo: args.demo,
        program: &shell_quoted(&program),
    };
    println!("{banner}");
    Ok(())
}
