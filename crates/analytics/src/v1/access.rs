//! Who may call which operation: the table that a test walks through.

/// Who gets an answer other than `unauthenticated`, `forbidden` or `not_found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever is signed in; they see what is theirs.
    SignedIn,
    /// The owner of what the address names and those of the firm who may read every account; for everybody else it is not
    /// found.
    OwnerOrStaff,
    /// Those of the firm who may see its business.
    Business,
}

/// Method, path and who may, in the order of the paths.
pub const ACCESS: [(&str, &str, Access); 7] = [
    ("GET", "/v1/analytics/accounts/{id}/curve", Access::OwnerOrStaff),
    ("GET", "/v1/analytics/accounts/{id}/rank", Access::OwnerOrStaff),
    ("GET", "/v1/analytics/accounts/{id}/statistics", Access::OwnerOrStaff),
    ("GET", "/v1/analytics/business", Access::Business),
    ("GET", "/v1/analytics/leaderboard", Access::Public),
    ("GET", "/v1/analytics/me/ranks", Access::SignedIn),
    ("GET", "/v1/analytics/me/statistics", Access::SignedIn),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_row() {
        let rows = ACCESS.map(|(method, path, _)| (path.to_owned(), method.to_owned()));
        assert_eq!(testkit::operations(&crate::openapi().unwrap()), rows);
    }
}
