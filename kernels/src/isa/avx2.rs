//! x86-64 with AVX2, FMA and F16C, and the same with AVX-VNNI.

use super::{Kernel, frame};

/// The token of [`super::Isa::Avx2`].
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// The token of [`super::Isa::AvxVnni`].
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(());

/// Runs `kernel` with AVX2, FMA and F16C enabled.
///
/// # Safety
///
/// The CPU has AVX2, FMA and F16C.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx2(()))
}

/// Runs `kernel` with AVX2, FMA, F16C and AVX-VNNI enabled.
///
/// # Safety
///
/// The CPU has AVX2, FMA, F16C and AVX-VNNI.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn run_vnni<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(AvxVnni(()))
}
