//! The envelope of every answer below `/api/v1`.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_model::storage::SelectError;
use serde::Serialize;

use super::stream::{MakePiece, made};

/// The kinds of error of the API, each with its fixed status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
}

impl ErrorKind {
    fn name(self) -> &'static str {
        match self {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Internal => "internal",
            ErrorKind::Unavailable => "unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // 499 is not registered; Prometheus and nginx use it for a client that went away.
            ErrorKind::Canceled => StatusCode::from_u16(499).expect("499 is a status code"),
            ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal | ErrorKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error for the caller. What only we should know goes to the log instead.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ApiError { kind, message: message.into() }
    }

    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        ApiError::new(ErrorKind::BadData, message)
    }

    /// A parameter that cannot be used, in Prometheus' words.
    pub(crate) fn parameter(name: &str, cause: impl std::fmt::Display) -> Self {
        ApiError::bad_data(format!("invalid parameter {}: {cause}", relatum_model::text::quote(name)))
    }
}

/// Why the store gave no answer, in Prometheus' kinds; what is wrong with it goes to the log.
impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        let kind = match error {
            SelectError::Cancelled => ErrorKind::Canceled,
            SelectError::Read { .. } | SelectError::Damaged { .. } => {
                tracing::error!(error = %crate::chain(&error), "the store could not be read");
                ErrorKind::Internal
            }
        };
        ApiError::new(kind, error.to_string())
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { status: "error", error_type: self.kind.name(), error: &self.message };
        let json = serde_json::to_vec(&body).expect("strings always serialize");
        (self.kind.status(), [(header::CONTENT_TYPE, "application/json")], json).into_response()
    }
}

/// A good answer: data that is JSON already, or becomes JSON while it is sent, and notes about it.
#[derive(Default)]
pub(crate) struct Success {
    // The answer up to the end of its data, or of the first piece of them.
    body: Vec<u8>,
    more: Option<MakePiece>,
    warnings: Vec<String>,
    infos: Vec<String>,
}

// More notes than this say nothing new; the rest is counted.
const NOTES_MAX: usize = 10;

impl Success {
    /// An answer whose data is serialized here.
    pub(crate) fn of(data: &impl Serialize) -> Self {
        Success::written(|out| serde_json::to_writer(out, data).expect("answers are plain data and always serialize"))
    }

    /// An answer whose data `write` adds as JSON: in its place, as there may be much of it.
    pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut body = Vec::with_capacity(1024);
        body.extend_from_slice(br#"{"status":"success","data":"#);
        write(&mut body);
        Success { body, ..Success::default() }
    }

    /// An answer whose data come in pieces, each added by a call of `make_piece` until that says that it was the last. What is made
    /// now is the first one.
    pub(crate) fn in_pieces(mut make_piece: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static) -> Self {
        let mut is_all = false;
        let first = Success::written(|out| is_all = make_piece(out));
        Success { more: (!is_all).then(|| Box::new(make_piece) as MakePiece), ..first }
    }

    pub(crate) fn with_notes(mut self, warnings: Vec<String>, infos: Vec<String>) -> Self {
        self.warnings = capped(warnings, "warning");
        self.infos = capped(infos, "info");
        self
    }
}

fn capped(mut notes: Vec<String>, kind: &str) -> Vec<String> {
    if notes.len() > NOTES_MAX {
        let omitted = notes.len() - NOTES_MAX;
        notes.truncate(NOTES_MAX);
        notes.push(format!("{omitted} more {kind} annotations omitted"));
    }
    notes
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        let Success { mut body, more, warnings, infos } = self;
        let mut end = Vec::new();
        for (name, notes) in [("warnings", &warnings), ("infos", &infos)] {
            if !notes.is_empty() {
                end.extend_from_slice(format!(",\"{name}\":").as_bytes());
                serde_json::to_writer(&mut end, notes).expect("strings always serialize");
            }
        }
        end.push(b'}');
        let body = match more {
            None => {
                body.append(&mut end);
                Body::from(body)
            }
            Some(mut make_piece) => made(
                body,
                Box::new(move |out| {
                    let is_last = make_piece(out);
                    if is_last {
                        out.append(&mut end);
                    }
                    is_last
                }),
            ),
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// What every handler of the API returns.
pub(crate) type ApiResult = Result<Success, ApiError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_gave_no_answer() {
        let damaged = SelectError::Damaged { what: "block a".to_owned(), reason: "b".to_owned() };
        for (error, status, kind, message) in [
            (SelectError::Cancelled, 499, "canceled", "query was canceled"),
            (damaged, 500, "internal", "cannot decode block a: b"),
        ] {
            let error = ApiError::from(error);
            assert_eq!((error.kind.status().as_u16(), error.kind.name(), &*error.message), (status, kind, message));
        }
    }
}
