//! The web UI, embedded in the binary under the feature `ui`.

use axum::response::{IntoResponse, Response};
use http::{Uri, header};

#[cfg(feature = "ui")]
#[derive(rust_embed::RustEmbed)]
#[folder = "../../ui/dist"]
struct Files;

/// A file of the UI. What looks like an asset and is none is a 404; every other path is a screen of the UI.
pub async fn serve(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    let is_asset = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if is_asset { file(path) } else { file("index.html") }
}

#[cfg(feature = "ui")]
fn file(path: &str) -> Response {
    let Some(found) = Files::get(path) else { return not_found() };
    // Vite puts a hash of the content into the names below assets/.
    let keep = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let kind = mime_guess::from_path(path).first_or_octet_stream().to_string();
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep.to_owned())], found.data).into_response()
}

#[cfg(not(feature = "ui"))]
fn file(path: &str) -> Response {
    if path != "index.html" {
        return not_found();
    }
    let text = "This server was built without its web UI. Build it with the feature `ui`, or run `cargo xtask up`.\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn not_found() -> Response {
    crate::problem::Problem::new("not_found", "There is no such file.").into_response()
}
