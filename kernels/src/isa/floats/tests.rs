//! Every operation gives the same bits on every instruction set, and the functions are as exact as
//! they say.

use super::*;
use crate::isa::{Cpu, Isa, Kernel, Simd};

/// Applies every operation to three vectors.
struct Everything {
    a: [f32; WIDTH],
    b: [f32; WIDTH],
    c: [f32; WIDTH],
}

impl Kernel for Everything {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let (a, b, c) = (simd.load(&self.a), simd.load(&self.b), simd.load(&self.c));
        // Whole numbers in the range that `scale_by_power_of_two` is for.
        let n = simd.round(simd.min(simd.splat(140.0), simd.max(c, simd.splat(-160.0))));
        let mut bits = [0; WIDTH];
        simd.store_f16(a, &mut bits);
        let mut words = [0; 2 * WIDTH];
        for (words, b) in words.as_chunks_mut::<2>().0.iter_mut().zip(self.b) {
            *words = [b.to_bits() as u16, (b.to_bits() >> 16) as u16];
        }
        let results = [
            simd.add(a, b),
            simd.sub(a, b),
            simd.mul(a, b),
            simd.div(a, b),
            simd.multiply_add(a, b, c),
            simd.max(a, b),
            simd.min(a, b),
            simd.select_less((a, b), c, a),
            simd.round(a),
            simd.scale_by_power_of_two(simd.splat(1.234_567_8), n),
            simd.load_f16(&bits),
            products(simd, &bits, b),
            word_products(simd, &bits, &words),
            simd.load_bf16(&bits),
            simd.load_first_bf16(&self.a.map(f32::to_bits)),
            simd.load_second_bf16(&self.a.map(f32::to_bits)),
            simd.load_partial(&self.a[..7], 3.0),
            simd.splat(simd.sum(a)),
            simd.splat(simd.maximum(a)),
            sums(simd, [[a], [b], [c]]),
            sums(simd, [[a, b, c]; 5]),
            sums(simd, [[a, b, b, c, a, c, b, a], [b, b, a, c, c, a, b, c]]),
            exp(simd, a),
            exp2(simd, simd.min(a, simd.zero())),
            tanh(simd, a),
            sigmoid(simd, a),
            erf(simd, a),
        ];
        let mut all = vec![0.0; results.len() * WIDTH + 5];
        let (whole, rest) = all.as_chunks_mut::<WIDTH>();
        for (to, x) in whole.iter_mut().zip(results) {
            simd.store(x, to);
        }
        simd.store_partial(a, rest);
        all
    }
}

/// The sums of several vectors, which are those of each; other lanes 0.
#[inline(always)]
fn sums<S: Floats, const R: usize, const W: usize>(simd: S, x: [[S::Vector; W]; R]) -> S::Vector {
    let (mut together, mut each) = ([0.0; WIDTH], [0.0; WIDTH]);
    simd.store(simd.sums(&x), &mut together);
    together[R * W..].fill(0.0);
    for (i, each) in each[..R * W].iter_mut().enumerate() {
        *each = simd.sum(x[i / W][i % W]);
        let bits = (each.to_bits(), together[i].to_bits());
        assert!(bits.0 == bits.1 || each.is_nan() && together[i].is_nan());
    }
    simd.load(&together)
}

/// Sums of products of the bytes of `bits` with a float rounded to 16 bits, every other one.
#[inline(always)]
fn products<S: Floats>(simd: S, bits: &[u16; WIDTH], x: S::Vector) -> S::Vector {
    // The bounds come last, so that a NaN becomes a number.
    let x = simd.max(simd.min(x, simd.splat(32_767.0)), simd.splat(-32_767.0));
    let mut pairs = [0; WIDTH / 2];
    simd.store_pairs(x, &mut pairs);
    let mut sum = simd.no_products();
    for pair in pairs {
        sum = simd.add_products_of(sum, simd.load_pairs(bits), &pair);
    }
    simd.whole_to_float(sum)
}

/// Sums of products of pairs of any whole numbers, stored and loaded between; modulo 2³².
#[inline(always)]
fn word_products<S: Floats>(simd: S, bits: &[u16; WIDTH], words: &[u16; 2 * WIDTH]) -> S::Vector {
    let mut sum = simd.no_products();
    for pair in bits.as_chunks::<2>().0 {
        let pair = i32::from(pair[0]) | (i32::from(pair[1]) << 16);
        sum = simd.add_products(sum, simd.load_words(words), simd.splat_pair(pair));
        let mut stored = [0; WIDTH];
        simd.store_whole(sum, &mut stored);
        sum = simd.load_whole(&stored);
    }
    simd.whole_to_float(sum)
}

/// A function of one variable over a slice.
struct Map<'a> {
    function: Function,
    x: &'a mut [f32],
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Exp2,
    Tanh,
    Sigmoid,
    Erf,
    RoundTripF16,
}

impl Kernel for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for x in self.x.as_chunks_mut::<WIDTH>().0 {
            let v = simd.load(x);
            let v = match self.function {
                Function::Exp => exp(simd, v),
                // For arguments that are not positive; a NaN passes.
                Function::Exp2 => exp2(simd, simd.min(simd.zero(), v)),
                Function::Tanh => tanh(simd, v),
                Function::Sigmoid => sigmoid(simd, v),
                Function::Erf => erf(simd, v),
                Function::RoundTripF16 => {
                    let mut bits = [0; WIDTH];
                    simd.store_f16(v, &mut bits);
                    simd.load_f16(&bits)
                }
            };
            simd.store(v, x);
        }
    }
}

fn apply(cpu: Cpu, function: Function, x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    y.resize(x.len().next_multiple_of(WIDTH), 0.0);
    cpu.run(Map {
        function,
        x: &mut y,
    });
    y.truncate(x.len());
    y
}

/// Equal bits, or both NaN: the payload of a NaN is not promised.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

/// Every 2¹³-th float of both signs, and the special ones.
fn sweep() -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        f32::MAX,
        65_504.0,
        65_519.99,
        65_520.0,
        6.0e-8,
        2.9e-8,
        -87.3,
        -103.9,
        88.7,
        88.73,
        0.5,
        1.5,
        2.5,
    ];
    let dense =
        (0..1u32 << 19).map(|i| f32::from_bits((i << 13) | (i.wrapping_mul(2_654_435_761) >> 19)));
    special.into_iter().chain(dense).collect()
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let x = sweep();
    // Three strides, so that vectors mix magnitudes and signs.
    let pick = |i: usize| -> [f32; WIDTH] {
        std::array::from_fn(|lane| x[(i * 40_503 + lane * 12_289) % x.len()])
    };
    let moderate = |v: [f32; WIDTH]| v.map(|x| (x.to_bits() % 20_001) as f32 * 0.01 - 100.0);
    let reference = Cpu::with(Isa::Scalar).unwrap();
    for i in 0..4000 {
        let (a, b, c) = (pick(3 * i), pick(3 * i + 1), pick(3 * i + 2));
        for (a, b, c) in [(a, b, c), (moderate(a), moderate(b), moderate(c))] {
            let expected = reference.run(Everything { a, b, c });
            for cpu in Cpu::all() {
                let found = cpu.run(Everything { a, b, c });
                for (k, (e, f)) in expected.chunks(WIDTH).zip(found.chunks(WIDTH)).enumerate() {
                    assert!(
                        same(e, f),
                        "{}: result {k} of {a:?} {b:?} {c:?}: {e:?} {f:?}",
                        cpu.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn functions_give_the_same_bits_over_all_magnitudes() {
    let x = sweep();
    let reference = Cpu::with(Isa::Scalar).unwrap();
    for function in [
        Function::Exp,
        Function::Exp2,
        Function::Tanh,
        Function::Sigmoid,
        Function::Erf,
        Function::RoundTripF16,
    ] {
        let expected = apply(reference, function, &x);
        for cpu in Cpu::all() {
            let found = apply(cpu, function, &x);
            assert!(same(&expected, &found), "{function:?} on {}", cpu.isa());
        }
    }
}

/// The largest error of `function` over the finite floats of the sweep above `lowest`, in units in the last
/// place of the exact result (of the smallest normal float, for results below it).
fn worst(function: Function, lowest: f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
    let x = sweep().into_iter().filter(|x| x.is_finite() && *x > lowest);
    let x: Vec<f32> = x.collect();
    let y = apply(Cpu::detect(), function, &x);
    let mut worst = (0.0, 0.0);
    for (x, y) in x.into_iter().zip(y) {
        let exact = exact(f64::from(x));
        if exact.abs() > f64::from(f32::MAX) {
            assert_eq!(y, f32::INFINITY, "{function:?} of {x}");
            continue;
        }
        let exponent = exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
        let error = (f64::from(y) - exact).abs() / (exponent - 23.0).exp2();
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn functions_are_as_exact_as_they_say() {
    let (error, at) = worst(Function::Exp, f32::NEG_INFINITY, f64::exp);
    assert!(error <= 1.0, "exp {at}: {error}");
    let (error, at) = worst(Function::Exp2, f32::NEG_INFINITY, |x| x.min(0.0).exp2());
    assert!(error <= 2.1, "exp2 {at}: {error}");
    let (error, at) = worst(Function::Tanh, f32::NEG_INFINITY, f64::tanh);
    assert!(error <= 3.0, "tanh {at}: {error}");
    let (error, at) = worst(Function::Sigmoid, -88.0, |x| 1.0 / (1.0 + (-x).exp()));
    assert!(error <= 3.0, "sigmoid {at}: {error}");
    let (error, at) = worst(Function::Erf, f32::NEG_INFINITY, exact_erf);
    assert!(error <= 3.0, "erf {at}: {error}");
}

#[test]
fn functions_at_their_ends() {
    let x = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0];
    for cpu in Cpu::all() {
        let y = apply(cpu, Function::Exp, &x);
        assert_eq!((y[0], y[1], y[3]), (0.0, f32::INFINITY, 1.0));
        let exp2 = apply(cpu, Function::Exp2, &x);
        assert_eq!((exp2[0], exp2[3]), (0.0, 1.0));
        let tanh = apply(cpu, Function::Tanh, &x);
        assert_eq!((tanh[0], tanh[1], tanh[3]), (-1.0, 1.0, 0.0));
        let sigmoid = apply(cpu, Function::Sigmoid, &x);
        assert_eq!((sigmoid[0], sigmoid[1], sigmoid[3]), (0.0, 1.0, 0.5));
        let erf = apply(cpu, Function::Erf, &x);
        assert_eq!((erf[0], erf[1], erf[3]), (-1.0, 1.0, 0.0));
        assert!(
            y[2].is_nan()
                && exp2[2].is_nan()
                && tanh[2].is_nan()
                && sigmoid[2].is_nan()
                && erf[2].is_nan()
        );
    }
}

/// The error function in double precision: its Taylor series, all of whose terms are positive in
/// this form, so that nothing cancels.
fn exact_erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}
