//! A verifier for demonstrations and for firms whose own people look at documents.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Document, Finding, Verifier};
use crate::AppError;

/// Looks at nothing: it finds what it is told to find, and at first that one of the firm's people has to look.
#[derive(Debug)]
pub struct SandboxVerifier(Mutex<Finding>);

impl Default for SandboxVerifier {
    fn default() -> Self {
        Self(Mutex::new(Finding::ForReview))
    }
}

impl SandboxVerifier {
    /// What it finds from now on, whatever it is shown.
    pub fn finds(&self, finding: Finding) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = finding;
    }
}

#[async_trait]
impl Verifier for SandboxVerifier {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn submit(&self, reference: &str, _: &[Document]) -> Result<String, AppError> {
        Ok(format!("sandbox-{reference}"))
    }

    async fn finding(&self, _: &str) -> Result<Finding, AppError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
