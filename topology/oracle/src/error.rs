//! What can go wrong while a case runs.

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// A case is not well formed.
    #[error("operator {id}: {reason}")]
    Operator {
        /// The operator.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The topology cannot be built.
    #[error(transparent)]
    Build(#[from] headwater_topology::BuildError),
    /// The topology failed while it ran.
    #[error(transparent)]
    Run(#[from] headwater_topology::Error),
    /// The Java program failed.
    #[error("{what}: {source}")]
    Java {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A case or an outcome is no JSON of the right shape.
    #[error("{what}: {source}")]
    Json {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl OracleError {
    pub(crate) fn operator(id: &str, reason: impl Into<String>) -> Self {
        Self::Operator { id: id.to_owned(), reason: reason.into() }
    }

    pub(crate) fn java(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Java { what, source }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }
}
