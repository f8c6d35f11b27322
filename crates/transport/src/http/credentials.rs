//! The headers by which we say who we are.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relatum_config::prometheus::HttpClientConfig;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::HttpError;

/// Makes the headers of a request.
#[derive(Debug)]
pub(super) enum Credentials {
    /// They are always the same.
    Fixed(HeaderMap),
    /// They come from files, read for each request, as a token may change between two.
    FromFiles(Box<HttpClientConfig>),
}

impl Credentials {
    /// Credentials as `config` says; fails when a file cannot be read now, or when a value cannot be sent.
    pub(super) fn open(config: &HttpClientConfig) -> Result<Self, HttpError> {
        let headers = headers(config)?;
        let reads_files =
            config.basic_auth.as_ref().is_some_and(|auth| auth.username_file.is_some() || auth.password_file.is_some())
                || config.authorization.as_ref().is_some_and(|auth| auth.credentials_file.is_some())
                || config.headers.values().any(|header| !header.files.is_empty());
        Ok(if reads_files { Credentials::FromFiles(Box::new(config.clone())) } else { Credentials::Fixed(headers) })
    }

    /// The headers, if making them needs no file.
    pub(super) fn fixed(&self) -> Option<&HeaderMap> {
        match self {
            Credentials::Fixed(headers) => Some(headers),
            Credentials::FromFiles(_) => None,
        }
    }

    /// The headers; may read files.
    pub(super) fn read(&self) -> Result<HeaderMap, HttpError> {
        match self {
            Credentials::Fixed(headers) => Ok(headers.clone()),
            Credentials::FromFiles(config) => headers(config),
        }
    }
}

fn headers(config: &HttpClientConfig) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    if let Some(auth) = &config.basic_auth {
        let username =
            either(Some(auth.username.as_str()).filter(|name| !name.is_empty()), auth.username_file.as_deref())?;
        let password = either(auth.password.as_ref().map(|password| password.expose()), auth.password_file.as_deref())?;
        let value = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        headers.insert(AUTHORIZATION, secret_value("Authorization", &value)?);
    }
    if let Some(auth) = &config.authorization {
        let credentials =
            either(auth.credentials.as_ref().map(|text| text.expose()), auth.credentials_file.as_deref())?;
        headers.insert(AUTHORIZATION, secret_value("Authorization", &format!("{} {credentials}", auth.kind))?);
    }
    for (name, header) in &config.headers {
        let header_name = header_name(name)?;
        for value in &header.values {
            headers.append(&header_name, header_value(name, value)?);
        }
        for secret in &header.secrets {
            headers.append(&header_name, secret_value(name, secret.expose())?);
        }
        for file in &header.files {
            headers.append(&header_name, secret_value(name, &read(file)?)?);
        }
    }
    Ok(headers)
}

fn either(text: Option<&str>, file: Option<&Path>) -> Result<String, HttpError> {
    match (text, file) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(path)) => read(path),
        (None, None) => Ok(String::new()),
    }
}

/// Reads a secret: editors end files with a newline that belongs to no password.
fn read(path: &Path) -> Result<String, HttpError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(HttpError::ReadFile { path: path.to_owned(), source }),
    }
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, HttpError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HttpError::Header { name: name.to_owned() })
}

pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, HttpError> {
    HeaderValue::from_str(value).map_err(|_| HttpError::Header { name: name.to_owned() })
}

fn secret_value(name: &str, value: &str) -> Result<HeaderValue, HttpError> {
    let mut value = header_value(name, value)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use relatum_config::Secret;
    use relatum_config::prometheus::{Authorization, BasicAuth};

    use super::*;

    #[track_caller]
    fn check(config: &HttpClientConfig, expected: &str) {
        let headers = Credentials::open(config).unwrap().read().unwrap();
        assert_eq!(headers[AUTHORIZATION], expected);
        assert!(headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn who_we_are() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"s3cret\n").unwrap();
        let basic = BasicAuth {
            username: "me".to_owned(),
            password_file: Some(file.path().to_owned()),
            ..BasicAuth::default()
        };
        let mut config = HttpClientConfig { basic_auth: Some(basic), ..HttpClientConfig::default() };
        check(&config, "Basic bWU6czNjcmV0");
        config.basic_auth = None;
        config.authorization = Some(Authorization {
            kind: "Bearer".to_owned(),
            credentials: Some(Secret::new("t")),
            credentials_file: None,
            credentials_ref: None,
        });
        check(&config, "Bearer t");
        assert!(Credentials::open(&config).unwrap().fixed().is_some());
        config.authorization = Some(Authorization {
            kind: "Bearer".to_owned(),
            credentials: None,
            credentials_file: Some(file.path().to_owned()),
            credentials_ref: None,
        });
        let credentials = Credentials::open(&config).unwrap();
        assert!(credentials.fixed().is_none());
        // A rotated token counts from the next request on.
        std::fs::write(file.path(), "new").unwrap();
        assert_eq!(credentials.read().unwrap()[AUTHORIZATION], "Bearer new");
    }
}
