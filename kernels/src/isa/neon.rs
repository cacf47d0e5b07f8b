//! 64-bit Arm with Advanced SIMD, the same with the integer dot product, and with the product of
//! 8-bit matrices as well.

use super::Kernel;

/// The token of [`super::Isa::Neon`].
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

/// The token of [`super::Isa::NeonDot`].
#[derive(Clone, Copy)]
pub(crate) struct NeonDot(());

/// The token of [`super::Isa::NeonI8mm`].
#[derive(Clone, Copy)]
pub(crate) struct NeonI8mm(());

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

/// Runs `kernel` with Advanced SIMD, the integer dot product and the product of 8-bit matrices
/// enabled.
///
/// # Safety
///
/// The CPU has Advanced SIMD, FEAT_DotProd and FEAT_I8MM.
#[allow(unsafe_code)]
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) unsafe fn run_i8mm<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(NeonI8mm(()))
}
