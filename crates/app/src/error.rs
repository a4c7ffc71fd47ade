//! The one error of use cases. What the caller may read and what the operator needs are two texts.

/// A cause from an adapter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    Unauthenticated,
    /// Signed in, but not allowed.
    #[error("not allowed")]
    Forbidden,
    /// No such thing, or not the caller's: the two are not told apart.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The request's fields are wrong; all faults at once.
    #[error("the request is wrong: {}", faults(.0))]
    Invalid(Vec<FieldError>),
    /// Understood and refused; the caller can act on it.
    #[error("{code}: {say}")]
    Refused {
        /// The documented code.
        code: &'static str,
        /// For the caller.
        say: String,
    },
    /// A part is not there; the same request may succeed later.
    #[error("{doing} is not possible now")]
    Unavailable {
        /// The operation that failed.
        doing: &'static str,
        /// For the operator.
        #[source]
        source: BoxError,
    },
    /// Ours to mend: logged once, and the caller is told nothing but that.
    #[error("{doing} failed")]
    Bug {
        /// The operation that failed.
        doing: &'static str,
        /// For the operator.
        #[source]
        source: BoxError,
    },
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer, such as `/quantity`.
    pub pointer: String,
    /// The documented code.
    pub code: &'static str,
    /// For the caller.
    pub say: String,
}

fn faults(faults: &[FieldError]) -> String {
    let each: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.say)).collect();
    each.join("; ")
}

impl AppError {
    /// A refusal with its code.
    pub fn refused(code: &'static str, say: impl Into<String>) -> Self {
        Self::Refused { code, say: say.into() }
    }

    /// One wrong field.
    pub fn field(pointer: &str, say: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError {
            pointer: pointer.to_owned(),
            code: "validation_failed",
            say: say.into(),
        }])
    }

    /// For `map_err` on sums of instants and spans: no clock reads so.
    pub fn clock(error: kernel::Overflow) -> Self {
        Self::Bug { doing: "reading the clock", source: Box::new(error) }
    }

    /// For `map_err` around a port.
    pub fn bug(doing: &'static str) -> impl FnOnce(BoxError) -> Self {
        move |source| Self::Bug { doing, source }
    }
}

/// An error with everything that caused it, for the operator.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
