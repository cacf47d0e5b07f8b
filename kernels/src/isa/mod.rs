//! Instruction sets: which ones this CPU has, and the one gateway from that run-time fact to
//! code compiled for it.
//!
//! An instruction set is a zero-sized token (`Scalar`, `Avx2`, …) that only `Cpu::run` hands
//! out, after detection, so holding one proves that its instructions may be executed. Algorithms
//! are written once against the vocabulary `Simd` that every token implements, packed into a
//! `Kernel`, and compiled by `Cpu::run` once per instruction set with that set's features
//! enabled.
//!
//! No other module asks what the CPU can do.

mod cache;
mod floats;
mod lanes;
mod one_row;
mod prefetch;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod frame;
#[cfg(target_arch = "aarch64")]
mod neon;

pub(crate) use cache::first_level_bytes;
pub(crate) use floats::{Floats, WIDTH, erf, exp, exp2, sigmoid, tanh};
pub(crate) use lanes::{ByteTables, CodeRange, Lanes, Task, dot_bf16_exactly, widen_bf16};
pub(crate) use one_row::{Bytes, OneRow};
pub(crate) use prefetch::prefetch;
pub(crate) use scalar::Scalar;

use std::fmt;
use std::str::FromStr;

/// An instruction set that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable Rust, the reference of all others.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Isa::Avx2`] with the 256-bit integer dot product of AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// [`Isa::Avx512`] with VBMI and BITALG, which look bytes up in registers.
    Avx512Vbmi,
    /// [`Isa::Avx512Vbmi`] with BF16, which adds products of pairs of bfloat16.
    Avx512Bf16,
    /// 64-bit Arm with Advanced SIMD.
    Neon,
    /// [`Isa::Neon`] with the integer dot product (FEAT_DotProd).
    NeonDot,
    /// [`Isa::NeonDot`] with the product of 8-bit matrices (FEAT_I8MM).
    NeonI8mm,
}

impl Isa {
    /// Every instruction set, best last within each architecture.
    pub const ALL: [Isa; 9] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vbmi,
        Isa::Avx512Bf16,
        Isa::Neon,
        Isa::NeonDot,
        Isa::NeonI8mm,
    ];

    /// The name used on command lines: `scalar`, `avx2`, `avxvnni`, `avx512`, `avx512vbmi`,
    /// `avx512bf16`, `neon`, `neondot`, `neoni8mm`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vbmi => "avx512vbmi",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Neon => "neon",
            Isa::NeonDot => "neondot",
            Isa::NeonI8mm => "neoni8mm",
        }
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            let vbmi = avx512
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512bitalg");
            match self {
                Isa::Scalar => true,
                Isa::Avx2 => avx2,
                Isa::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Isa::Avx512 => avx512,
                Isa::Avx512Vbmi => vbmi,
                Isa::Avx512Bf16 => vbmi && is_x86_feature_detected!("avx512bf16"),
                Isa::Neon | Isa::NeonDot | Isa::NeonI8mm => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected;
            let neon = is_aarch64_feature_detected!("neon");
            let dot = neon && is_aarch64_feature_detected!("dotprod");
            match self {
                Isa::Scalar => true,
                Isa::Neon => neon,
                Isa::NeonDot => dot,
                Isa::NeonI8mm => dot && is_aarch64_feature_detected!("i8mm"),
                Isa::Avx2 | Isa::AvxVnni => false,
                Isa::Avx512 | Isa::Avx512Vbmi | Isa::Avx512Bf16 => false,
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            self == Isa::Scalar
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of an instruction set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown instruction set `{}`; one of", self.0)?;
        Isa::ALL.iter().try_for_each(|isa| write!(f, " {isa}"))
    }
}

impl std::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(text: &str) -> Result<Isa, UnknownIsa> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == text)
            .ok_or_else(|| UnknownIsa(text.into()))
    }
}

/// What matrix products take at once with an instruction set.
#[derive(Clone, Copy)]
pub(crate) struct MatrixShape {
    /// Rows of weights in a vector.
    pub(crate) rows: usize,
    /// Columns of activations in a panel, at most.
    pub(crate) columns: usize,
    /// Columns of a full panel, where there are many.
    pub(crate) full_columns: usize,
    /// Words of a column's codes that lie together in a panel.
    pub(crate) words: usize,
}

/// A CPU with the instruction set that the kernels use on it. Holding one proves that the
/// instruction set was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    isa: Isa,
}

impl Cpu {
    /// Any CPU, with portable Rust.
    pub(crate) const SCALAR: Cpu = Cpu { isa: Isa::Scalar };

    /// The best instruction set of this CPU.
    pub fn detect() -> Cpu {
        let isa = Isa::ALL.into_iter().rev().find(|isa| isa.is_available());
        Cpu {
            isa: isa.unwrap_or(Isa::Scalar),
        }
    }

    /// This CPU restricted to `isa`; `None` if it does not have it.
    pub fn with(isa: Isa) -> Option<Cpu> {
        isa.is_available().then_some(Cpu { isa })
    }

    /// Every instruction set of this CPU, as the agreement tests and benches run over.
    pub fn all() -> impl Iterator<Item = Cpu> {
        Isa::ALL.into_iter().filter_map(Cpu::with)
    }

    /// The instruction set in use.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Rows of weights in a vector of a matrix product.
    pub(crate) fn matrix_rows(self) -> usize {
        self.matrix_shape().rows
    }

    /// Whether matrix products read bfloat16 activations in pairs.
    pub(crate) fn dots_bf16(self) -> bool {
        struct Dots;
        impl Kernel for Dots {
            type Output = bool;

            const DOTS_BF16: bool = true;

            #[inline(always)]
            fn run<S: Simd>(self, _simd: S) -> bool {
                S::DOTS_BF16
            }
        }
        self.run(Dots)
    }

    /// What a matrix product takes at once.
    pub(crate) fn matrix_shape(self) -> MatrixShape {
        struct Shape;
        impl Kernel for Shape {
            type Output = MatrixShape;

            #[inline(always)]
            fn run<S: Simd>(self, _simd: S) -> MatrixShape {
                MatrixShape {
                    rows: S::ROWS,
                    columns: S::COLUMNS,
                    full_columns: S::FULL_COLUMNS,
                    words: S::WORDS,
                }
            }
        }
        self.run(Shape)
    }

    /// Runs `kernel`, compiled for the instruction set in use.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[allow(unsafe_code)]
        match self.isa {
            Isa::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Cpu` with this `isa` is made only by `detect` and `with`, and only after
            // `is_available` found every feature that the function enables.
            Isa::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::AvxVnni => unsafe { avx2::run_vnni(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512Bf16 if K::DOTS_BF16 => unsafe { avx512::run_bf16(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above; what has BF16 has VBMI and BITALG.
            Isa::Avx512Vbmi | Isa::Avx512Bf16 if K::BYTE_TABLES => unsafe {
                avx512::run_vbmi(kernel)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 | Isa::Avx512Vbmi | Isa::Avx512Bf16 => unsafe { avx512::run(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::Neon => unsafe { neon::run(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::NeonDot => unsafe { neon::run_dot(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::NeonI8mm => unsafe { neon::run_i8mm(kernel) },
            #[allow(unreachable_patterns)]
            other => unreachable!("{other} is never available on this architecture"),
        }
    }
}

/// An algorithm written against the vocabulary, with its arguments inside.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Whether it is compiled for instruction sets that differ from others only by
    /// [`Lanes::BYTE_TABLES`]. It need not where it does not use them.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const BYTE_TABLES: bool = false;

    /// The same of those that differ only by [`Lanes::DOTS_BF16`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const DOTS_BF16: bool = false;

    /// The algorithm. Implementations are `#[inline(always)]`, so that the whole of it is compiled
    /// with the features of `simd` enabled.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The whole vocabulary of an instruction set.
pub(crate) trait Simd: Lanes + Floats + OneRow {}

impl<T: Lanes + Floats + OneRow> Simd for T {}
