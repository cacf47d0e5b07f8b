//! 64-bit Arm with Advanced SIMD, and the same with the integer dot product.

use super::Kernel;

/// The token of [`super::Isa::Neon`].
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

/// The token of [`super::Isa::NeonDot`].
#[derive(Clone, Copy)]
pub(crate) struct NeonDot(());

/// Runs `kernel` with Advanced SIMD enabled.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[allow(unsafe_code)]
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

/// Runs `kernel` with Advanced SIMD and the integer dot product enabled.
///
/// # Safety
///
/// The CPU has Advanced SIMD and FEAT_DotProd.
#[allow(unsafe_code)]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_dot<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(NeonDot(()))
}
