//! x86-64 with AVX-512 F, BW, DQ, VL and VNNI.

use super::Kernel;

/// The token of [`super::Isa::Avx512`].
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Runs `kernel` with AVX-512 enabled.
///
/// # Safety
///
/// The CPU has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL and VNNI.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}
