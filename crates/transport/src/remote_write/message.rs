//! Which message a request holds, and its bytes.

use relatum_model::remote_write::Version;

use super::{BODY_BYTES_MAX, ReceiveError};

const MEDIA_TYPE: &str = "application/x-protobuf";

/// The message that the headers announce, which must be among those that are `accepted`.
pub(super) fn version(
    content_type: &str,
    content_encoding: &str,
    accepted: &[Version],
) -> Result<Version, ReceiveError> {
    if !matches!(content_encoding, "" | "snappy") {
        return Err(ReceiveError::Encoding(content_encoding.to_owned()));
    }
    let list = || accepted.iter().map(|version| version.message()).collect::<Vec<_>>().join(", ");
    let refused = |text| Err(ReceiveError::ContentType(text));
    let mut version = Version::V1;
    let content_type = content_type.trim();
    if !content_type.is_empty() {
        let mut parts = content_type.split(';');
        if parts.next() != Some(MEDIA_TYPE) {
            return refused(format!(
                "expected {MEDIA_TYPE} as the first (media) part, got {content_type} content-type"
            ));
        }
        for part in parts {
            match part.trim().split_once('=') {
                Some(("proto", message)) => {
                    let known = [Version::V1, Version::V2].into_iter().find(|version| version.message() == message);
                    let Some(known) = known else {
                        return refused(format!(
                            "got {content_type} content type; unknown type for remote write protobuf message {message}, supported: {}",
                            list()
                        ));
                    };
                    version = known;
                    break;
                }
                Some(_) => {}
                None => {
                    return refused(format!(
                        "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {content_type} content-type"
                    ));
                }
            }
        }
    }
    if !accepted.contains(&version) {
        return refused(format!(
            "{} protobuf message is not accepted by this server; only accepts {}",
            version.message(),
            list()
        ));
    }
    Ok(version)
}

/// Decompresses `body` into `buffer`, whatever is in that, after a look at the size that it declares: a few bytes can declare
/// gigabytes.
pub(super) fn decompress<'b>(body: &[u8], buffer: &'b mut Vec<u8>) -> Result<&'b [u8], ReceiveError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(ReceiveError::BodyTooLarge);
    }
    if body.is_empty() {
        return Err(ReceiveError::Snappy);
    }
    // The library refuses what does not fit into 32 bits; Go does so with the same words as anything else.
    let length = snap::raw::decompress_len(body).map_err(|_| ReceiveError::Snappy)?;
    if length > BODY_BYTES_MAX {
        return Err(ReceiveError::DecodedTooLarge);
    }
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let length = snap::raw::Decoder::new().decompress(body, buffer).map_err(|_| ReceiveError::Snappy)?;
    Ok(&buffer[..length])
}
