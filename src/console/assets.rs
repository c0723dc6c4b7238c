//! Assets: style sheet, scripts and icon, which are part of the binary.
//!
//! The address of an asset has the hash of its contents, so browsers may keep it forever; another version has another address.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use super::extract::Segment;
use crate::{model::Digest, service::HttpProblem};

/// A file that pages refer to.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($media_type:expr => $name:literal),* $(,)?) => {
        &[$(Asset { name: $name, media_type: $media_type, bytes: include_bytes!(concat!("assets/", $name)) }),*]
    };
}

/// The assets. `assets/vendor.json` says where those of other authors come from.
const ASSETS: &[Asset] = assets![
    CSS => "console.css",
    JAVASCRIPT => "console.js",
    JAVASCRIPT => "htmx.min.js",
    JAVASCRIPT => "hx-sse.min.js",
    JAVASCRIPT => "seal.js",
    JAVASCRIPT => "age.js",
    JAVASCRIPT => "passkey.js",
    JAVASCRIPT => "msal.js",
    JAVASCRIPT => "delegate.js",
    JAVASCRIPT => "delegate-mailbox.js",
    JAVASCRIPT => "delegate-return.js",
    JAVASCRIPT => "waiting.js",
    JAVASCRIPT => "compose.js",
    "image/svg+xml" => "icon.svg",
];

/// The hashes of the assets, in their order.
static HASHES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let hash = |asset: &Asset| -> String {
        Digest::of_bytes(asset.bytes).as_str().trim_start_matches("sha256:").chars().take(16).collect()
    };
    ASSETS.iter().map(hash).collect()
});

/// Returns the address of an asset.
pub(super) fn address(base: &str, name: &str) -> String {
    let hash = ASSETS.iter().zip(HASHES.iter()).find(|(asset, _)| asset.name == name).map(|(_, hash)| hash.as_str());
    format!("{base}/console/assets/{}/{name}", hash.unwrap_or("unknown"))
}

/// Sends an asset.
pub(super) async fn send(Segment((hash, name)): Segment<(String, String)>) -> Result<Response, HttpProblem> {
    let found = ASSETS.iter().zip(HASHES.iter()).find(|(asset, own)| asset.name == name && **own == hash);
    let Some((asset, _)) = found else {
        return Err(HttpProblem::not_found("this file belongs to another version of the console")
            .remedy("Load the page again."));
    };
    let mut response: Response = asset.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}
