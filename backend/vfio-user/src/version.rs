//! VERSION: what the client can do, and our reply.

use serde_json::Value;

use crate::proto;

/// What the client said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerLimits {
    /// Largest data part of one message the client accepts, bytes.
    pub(crate) max_data_xfer: usize,
}

/// Why a VERSION body is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum VersionError {
    #[error("the VERSION message is too short")]
    Short,
    #[error("protocol version {0}.{1} is not 0.x")]
    Major(u16, u16),
    #[error("the capabilities are not one NUL-terminated JSON object")]
    Json,
    #[error("max_data_xfer_size {0} is not at least 4096")]
    DataXfer(String),
}

/// Parses the body of the client's VERSION: major, minor, and (if anything) NUL-terminated JSON.
pub(crate) fn parse(body: &[u8]) -> Result<PeerLimits, VersionError> {
    if body.len() < 4 {
        return Err(VersionError::Short);
    }
    let (major, minor) = (proto::u16_at(body, 0), proto::u16_at(body, 2));
    if major != 0 {
        return Err(VersionError::Major(major, minor));
    }
    let mut limits = PeerLimits { max_data_xfer: proto::MAX_DATA_XFER };
    if body.len() == 4 {
        return Ok(limits);
    }
    let json = body[4..].strip_suffix(&[0]).ok_or(VersionError::Json)?;
    let caps: Value = serde_json::from_slice(json).map_err(|_| VersionError::Json)?;
    if !caps.is_object() {
        return Err(VersionError::Json);
    }
    if let Some(value) = caps.get("capabilities").and_then(|c| c.get("max_data_xfer_size")) {
        let bytes = value.as_u64().and_then(|v| usize::try_from(v).ok()).filter(|v| *v >= 4096);
        limits.max_data_xfer = bytes.ok_or_else(|| VersionError::DataXfer(value.to_string()))?;
    }
    Ok(limits)
}

/// Our VERSION body: 0.0 and the shortest JSON that says what QEMU needs to know (its reply buffer is small).
pub(crate) fn reply() -> Vec<u8> {
    let json = format!(
        "{{\"capabilities\":{{\"max_msg_fds\":{},\"max_data_xfer_size\":{}}}}}\0",
        proto::MAX_MSG_FDS,
        proto::MAX_DATA_XFER
    );
    let mut body = vec![0; 4];
    body.extend_from_slice(json.as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(major: u16, json: &str) -> Vec<u8> {
        let mut b = major.to_le_bytes().to_vec();
        b.extend_from_slice(&[0, 0]);
        b.extend_from_slice(json.as_bytes());
        b
    }

    #[test]
    fn qemus_own_capabilities_are_accepted() {
        let json = concat!(
            r#"{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "#,
            r#""max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "#,
            r#""write_multiple": true}}"#,
            "\0"
        );
        assert_eq!(parse(&body(0, json)), Ok(PeerLimits { max_data_xfer: 1 << 20 }));
    }

    #[test]
    fn wrong_versions_and_broken_json_are_refused() {
        assert_eq!(parse(&[0, 0, 0]), Err(VersionError::Short));
        assert_eq!(parse(&body(1, "{}\0")), Err(VersionError::Major(1, 0)));
        assert_eq!(parse(&body(0, "{}")), Err(VersionError::Json), "no NUL");
        assert_eq!(parse(&body(0, "[1]\0")), Err(VersionError::Json));
        let deep = format!("{}\0", "[".repeat(100_000));
        assert_eq!(parse(&body(0, &deep)), Err(VersionError::Json), "deep nesting must not exhaust the stack");
        let zero = parse(&body(0, "{\"capabilities\":{\"max_data_xfer_size\":0}}\0"));
        assert_eq!(zero, Err(VersionError::DataXfer("0".into())));
    }

    #[test]
    fn the_reply_fits_qemus_buffer_and_is_json() {
        let reply = reply();
        assert!(proto::HEADER_SIZE + reply.len() <= proto::MAX_VERSION_REPLY);
        assert_eq!(reply.last(), Some(&0));
        let v: Value = serde_json::from_slice(&reply[4..reply.len() - 1]).unwrap();
        assert_eq!(v["capabilities"]["max_msg_fds"], 16);
    }
}
