//! How a command fails: one line for the person, perhaps a hint, and the exit code.

use std::process::ExitCode;

use relatum_agent::control::Failure;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) struct CommandFailure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl CommandFailure {
    /// It makes sense but cannot be done: exit 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        CommandFailure { message: message.into(), hint: None, code: 1 }
    }

    /// It makes no sense as typed: exit 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        CommandFailure { message: message.into(), hint: None, code: 2 }
    }

    /// The same with advice.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        CommandFailure { hint: Some(hint.into()), ..self }
    }

    /// Says it on stderr, as juju does, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        anstream::eprintln!("{} {}", crate::output::bad("ERROR"), self.message);
        if let Some(hint) = &self.hint {
            anstream::eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Failure> for CommandFailure {
    fn from(failure: Failure) -> Self {
        let code = failure.exit_code();
        CommandFailure { message: failure.message, hint: failure.hint, code }
    }
}
