// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things lie in the repository, and files that appear whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Top of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// `name` under the directory of built and downloaded files.
#[must_use]
pub fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// Writes `content` to `path` by way of a temporary file, creating directories on the way.
///
/// # Errors
/// The file system's, with the path.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let temporary = path.with_extension(format!("part{}", std::process::id()));
    fs::write(&temporary, content).context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, path).context(|| format!("writing {}", path.display()))
}

/// Creates `path` and its parents.
///
/// # Errors
/// The file system's, with the path.
pub fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("creating directory {}", path.display()))
}
