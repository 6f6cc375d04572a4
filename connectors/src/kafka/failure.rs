//! What librdkafka's errors mean here: which error of the seam each is, and what to do next.

use headwater_log_store::Error;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What is to be done about an error of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same call may succeed: the cluster is on its way, or out of reach for now.
    Retry,
    /// The transaction is to be aborted; its work may be done again.
    AbortAndRetry,
    /// Somebody else has taken over: this producer or member is to be dropped, and its work to be
    /// rebuilt from what was committed.
    Fence,
    /// Nothing that the program can do helps.
    Fail,
}

/// What is to be done about an error code.
pub(super) fn next(code: Code) -> Next {
    match code {
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::TransactionCoordinatorFenced
        | Code::InvalidProducerIdMapping
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::FencedInstanceId
        | Code::AssignmentLost
        | Code::PollExceeded
        | Code::RebalanceInProgress => Next::Fence,
        Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId
        | Code::GaplessGuarantee
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::InvalidTransactionalState
        | Code::MessageTimedOut
        | Code::State => Next::AbortAndRetry,
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::QueueFull
        | Code::WaitingForCoordinator
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::WaitCache
        | Code::Retry
        | Code::NodeUpdate
        | Code::UnknownBroker
        | Code::DestroyBroker
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::StaleControllerEpoch
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ConcurrentTransactions
        | Code::NotController
        | Code::KafkaStorageError
        | Code::OffsetNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::UnstableOffsetCommit
        | Code::ThrottlingQuotaExceeded => Next::Retry,
        // The codes are librdkafka's to extend: what is not known here is nothing to try again.
        _ => Next::Fail,
    }
}

/// The code of an error, if it has one.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether the same call may succeed.
pub(super) fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) if error.is_retriable() => true,
        KafkaError::Transaction(error) if error.txn_requires_abort() => false,
        other => code(other).is_some_and(|code| next(code) == Next::Retry),
    }
}

/// An error that has no variant of its own.
pub(super) fn external(operation: &'static str, error: &KafkaError) -> Error {
    let abort = match error {
        KafkaError::Transaction(error) => error.txn_requires_abort(),
        other => code(other).is_some_and(|code| next(code) == Next::AbortAndRetry),
    };
    Error::External {
        operation,
        reason: error.to_string(),
        retriable: abort || is_retriable(error),
    }
}

/// A code that has no variant of its own.
pub(super) fn of_code(operation: &'static str, code: Code) -> Error {
    let retriable = matches!(next(code), Next::Retry | Next::AbortAndRetry);
    Error::External { operation, reason: code.to_string(), retriable }
}

#[cfg(test)]
mod tests {
    use super::{Next, external, next};
    use headwater_log_store::Error;
    use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

    #[test]
    fn every_kind_of_error_says_what_to_do_next() {
        for (code, expected) in [
            (Code::NotCoordinator, Next::Retry),
            (Code::AllBrokersDown, Next::Retry),
            (Code::OutOfOrderSequenceNumber, Next::AbortAndRetry),
            (Code::InvalidProducerEpoch, Next::Fence),
            (Code::UnknownMemberId, Next::Fence),
            (Code::TopicAuthorizationFailed, Next::Fail),
            (Code::UnsupportedVersion, Next::Fail),
        ] {
            assert_eq!(next(code), expected, "{code:?}");
        }
    }

    #[test]
    fn an_error_without_a_variant_says_whether_to_try_again() {
        for (code, expected) in [(Code::NotCoordinator, true), (Code::InvalidRequest, false)] {
            let error = external("commit", &KafkaError::ConsumerCommit(code));
            let Error::External { retriable, .. } = error else { panic!("{error}") };
            assert_eq!(retriable, expected, "{code:?}");
        }
    }
}
