//! What a cache holds, saves and refuses.

use super::*;
use crate::Isa;

#[test]
fn a_cache_gives_back_what_it_holds() {
    let case = Case::new((1, 3), 100, 0, 40);
    for isa in [Isa::Scalar, Cpu::detect().isa()] {
        let cpu = Cpu::with(isa).unwrap();
        let cache = case.cache(cpu);
        let keys = noise(40 * 3 * 100, 1);
        let values = noise(40 * 3 * 100, 2);
        let (mut key, mut value) = (vec![0.0; 100], vec![0.0; 100]);
        let narrow = |x: &f32| half::f16::from_f32(*x).to_f32();
        for (i, (k, v)) in keys.chunks(100).zip(values.chunks(100)).enumerate() {
            cache.load(i / 3, i % 3, &mut key, &mut value);
            assert!(k.iter().map(narrow).eq(key.iter().copied()));
            assert!(v.iter().map(narrow).eq(value.iter().copied()));
        }
    }
}

#[test]
fn a_cache_of_bytes_holds_the_nearest() {
    let mut case = Case::new((1, 3), 64, 0, 300);
    case.kind = KvType::Q8_0;
    let keys = noise(300 * 3 * 64, 1);
    let values = noise(300 * 3 * 64, 2);
    let (mut key, mut value) = (vec![0.0; 64], vec![0.0; 64]);
    for cpu in Cpu::all() {
        let cache = case.cache(cpu);
        for (i, (k, v)) in keys.chunks(64).zip(values.chunks(64)).enumerate() {
            cache.load(i / 3, i % 3, &mut key, &mut value);
            for (exact, found) in [(k, &key), (v, &value)] {
                for (exact, found) in exact.chunks(32).zip(found.chunks(32)) {
                    let most = exact.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                    // Half a unit, which is a 127th of the largest rounded to eleven bits, and
                    // what the rounding of the unit cuts off of the largest.
                    let tolerance = most * (0.5 / 127.0 + 1.0 / 2048.0);
                    for (exact, found) in exact.iter().zip(found) {
                        assert!((exact - found).abs() <= tolerance, "{exact} {found}");
                    }
                }
            }
        }
    }
}

/// The relative error of a unit that is rounded up to a 16-bit float.
const ROUNDED_UP: f32 = 1.0 / 1024.0;

#[test]
fn a_cache_of_whole_numbers_holds_the_nearest() {
    for (dim, outlier) in [(64, 1.0), (7, 1.0), (100, 50.0)] {
        let mut case = Case::new((1, 3), dim, 0, 300);
        (case.kind, case.outlier) = (KvType::Q16, outlier);
        let (keys, values) = case.keys_and_values();
        let (mut key, mut value) = (vec![0.0; dim], vec![0.0; dim]);
        for cpu in Cpu::all() {
            let cache = case.cache(cpu);
            for (i, (k, v)) in keys.chunks(dim).zip(values.chunks(dim)).enumerate() {
                cache.load(i / 3, i % 3, &mut key, &mut value);
                let most = |x: &[f32]| x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                let length = k.iter().map(|x| x * x).sum::<f32>().sqrt();
                let key_unit = (length / 46_000.0).max(most(k) / 32_767.0);
                let value_unit = most(v) / 8_191.0;
                for (x, found, unit) in [(k, &key, key_unit), (v, &value, value_unit)] {
                    // Half a unit, and what rounding to floats may add.
                    let half = 0.5 * unit * (1.0 + 2.0 * ROUNDED_UP);
                    for (exact, found) in x.iter().zip(found) {
                        let tolerance = half + exact.abs() * f32::EPSILON;
                        assert!(
                            (exact - found).abs() <= tolerance,
                            "{exact} {found} of {x:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn very_small_and_very_large_elements_are_stored() {
    let mut case = Case::new((1, 1), 64, 0, 1);
    case.kind = KvType::Q16;
    let (mut key, mut value) = (vec![0.0; 64], vec![0.0; 64]);
    // The least step of a 16-bit float, 2⁻²⁴, is what units come in at their least.
    let least = 1.0 / 16_777_216.0_f32;
    for cpu in Cpu::all() {
        for x in [0.0, 1e-40, 1e-12, 1e-7, 3e-5, 1e-3] {
            let mut cache = case.cache(cpu);
            cache.store(cpu, 0, &[x; 64], &[-x; 64]);
            cache.load(0, 0, &mut key, &mut value);
            let near = |found: &f32| (found.abs() - x).abs() <= least.max(x / 8_191.0);
            assert!(key.iter().chain(&value).all(near), "{x}: {key:?} {value:?}");
        }
        for x in [65_504.0, 1e6, f32::MAX, f32::INFINITY] {
            let mut cache = case.cache(cpu);
            cache.store(cpu, 0, &[x; 64], &[-x; 64]);
            cache.load(0, 0, &mut key, &mut value);
            let near = |found: &f32| (found.abs() / 65_504.0 - 1.0).abs() < 1.0 / 8_191.0;
            assert!(key.iter().chain(&value).all(near), "{x}: {key:?} {value:?}");
        }
    }
}

/// A saved session may come from anyone: of any bytes, every instruction set makes the same.
#[test]
fn any_saved_bytes_give_the_same_bits_everywhere() {
    for kind in [KvType::F16, KvType::Q16, KvType::Q8_0] {
        let mut case = Case::new((4, 2), 64, 300, 5);
        case.kind = kind;
        let queries = case.queries();
        let results: Vec<Vec<f32>> = Cpu::all()
            .map(|cpu| {
                let mut cache = case.cache(cpu);
                let mut state = 1_u64;
                let mut bytes = vec![0; cache.shape().position_bytes()];
                for position in 0..case.depth + case.tokens {
                    for byte in &mut bytes {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        *byte = (state >> 56) as u8;
                    }
                    cache.restore(position, &bytes);
                }
                let mut out = vec![0.0; queries.len()];
                let mut scratch = AttentionScratch::new(1, 4, &case.shape()).unwrap();
                let inputs = case.inputs(&cache, &queries, case.depth);
                Attention::new(cpu, inputs, &mut scratch, &mut out).work();
                out
            })
            .collect();
        for result in &results[1..] {
            let both = result.iter().zip(&results[0]);
            let mut same =
                both.map(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            assert!(same.all(|same| same), "{kind:?}");
        }
    }
}

#[test]
fn a_saved_position_is_the_same_elsewhere() {
    for kind in [KvType::F16, KvType::Q16, KvType::Q8_0] {
        let mut case = Case::new((1, 3), 96, 0, 40);
        case.kind = kind;
        let cache = case.cache(Cpu::detect());
        let mut shape = case.shape();
        shape.capacity = 777;
        let mut other = KvLayer::new(shape).unwrap();
        let mut bytes = vec![0; shape.position_bytes()];
        let mut again = bytes.clone();
        for (from, to) in [(0, 600), (17, 17), (39, 301)] {
            cache.save(from, &mut bytes);
            other.restore(to, &bytes);
            other.save(to, &mut again);
            assert_eq!(bytes, again);
            for head in 0..3 {
                let mut loaded = [
                    (vec![0.0; 96], vec![0.0; 96]),
                    (vec![0.0; 96], vec![0.0; 96]),
                ];
                cache.load(from, head, &mut loaded[0].0, &mut loaded[0].1);
                other.load(to, head, &mut loaded[1].0, &mut loaded[1].1);
                assert_eq!(loaded[0], loaded[1]);
            }
        }
        // Of any bytes, what is in the cache is finite or not a number, never infinite.
        bytes.fill(0x7c);
        bytes.iter_mut().step_by(2).for_each(|byte| *byte = 0);
        other.restore(3, &bytes);
        let (mut key, mut value) = (vec![0.0; 96], vec![0.0; 96]);
        other.load(3, 2, &mut key, &mut value);
        assert!(key.iter().chain(&value).all(|x| x.is_finite()));
    }
}

#[test]
fn impossible_shapes_are_refused() {
    let shape = |kv_heads, capacity, key_dim| KvShape {
        kind: KvType::F16,
        kv_heads,
        capacity,
        key_dim,
        value_dim: 64,
    };
    assert!(KvLayer::new(shape(0, 16, 64)).is_none());
    assert!(KvLayer::new(shape(4, usize::MAX, 64)).is_none());
    assert!(KvLayer::new(shape(usize::MAX / 64, 64, 64)).is_none());
    // Two lines more than the numbers take, to begin on one.
    let bytes = 2 * 16 * (32 + 64) * 2 + 128;
    assert_eq!(shape(2, 16, 32).bytes(), Some(bytes));
    let bytes_of = |key_dim| {
        let kind = KvType::Q8_0;
        KvShape {
            kind,
            ..shape(2, 256, key_dim)
        }
        .bytes()
    };
    assert_eq!(bytes_of(32), Some(2 * 256 * (32 + 64) / 32 * 34 + 128));
    assert_eq!(bytes_of(48), None);
    assert!(AttentionScratch::new(usize::MAX / 8, 1, &shape(1, 16, 64)).is_none());
}
