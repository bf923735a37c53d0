//! Topics and their epochs: for operators of the service, whatever their workspace.

use agentworks_processors::epochs::EpochError;
use agentworks_processors::epochs::adopt::{AdoptError, Adopter, Choices, TopicReport};
use agentworks_schemas::Topic;
use serde::Serialize;
use warp::reply::Response;

use super::asked::{Asked, Id};
use super::error::ApiError;
use super::json;
use crate::Gateway;

#[derive(Serialize)]
struct Listed {
    topics: Vec<TopicReport>,
}

/// `GET /v1/admin/topics`: the topics' epochs, and what the sinks hold of each beside the log that is there.
pub(super) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    asked.operator()?;
    Ok(json(&Listed { topics: adopter(&asked)?.reports().await? }))
}

/// `POST /v1/admin/topics/{topic}/adopt?skipLost=true&cutBack=true&dryRun=true` goes on with a topic that has been made
/// again; or, where records were deleted before they were taken and `skipLost` is set, without those; or, where the log was
/// cut back and has grown again and `cutBack` is set, in the log as it is. What was done is the answer; every process finds
/// it in the store within seconds.
pub(super) async fn adopt(Id(name): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let skip_lost = asked.params.value("skipLost")?.unwrap_or(false);
    let cut_back = asked.params.value("cutBack")?.unwrap_or(false);
    let dry_run = asked.params.value("dryRun")?.unwrap_or(false);
    asked.params.finish()?;
    asked.operator()?;
    let unknown = || ApiError::NotFound(format!("{name:?} is none of {}", Topic::ALL.map(Topic::as_str).join(", ")));
    let topic = Topic::named(&name).ok_or_else(unknown)?;
    let adopter = adopter(&asked)?;
    // Once begun it is brought to its end, whether or not the client waits.
    let adopting = tokio::spawn(async move { adopter.adopt(topic, Choices { skip_lost, cut_back, dry_run }).await });
    Ok(json(&adopting.await.map_err(|_| ApiError::Internal)??))
}

fn adopter(asked: &Asked) -> Result<Adopter, ApiError> {
    let Gateway { reader, positions, .. } = &asked.gateway;
    let adopter = Adopter::new(reader).map_err(EpochError::from)?;
    Ok(adopter.with(positions.iter().cloned()))
}

impl From<AdoptError> for ApiError {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::NoTopic(_) => ApiError::NotFound(error.to_string()),
            AdoptError::Refused(_) | AdoptError::Overtaken(_) => ApiError::Conflict(error.to_string()),
            AdoptError::Fault(error) => error.into(),
        }
    }
}

impl From<EpochError> for ApiError {
    fn from(error: EpochError) -> Self {
        match error {
            EpochError::Kafka(error) => agentworks_processors::reader::ReadError::from(error).into(),
            EpochError::Store(error) => error.into(),
        }
    }
}
