// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the parts, on plain memory and a platform that takes notes. Caches that can be wrong are in
//! `tests/tests/noncoherent/`.

mod dispatch;
mod iommu;
mod machine;
mod swiotlb;
mod xen;
