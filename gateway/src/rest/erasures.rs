//! Erasures: made by operators, for the token's workspace.

use agentworks_processors::erasure::{EraseError, Eraser, Receipt, Target};
use agentworks_schemas::access::Role;
use serde::Serialize;
use warp::reply::Response;

use super::asked::{Asked, Id, check_id};
use super::error::ApiError;
use super::json;

#[derive(Serialize)]
struct Listed {
    erasures: Vec<Receipt>,
}

/// `POST /v1/erasures?run=R` erases a run, `POST /v1/erasures?workspace=W` all of the token's workspace, which has to be
/// named. The answer is the receipt, and comes when nobody can read any more what was erased: after some seconds.
pub(super) async fn make(mut asked: Asked) -> Result<Response, ApiError> {
    let (run, workspace) = (asked.params.text("run"), asked.params.text("workspace"));
    asked.params.finish()?;
    let claims = may_erase(&asked)?;
    let target = match (run, workspace) {
        (Some(run), None) => {
            check_id("run", &run)?;
            Target::Run(run)
        }
        (None, Some(workspace)) if workspace == claims.workspace => Target::Workspace,
        (None, Some(workspace)) => {
            let own = &claims.workspace;
            return Err(ApiError::Denied(format!("the token is for workspace {own:?}, not for {workspace:?}")));
        }
        _ => {
            let message = "say what to erase: either run=RUN, or workspace=WORKSPACE for all of it";
            return Err(ApiError::Invalid(message.to_owned()));
        }
    };
    let (eraser, workspace, by) = (eraser(&asked), claims.workspace.clone(), claims.subject.clone());
    // Once begun it is brought to its end, whether or not the client waits.
    let erasing = tokio::spawn(async move { eraser.erase(&workspace, target, &by).await });
    let receipt = erasing.await.map_err(|_| ApiError::Internal)??;
    Ok(json(&receipt))
}

/// `GET /v1/erasures`: the workspace's erasures, and how far each tier is.
pub(super) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let claims = may_erase(&asked)?;
    let erasures = eraser(&asked).receipts(&claims.workspace).await?;
    Ok(json(&Listed { erasures }))
}

/// `GET /v1/erasures/{id}`: one of them.
pub(super) async fn show(Id(id): Id, asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    let claims = may_erase(&asked)?;
    let receipt = eraser(&asked).receipt(&claims.workspace, &id).await?;
    receipt
        .map(|receipt| json(&receipt))
        .ok_or_else(|| ApiError::NotFound(format!("there is no erasure {id:?} in this workspace")))
}

fn eraser(asked: &Asked) -> Eraser {
    Eraser::new(asked.gateway.reader.clone())
}

/// Only an operator of the whole workspace may erase.
fn may_erase(asked: &Asked) -> Result<&agentworks_schemas::access::Claims, ApiError> {
    match &asked.claims {
        claims if claims.role < Role::Operator => {
            Err(ApiError::Denied("erasing takes a token with the role operator".to_owned()))
        }
        claims if claims.cards.is_some() => {
            Err(ApiError::Denied("erasing takes a token that isn't limited to some cards".to_owned()))
        }
        claims => Ok(claims),
    }
}

impl From<EraseError> for ApiError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::UnknownRun(_) => ApiError::NotFound(error.to_string()),
            EraseError::OtherLog(_) => ApiError::Conflict(error.to_string()),
            EraseError::Epoch(error) => error.into(),
            EraseError::Store(error) => error.into(),
            EraseError::Sink(error) => error.into(),
            EraseError::Read(error) => error.into(),
            EraseError::Kafka(error) => agentworks_processors::reader::ReadError::from(error).into(),
        }
    }
}
