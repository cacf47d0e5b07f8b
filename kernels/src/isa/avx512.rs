//! x86-64 with AVX-512 F, BW, DQ, VL and VNNI, and with VBMI and BITALG or BF16 besides.

use super::{Kernel, frame};

/// The token of [`super::Isa::Avx512`], and where `VBMI` is true of [`super::Isa::Avx512Vbmi`],
/// where `BF16` is of [`super::Isa::Avx512Bf16`]. No kernel wants both.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VBMI: bool, const BF16: bool>(());

/// Runs `kernel` with AVX-512 enabled.
///
/// # Safety
///
/// The CPU has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL and VNNI.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<false, false>(()))
}

/// Runs `kernel` with AVX-512, VBMI and BITALG enabled.
///
/// # Safety
///
/// As for [`run`], and the CPU has AVX-512 VBMI and BITALG.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512vbmi,avx512bitalg")]
pub(super) unsafe fn run_vbmi<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<true, false>(()))
}

/// Runs `kernel` with AVX-512 and BF16 enabled.
///
/// # Safety
///
/// As for [`run`], and the CPU has AVX-512 BF16.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512bf16")]
pub(super) unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<false, true>(()))
}
