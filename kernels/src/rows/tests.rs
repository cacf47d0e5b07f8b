//! Every row operation against double precision, over lengths that end anywhere in a vector, and
//! with the same bits on every instruction set.
//!
//! Tolerances: a sum of n products in single precision, in any order, is off by at most n·ε times
//! the sum of their magnitudes, with ε = 2⁻²⁴; functions of one element by a few ε.

use super::{Activation, LayerNorm, Pairing};
use crate::Cpu;
use crate::isa::Isa;

const EPSILON: f64 = 1.0 / (1 << 24) as f64;

fn lengths() -> impl Iterator<Item = usize> {
    (1..=70).chain([100, 256, 4096])
}

/// Values of both signs with a deterministic, irregular pattern, about -4 to 4.
fn row(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 4.0
        })
        .collect()
}

/// Runs `operation` on every instruction set, asserts that all give the same bits, and returns
/// them.
fn agree(operation: impl Fn(Cpu) -> Vec<f32>) -> Vec<f32> {
    let expected = operation(Cpu::with(Isa::Scalar).unwrap());
    for cpu in Cpu::all() {
        let found = operation(cpu);
        let same = expected
            .iter()
            .zip(&found)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(
            same && expected.len() == found.len(),
            "{}: {expected:?} {found:?}",
            cpu.isa()
        );
    }
    expected
}

#[track_caller]
fn assert_near(found: &[f32], exact: &[f64], tolerance: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), exact.len());
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        let error = (f64::from(*found) - exact).abs();
        assert!(
            error <= tolerance(i),
            "element {i}: {found} instead of {exact}"
        );
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn dot_is_near_exact() {
    for len in lengths() {
        let (x, y) = (row(len, 1), row(len, 2));
        let found = agree(|cpu| vec![cpu.dot(&x, &y)]);
        let products = wide(&x).into_iter().zip(wide(&y)).map(|(x, y)| x * y);
        let magnitude: f64 = products.clone().map(f64::abs).sum();
        assert_near(&found, &[products.sum()], |_| {
            len as f64 * EPSILON * magnitude
        });
    }
}

#[test]
fn max_and_argmax_find_the_largest() {
    for len in lengths() {
        let x = row(len, 3);
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(agree(|cpu| vec![cpu.max(&x)]), [most]);
        let index = Cpu::detect().argmax(&x).unwrap();
        assert_eq!(index, x.iter().position(|v| *v == most).unwrap());
    }
    let cpu = Cpu::detect();
    assert_eq!(cpu.max(&[]), f32::NEG_INFINITY);
    assert_eq!(cpu.argmax(&[]), None);
    assert_eq!(cpu.argmax(&[f32::NAN, f32::NAN]), None);
    assert_eq!(cpu.argmax(&[f32::NAN, -1.0, 2.0, f32::NAN, 2.0]), Some(2));
    assert_eq!(cpu.argmax(&[f32::NEG_INFINITY; 3]), Some(0));
}

#[test]
fn elementwise_operations_are_exactly_rounded() {
    for len in lengths() {
        let (x, y) = (row(len, 4), row(len, 5));
        let pairs = || x.iter().zip(&y);
        let changed = |operation: &dyn Fn(Cpu, &mut [f32])| {
            agree(|cpu| {
                let mut x = x.clone();
                operation(cpu, &mut x);
                x
            })
        };
        let sum: Vec<f32> = pairs().map(|(x, y)| x + y).collect();
        assert_eq!(changed(&|cpu, x| cpu.add(x, &y)), sum);
        let product: Vec<f32> = pairs().map(|(x, y)| x * y).collect();
        assert_eq!(changed(&|cpu, x| cpu.multiply(x, &y)), product);
        let scaled: Vec<f32> = x.iter().map(|x| x * 0.37).collect();
        assert_eq!(changed(&|cpu, x| cpu.scale(x, 0.37)), scaled);
        let both: Vec<f32> = pairs().map(|(x, y)| y.mul_add(1.7, *x)).collect();
        assert_eq!(changed(&|cpu, x| cpu.multiply_add(x, &y, 1.7)), both);
        let capped: Vec<f64> = wide(&x).iter().map(|x| 3.0 * (x / 3.0).tanh()).collect();
        // 4 units for the tangent and its argument, 2 for division and product.
        assert_near(&changed(&|cpu, x| cpu.soft_cap(x, 3.0)), &capped, |i| {
            12.0 * EPSILON * capped[i].abs()
        });
    }
}

#[test]
fn norms_are_near_exact() {
    for len in lengths() {
        let (x, weight, bias) = (row(len, 6), row(len, 7), row(len, 8));
        let n = len as f64;
        let norm =
            |x: &[f64], epsilon: f64| (x.iter().map(|x| x * x).sum::<f64>() / n + epsilon).sqrt();
        // The mean square is off by n·ε of itself, its root by half that; the rest is a few ε.
        let relative = (n / 2.0 + 6.0) * EPSILON;

        let root = norm(&wide(&x), 1e-5);
        for with in [None, Some(&weight[..])] {
            let exact: Vec<f64> = (0..len)
                .map(|i| f64::from(x[i]) / root * f64::from(with.map_or(1.0, |w| w[i])))
                .collect();
            let found = agree(|cpu| {
                let mut out = vec![0.0; len];
                cpu.rms_norm(&x, with, 1e-5, &mut out);
                out
            });
            assert_near(&found, &exact, |i| relative * exact[i].abs());
        }

        let mean = wide(&x).iter().sum::<f64>() / n;
        let centred: Vec<f64> = wide(&x).iter().map(|x| x - mean).collect();
        let root = norm(&centred, 1e-2);
        for (weight, bias) in [(None, None), (Some(&weight[..]), Some(&bias[..]))] {
            let exact: Vec<f64> = (0..len)
                .map(|i| {
                    centred[i] / root * f64::from(weight.map_or(1.0, |w| w[i]))
                        + f64::from(bias.map_or(0.0, |b| b[i]))
                })
                .collect();
            let found = agree(|cpu| {
                let mut out = vec![0.0; len];
                let epsilon = 1e-2;
                cpu.layer_norm(
                    &x,
                    LayerNorm {
                        weight,
                        bias,
                        epsilon,
                    },
                    &mut out,
                );
                out
            });
            // The mean is off by n·ε·4, for elements up to 4, and the root is at least 0.1;
            // weights and biases are at most 4.
            let tolerance =
                4.0 * (n * EPSILON * 4.0 / root + relative * 4.0 / root) + 4.0 * EPSILON;
            assert_near(&found, &exact, |_| tolerance);
        }
    }
}

#[test]
fn activations_are_near_exact() {
    type Exact = fn(f64) -> f64;
    let kinds: [(Activation, Exact); 6] = [
        (Activation::Silu, |x| x / (1.0 + (-x).exp())),
        (Activation::Gelu, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        }),
        (Activation::GeluErf, |x| x * normal_cumulative(x)),
        (Activation::GeluSigmoid, |x| x / (1.0 + (-1.702 * x).exp())),
        (Activation::Relu, |x| x.max(0.0)),
        (Activation::ReluSquared, |x| x.max(0.0).powi(2)),
    ];
    for len in lengths() {
        let mut x = row(len, 9);
        let up = row(len, 10);
        x[0] = -30.0;
        x[len / 2] = 30.0;
        for (kind, exact) in kinds {
            let exact: Vec<f64> = wide(&x).into_iter().map(exact).collect();
            let found = agree(|cpu| {
                let mut x = x.clone();
                cpu.activate(kind, &mut x);
                x
            });
            // The argument of the exponential is off by up to 8ε of itself, at most 60 where the
            // result is not negligible beside x; so the result by 16ε of x for |x| < 5.
            assert_near(&found, &exact, |i| 16.0 * EPSILON * f64::from(x[i]).abs());

            let gated = agree(|cpu| {
                let mut x = x.clone();
                cpu.activate_multiply(kind, &mut x, &up);
                x
            });
            let product: Vec<f32> = found.iter().zip(&up).map(|(x, y)| x * y).collect();
            assert_eq!(gated, product);
        }
    }
}

#[test]
fn softmax_is_near_exact() {
    for len in lengths() {
        for shift in [0.0, 1e4, -1e4] {
            let x: Vec<f32> = row(len, 11).into_iter().map(|x| x * 3.0 + shift).collect();
            let found = agree(|cpu| {
                let mut x = x.clone();
                cpu.softmax(&mut x);
                x
            });
            let most = wide(&x).into_iter().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = wide(&x).iter().map(|x| (x - most).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let exact: Vec<f64> = powers.iter().map(|p| p / sum).collect();
            // n·ε for the sum; the difference to the largest is off by ε of itself, at most 24.
            assert_near(&found, &exact, |i| (len as f64 + 30.0) * EPSILON * exact[i]);
        }
    }
    for cpu in Cpu::all() {
        let mut masked = [f32::NEG_INFINITY; 20];
        cpu.softmax(&mut masked);
        assert_eq!(masked, [0.0; 20]);
        masked.fill(f32::NEG_INFINITY);
        masked[17] = -3.0;
        cpu.softmax(&mut masked);
        assert_eq!((masked[17], masked.iter().sum::<f32>()), (1.0, 1.0));
        cpu.softmax(&mut []);
    }
}

#[test]
fn rotation_turns_each_pair_and_leaves_the_rest() {
    for (len, pairs) in [(8, 4), (64, 32), (80, 16), (128, 64), (100, 37), (6, 0)] {
        let x = row(len, 12);
        let angles: Vec<f64> = (0..pairs).map(|i| 0.3 + 1.7 * i as f64).collect();
        let cos_sin: Vec<f32> = angles
            .iter()
            .flat_map(|a| [a.cos() as f32, a.sin() as f32])
            .collect();
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            let mut exact = wide(&x);
            for (i, angle) in angles.iter().enumerate() {
                let (a, b) = match pairing {
                    Pairing::Adjacent => (2 * i, 2 * i + 1),
                    Pairing::Halves => (i, i + pairs),
                };
                let (cos, sin) = (angle.cos(), angle.sin());
                let (p, q) = (exact[a], exact[b]);
                (exact[a], exact[b]) = (p * cos - q * sin, p * sin + q * cos);
            }
            let found = agree(|cpu| {
                let mut x = x.clone();
                cpu.rotate(&mut x, &cos_sin, pairing);
                x
            });
            // Two products and a sum of elements up to 4, and rounded cosines.
            assert_near(&found, &exact, |_| 4.0 * 4.0 * EPSILON * 2.0);
            assert_eq!(found[2 * pairs..], x[2 * pairs..]);
        }
    }
}

#[test]
fn sixteen_bit_floats_convert_exactly() {
    let every: Vec<u16> = (0..=u16::MAX).collect();
    let found = |bf16: bool| {
        agree(|cpu| {
            let mut wide = vec![0.0; every.len()];
            match bf16 {
                false => cpu.widen_f16(&every, &mut wide),
                true => cpu.widen_bf16(&every, &mut wide),
            }
            // NaN payloads are not promised.
            wide.into_iter()
                .map(|x| if x.is_nan() { f32::NAN } else { x })
                .collect()
        })
    };
    for (bits, x) in every.iter().zip(found(false)) {
        let exact = half::f16::from_bits(*bits);
        assert!(
            exact.to_f32() == x || (exact.is_nan() && x.is_nan()),
            "{bits:#x}"
        );
    }
    for (bits, x) in every.iter().zip(found(true)) {
        let exact = half::bf16::from_bits(*bits);
        assert!(
            exact.to_f32() == x || (exact.is_nan() && x.is_nan()),
            "{bits:#x}"
        );
    }
    for cpu in Cpu::all() {
        for len in lengths() {
            let x = row(len, 13);
            let mut bits = vec![0; len];
            cpu.narrow_f16(&x, &mut bits);
            let exact: Vec<u16> = x
                .iter()
                .map(|x| half::f16::from_f32(*x).to_bits())
                .collect();
            assert_eq!(bits, exact);
            let mut back = vec![0.0; len];
            cpu.widen_f16(&bits, &mut back);
            let mut again = vec![0; len];
            cpu.narrow_f16(&back, &mut again);
            assert_eq!(bits, again);
        }
    }
}

/// The cumulative distribution of the normal distribution: the Taylor series of the error
/// function, all of whose terms have one sign.
fn normal_cumulative(x: f64) -> f64 {
    let y = x / std::f64::consts::SQRT_2;
    if y.abs() > 6.0 {
        return if y > 0.0 { 1.0 } else { 0.0 };
    }
    let mut term = y;
    let mut sum = y;
    for n in 1..200 {
        term *= 2.0 * y * y / f64::from(2 * n + 1);
        sum += term;
    }
    0.5 + (-y * y).exp() * sum / std::f64::consts::PI.sqrt()
}
