//! Which of the driver's errors may pass.
//!
//! [`StoreError::Unavailable`] is everything that another attempt may outlive: timeouts, lost connections, too few
//! replicas, overload; also errors that the database calls internal, for nodes answer so while they shut down.
//! [`StoreError::Failed`] is the rest: a refused login, a missing table, a value too large. The driver's messages hold no
//! values and no passwords.

use std::fmt::Display;

use agentworks_store::StoreError;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    MetadataFetchErrorKind, NewSessionError, NextPageError, NextRowError, PrepareError, RequestAttemptError,
    RequestError, SchemaAgreementError, UseKeyspaceError,
};

/// What the driver says, as an error of the store.
pub(crate) trait IntoStoreError: Display {
    /// Whether the same call may succeed later.
    fn may_pass(&self) -> bool;

    fn into_store_error(self) -> StoreError
    where
        Self: Sized,
    {
        let text = self.to_string();
        if self.may_pass() { StoreError::Unavailable(text) } else { StoreError::Failed(text) }
    }
}

/// For what the driver couldn't read: it isn't what we asked for.
pub(crate) fn unreadable(error: impl Display) -> StoreError {
    StoreError::Failed(format!("an answer can't be read: {error}"))
}

/// Whether the database wants a login, and was given none.
pub(crate) fn wants_login(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(error)) = error else { return false };
    let ConnectionPoolError::Broken { last_connection_error: error } = error else { return false };
    let ConnectionError::ConnectionSetupRequestError(error) = error else { return false };
    matches!(error.get_error(), ConnectionSetupRequestErrorKind::MissingAuthentication)
}

impl IntoStoreError for ExecutionError {
    fn may_pass(&self) -> bool {
        match self {
            ExecutionError::EmptyPlan | ExecutionError::RequestTimeout(_) => true,
            ExecutionError::ConnectionPoolError(error) => error.may_pass(),
            ExecutionError::LastAttemptError(error) => error.may_pass(),
            ExecutionError::PrepareError(error) => error.may_pass(),
            ExecutionError::UseKeyspaceError(error) => error.may_pass(),
            ExecutionError::SchemaAgreementError(error) => error.may_pass(),
            ExecutionError::MetadataError(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl IntoStoreError for NewSessionError {
    fn may_pass(&self) -> bool {
        match self {
            NewSessionError::FailedToResolveAnyHostname(_) => true,
            NewSessionError::MetadataError(error) => error.may_pass(),
            NewSessionError::UseKeyspaceError(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl IntoStoreError for PrepareError {
    fn may_pass(&self) -> bool {
        match self {
            PrepareError::ConnectionPoolError(error) => error.may_pass(),
            PrepareError::AllAttemptsFailed { first_attempt } => first_attempt.may_pass(),
            _ => false,
        }
    }
}

impl IntoStoreError for UseKeyspaceError {
    fn may_pass(&self) -> bool {
        match self {
            UseKeyspaceError::RequestTimeout(_) => true,
            UseKeyspaceError::RequestError(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl IntoStoreError for SchemaAgreementError {
    fn may_pass(&self) -> bool {
        match self {
            SchemaAgreementError::Timeout(_) | SchemaAgreementError::RequiredHostAbsent(_) => true,
            SchemaAgreementError::ConnectionPoolError(error) => error.may_pass(),
            SchemaAgreementError::PrepareError(error) => error.may_pass(),
            SchemaAgreementError::RequestError(error) => error.may_pass(),
            _ => false,
        }
    }
}

impl IntoStoreError for MetadataError {
    fn may_pass(&self) -> bool {
        match self {
            MetadataError::ConnectionPoolError(error) => error.may_pass(),
            MetadataError::FetchError(error) => match &error.error {
                MetadataFetchErrorKind::PrepareError(error) => error.may_pass(),
                MetadataFetchErrorKind::NextRowError(NextRowError::NextPageError(error)) => match error {
                    NextPageError::RequestFailure(RequestError::LastAttemptError(error)) => error.may_pass(),
                    NextPageError::RequestFailure(_) => true,
                    _ => false,
                },
                _ => false,
            },
            // Of a node that is starting: it knows nobody yet, not even itself.
            MetadataError::Peers(_) => true,
            _ => false,
        }
    }
}

impl IntoStoreError for ConnectionPoolError {
    fn may_pass(&self) -> bool {
        match self {
            ConnectionPoolError::Broken { last_connection_error } => last_connection_error.may_pass(),
            ConnectionPoolError::NodeDisabledByHostFilter => false,
            _ => true,
        }
    }
}

impl IntoStoreError for ConnectionError {
    fn may_pass(&self) -> bool {
        match self {
            ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
                ConnectionSetupRequestErrorKind::DbError(error, _) => db_may_pass(error),
                ConnectionSetupRequestErrorKind::BrokenConnection(_)
                | ConnectionSetupRequestErrorKind::UnableToAllocStreamId => true,
                _ => false,
            },
            // So does rustls say that a certificate won't do.
            ConnectionError::IoError(error) => error.kind() != std::io::ErrorKind::InvalidData,
            ConnectionError::UseKeyspaceError(error) => error.may_pass(),
            _ => true,
        }
    }
}

impl IntoStoreError for RequestAttemptError {
    fn may_pass(&self) -> bool {
        match self {
            RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => true,
            RequestAttemptError::DbError(error, _) => db_may_pass(error),
            _ => false,
        }
    }
}

fn db_may_pass(error: &DbError) -> bool {
    matches!(
        error,
        DbError::Unavailable { .. }
            | DbError::Overloaded
            | DbError::IsBootstrapping
            | DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::RateLimitReached { .. }
            | DbError::ServerError
            // A node under pressure forgets statements sooner than the driver can prepare them again.
            | DbError::Unprepared { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn db(error: DbError) -> StoreError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "why".into())).into_store_error()
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let timeout = ExecutionError::RequestTimeout(Duration::from_millis(5)).into_store_error();
        assert!(timeout.is_transient());
        assert!(timeout.to_string().contains("5ms"), "{timeout}");
        for passing in [DbError::Overloaded, DbError::IsBootstrapping, DbError::ServerError] {
            assert!(db(passing).is_transient());
        }
        for lasting in [DbError::Invalid, DbError::SyntaxError, DbError::Unauthorized, DbError::AuthenticationError] {
            assert!(!db(lasting).is_transient());
        }
        let refused = ConnectionError::IoError(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into());
        assert!(ConnectionPoolError::Broken { last_connection_error: refused }.into_store_error().is_transient());
        let certificate = ConnectionError::IoError(std::io::Error::from(std::io::ErrorKind::InvalidData).into());
        assert!(!ConnectionPoolError::Broken { last_connection_error: certificate }.into_store_error().is_transient());
    }
}
