// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's toolstack in dom0's initramfs: xenstored, `init-dom0less`, the xenstore commands, and what they are linked
//! to. busybox has no shared libraries, so these come along.

use std::fs;

use crate::cpio::Archive;
use crate::debian;
use crate::error::{Context, Result};

/// Programs, by the role of their package. `/bin` is in the search path of `/init`.
const PROGRAMS: &[(&str, &str)] = &[
    ("xen-utils", "usr/lib/xen-4.20/bin/xenstored"),
    ("xen-utils", "usr/lib/xen-4.20/bin/init-dom0less"),
    ("xenstore-utils", "usr/bin/xenstore-chmod"),
    ("xenstore-utils", "usr/bin/xenstore-exists"),
    ("xenstore-utils", "usr/bin/xenstore-ls"),
    ("xenstore-utils", "usr/bin/xenstore-read"),
    ("xenstore-utils", "usr/bin/xenstore-rm"),
    ("xenstore-utils", "usr/bin/xenstore-write"),
];

/// Shared libraries, by the names under which the loader looks for them.
const LIBRARIES: &[(&str, &str)] = &[
    ("libc6", "ld-linux-aarch64.so.1"),
    ("libc6", "libc.so.6"),
    ("libfdt1", "libfdt.so.1"),
    ("libuuid1", "libuuid.so.1"),
    ("libxencall1", "libxencall.so.1"),
    ("libxendevicemodel1", "libxendevicemodel.so.1"),
    ("libxenevtchn1", "libxenevtchn.so.1"),
    ("libxenforeignmemory1", "libxenforeignmemory.so.1"),
    ("libxengnttab1", "libxengnttab.so.1"),
    ("libxenhypfs1", "libxenhypfs.so.1"),
    ("libxenmisc", "libxenctrl.so.4.20"),
    ("libxenmisc", "libxenguest.so.4.20"),
    ("libxenmisc", "libxenlight.so.4.20"),
    ("libxenstore4", "libxenstore.so.4"),
    ("libxentoolcore1", "libxentoolcore.so.1"),
    ("libxentoollog1", "libxentoollog.so.1"),
    ("libyajl2", "libyajl.so.2"),
    ("zlib1g", "libz.so.1"),
];

/// Scripts for dom0 and, the last, for a domU.
const SCRIPTS: &[(&str, &str)] = &[
    ("start-xenstore", include_str!("start-xenstore.sh")),
    ("vbd", include_str!("vbd.sh")),
    ("vbd-guest", include_str!("vbd-guest.sh")),
];

/// Roles of the packages that these come from, some more than once.
pub fn roles() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().chain(LIBRARIES).map(|(role, _)| *role)
}

/// Adds the toolstack to `archive`.
///
/// # Errors
/// When a package is missing or does not hold what it should.
pub fn add(archive: &mut Archive) -> Result<()> {
    archive.directory("lib");
    for (role, file) in LIBRARIES {
        let content = read(role, &format!("usr/lib/aarch64-linux-gnu/{file}"))?;
        archive.file(&format!("lib/{file}"), 0o755, &content);
    }
    for (role, file) in PROGRAMS {
        let (_, name) = file.rsplit_once('/').unwrap_or(("", file));
        archive.file(&format!("bin/{name}"), 0o755, &read(role, file)?);
    }
    for (name, script) in SCRIPTS {
        archive.file(&format!("bin/{name}"), 0o755, script.as_bytes());
    }
    Ok(())
}

/// The file, or what a link leads to.
fn read(role: &str, file: &str) -> Result<Vec<u8>> {
    let path = debian::unpacked(role)?.join(file);
    fs::read(&path).context(|| format!("reading {}", path.display()))
}
