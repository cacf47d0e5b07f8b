//! Attention against a direct computation in double precision, and with the same bits for every
//! instruction set, number of threads and way to feed a prompt.

mod cache;

use super::*;
use crate::Cpu;

/// Values of both signs with a deterministic, irregular pattern, about -2 to 2.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2.0
        })
        .collect()
}

/// Everything attention depends on.
#[derive(Clone, Debug)]
struct Case {
    kind: KvType,
    heads: usize,
    kv_heads: usize,
    key_dim: usize,
    value_dim: usize,
    /// Tokens before the first query.
    depth: usize,
    tokens: usize,
    window: Option<usize>,
    soft_cap: Option<f32>,
    sinks: Option<Vec<f32>>,
    slopes: Option<Vec<f32>>,
    /// What one dimension of keys and values is larger by than the others.
    outlier: f32,
}

impl Case {
    fn new((heads, kv_heads): (usize, usize), dim: usize, depth: usize, tokens: usize) -> Case {
        Case {
            kind: KvType::F16,
            heads,
            kv_heads,
            key_dim: dim,
            value_dim: dim,
            depth,
            tokens,
            window: None,
            soft_cap: None,
            sinks: None,
            slopes: None,
            outlier: 1.0,
        }
    }

    fn shape(&self) -> KvShape {
        KvShape {
            kind: self.kind,
            kv_heads: self.kv_heads,
            capacity: self.depth + self.tokens + 3,
            key_dim: self.key_dim,
            value_dim: self.value_dim,
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.key_dim as f32).sqrt()
    }

    /// The keys and values of all tokens.
    fn keys_and_values(&self) -> (Vec<f32>, Vec<f32>) {
        let heads = (self.depth + self.tokens) * self.kv_heads;
        let mut keys = noise(heads * self.key_dim, 1);
        let mut values = noise(heads * self.value_dim, 2);
        keys.iter_mut()
            .step_by(self.key_dim)
            .for_each(|key| *key *= self.outlier);
        values
            .iter_mut()
            .step_by(self.value_dim)
            .for_each(|value| *value *= self.outlier);
        (keys, values)
    }

    /// The cache filled with all tokens.
    fn cache(&self, cpu: Cpu) -> KvLayer {
        let mut cache = KvLayer::new(self.shape()).unwrap();
        let (keys, values) = self.keys_and_values();
        cache.store(cpu, 0, &keys, &values);
        cache
    }

    fn queries(&self) -> Vec<f32> {
        noise(self.tokens * self.heads * self.key_dim, 3)
    }

    /// What attention of `queries`, the first of them at `first_position`, is computed from.
    fn inputs<'a>(
        &'a self,
        cache: &'a KvLayer,
        queries: &'a [f32],
        first_position: usize,
    ) -> AttentionInputs<'a> {
        AttentionInputs {
            queries,
            heads: self.heads,
            cache,
            first_position,
            scale: self.scale(),
            window: self.window,
            soft_cap: self.soft_cap,
            sinks: self.sinks.as_deref(),
            slopes: self.slopes.as_deref(),
        }
    }

    /// Attention of the queries, fed in pieces of `piece` tokens, on `threads` threads.
    fn run(&self, cpu: Cpu, threads: usize, piece: usize) -> Vec<f32> {
        self.run_with(cpu, &self.cache(cpu), threads, piece)
    }

    /// The same with this cache of all tokens.
    fn run_with(&self, cpu: Cpu, cache: &KvLayer, threads: usize, piece: usize) -> Vec<f32> {
        let queries = self.queries();
        let (query_len, out_len) = (self.heads * self.key_dim, self.heads * self.value_dim);
        let mut out = vec![f32::NAN; self.tokens * out_len];
        let mut scratch = AttentionScratch::new(threads, self.heads, &self.shape()).unwrap();
        let pieces = queries.chunks(piece * query_len);
        for (i, (queries, out)) in pieces.zip(out.chunks_mut(piece * out_len)).enumerate() {
            let inputs = self.inputs(cache, queries, self.depth + i * piece);
            let job = Attention::new(cpu, inputs, &mut scratch, out);
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(|| job.work());
                }
                job.work();
            });
        }
        out
    }

    /// The same in double precision, straight from the definition, of what the cache holds.
    fn exact(&self) -> Vec<f64> {
        let cache = self.cache(Cpu::detect());
        self.exact_of(|position, head, key, value| cache.load(position, head, key, value))
    }

    /// The same of keys and values that were never stored.
    fn exact_of_floats(&self) -> Vec<f64> {
        let (keys, values) = self.keys_and_values();
        self.exact_of(|position, head, key, value| {
            let first = position * self.kv_heads + head;
            key.copy_from_slice(&keys[first * key.len()..][..key.len()]);
            value.copy_from_slice(&values[first * value.len()..][..value.len()]);
        })
    }

    /// The same of the keys and values that `load` gives for a position and a head.
    fn exact_of(&self, load: impl Fn(usize, usize, &mut [f32], &mut [f32])) -> Vec<f64> {
        let queries = self.queries();
        let all = self.depth + self.tokens;
        let mut out = vec![0.0; self.tokens * self.heads * self.value_dim];
        let mut key = vec![0.0; self.key_dim];
        let mut value = vec![0.0; self.value_dim];
        for kv_head in 0..self.kv_heads {
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for position in 0..all {
                load(position, kv_head, &mut key, &mut value);
                keys.push(key.clone());
                values.push(value.clone());
            }
            let group = self.heads / self.kv_heads;
            for row in 0..self.tokens * group {
                let (token, head) = (row / group, kv_head * group + row % group);
                let end = self.depth + token + 1;
                let start = self.window.map_or(0, |window| end.saturating_sub(window));
                let at = token * self.heads + head;
                let query = &queries[at * self.key_dim..][..self.key_dim];
                let mut scores: Vec<f64> = (start..end)
                    .map(|position| {
                        let products = query.iter().zip(&keys[position]);
                        let product: f64 =
                            products.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                        let mut score = product * f64::from(self.scale());
                        if let Some(cap) = self.soft_cap {
                            score = f64::from(cap) * (score / f64::from(cap)).tanh();
                        }
                        if let Some(slopes) = &self.slopes {
                            score -= f64::from(slopes[head]) * (end - 1 - position) as f64;
                        }
                        score
                    })
                    .collect();
                let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks[head]));
                let most = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
                scores
                    .iter_mut()
                    .for_each(|score| *score = (*score - most).exp());
                let total = scores.iter().sum::<f64>() + sink.map_or(0.0, |s| (s - most).exp());
                let out = &mut out[at * self.value_dim..][..self.value_dim];
                for (score, position) in scores.iter().zip(start..end) {
                    for (to, value) in out.iter_mut().zip(&values[position]) {
                        *to += score / total * f64::from(*value);
                    }
                }
            }
        }
        out
    }

    /// Checks all types of cache that there can be for it.
    fn check(&self) {
        for kind in [KvType::F16, KvType::Q16, KvType::Q8_0] {
            let block = kind.block();
            if self.key_dim.is_multiple_of(block) && self.value_dim.is_multiple_of(block) {
                let mut case = self.clone();
                case.kind = kind;
                case.check_one();
            }
        }
    }

    /// Asserts that the result is near the exact one and the same for every instruction set,
    /// thread count and way to feed.
    fn check_one(&self) {
        // Scores are sums of `key_dim` products up to 4, scaled: off by key_dim^1.5 · 4ε at most,
        // and so is each weight, relatively. Sums over positions add ε for each; values are at
        // most 2. Rounding errors cancel mostly: the bound is loose by a factor of ten.
        let epsilon = 1.0 / f64::from(1 << 24);
        let score_error = (self.key_dim as f64).powf(1.5) * 4.0 + 20.0;
        let distance = self
            .slopes
            .as_ref()
            .map_or(0.0, |_| (self.depth + self.tokens) as f64);
        let positions = (self.depth + self.tokens) as f64;
        let mut tolerance = 2.0 * epsilon * (score_error + positions + distance);
        if self.kind == KvType::Q8_0 {
            // A query is off by 2 / 65534 at most, and so a score, with keys up to 2, by √key_dim
            // · 4 / 65534, and so is each weight, relatively. A weight times a scale is off by
            // 1 / 65534 of the largest of its chunk, and weights are divided by a sum of at least 1.
            let score = (self.key_dim as f64).sqrt() * 4.0;
            let weights = positions.min(CHUNK as f64);
            tolerance += 2.0 * (score + weights) / 65_534.0;
        }
        if self.kind == KvType::Q16 {
            // An element of a query of length at most 2√key_dim is off by a 92000th of that or a
            // 65534th of 2; a score, with keys as long and scaled by 1/√key_dim, by √key_dim times
            // as much for each of its elements at most, and so is each weight, relatively. A weight
            // times a scale is off by 1 / 65534 of the largest of its chunk or by 1 / 524000 of the
            // sum; both are at most the sum that they are divided by, and values are at most 2.
            let dim = self.key_dim as f64;
            let query = (2.0 * dim.sqrt() / 92_000.0).max(2.0 / 65_534.0);
            let weights = positions.min(CHUNK as f64) / 65_534.0;
            tolerance += 2.0 * (2.0 * dim.sqrt() * query + weights);
        }
        let found = self.run(Cpu::detect(), 1, self.tokens);
        for (i, (found, exact)) in found.iter().zip(self.exact()).enumerate() {
            let error = (f64::from(*found) - exact).abs();
            assert!(
                error <= tolerance,
                "{self:?}: {i}: {found} instead of {exact}"
            );
        }
        // Instruction sets divide rows into blocks of their own.
        let all = self.tokens;
        for cpu in Cpu::all() {
            let cache = self.cache(cpu);
            for (threads, piece) in [(1, all), (3, all), (1, 1), (1, 2), (2, 7), (1, 33)] {
                if piece <= all {
                    let other = self.run_with(cpu, &cache, threads, piece);
                    self.assert_same(&found, &other, cpu);
                }
            }
        }
    }

    #[track_caller]
    fn assert_same(&self, a: &[f32], b: &[f32], cpu: Cpu) {
        let mut both = a.iter().zip(b).enumerate();
        let other = both.find(|(_, (a, b))| a.to_bits() != b.to_bits());
        assert!(other.is_none(), "{self:?}: {other:?} on {}", cpu.isa());
    }
}

const GROUPS: [(usize, usize); 5] = [(4, 4), (4, 2), (6, 1), (8, 1), (5, 5)];

#[test]
fn every_dimension_and_grouping() {
    for dim in [8, 64, 80, 96, 100, 128, 256] {
        for heads in GROUPS {
            Case::new(heads, dim, 0, 19).check();
            Case::new(heads, dim, 37, 1).check();
        }
    }
}

#[test]
fn depths_around_tiles_and_chunks() {
    for depth in [0, 1, 15, 16, 17, 63, 64, 255, 256, 257, 511, 700, 1000] {
        for tokens in [1, 5, 40] {
            Case::new((4, 2), 32, depth, tokens).check();
        }
    }
}

#[test]
fn keys_and_values_of_different_dimensions() {
    for (key_dim, value_dim) in [(24, 16), (192, 128), (16, 40)] {
        let mut case = Case::new((4, 1), key_dim, 270, 9);
        case.value_dim = value_dim;
        case.check();
    }
}

#[test]
fn many_query_heads_share_one() {
    Case::new((71, 1), 64, 300, 3).check();
    Case::new((40, 2), 64, 300, 2).check();
}

#[test]
fn windows() {
    for window in [1, 2, 16, 100, 256, 300, 2000] {
        for (dim, depth, tokens) in [(32, 0, 40), (32, 600, 1), (32, 510, 35), (160, 510, 20)] {
            let mut case = Case::new((4, 2), dim, depth, tokens);
            case.window = Some(window);
            case.check();
        }
    }
}

#[test]
fn caps_sinks_and_slopes() {
    for (depth, tokens) in [(0, 20), (520, 3)] {
        let mut case = Case::new((4, 2), 64, depth, tokens);
        case.soft_cap = Some(1.5);
        case.check();
        case.sinks = Some(vec![-3.0, 0.0, 2.0, 60.0]);
        case.check();
        case.slopes = Some(vec![0.5, 0.25, 0.125, 0.0625]);
        case.check();
        case.soft_cap = None;
        case.sinks = None;
        case.window = Some(33);
        case.check();
    }
}

/// The two caches of 16 bits are equally exact, also where one dimension is larger than the others.
#[test]
fn sixteen_bits_are_as_exact_either_way() {
    for (dim, outlier) in [(64, 1.0), (128, 1.0), (64, 8.0), (128, 8.0), (128, 30.0)] {
        let error = |kind| {
            let mut case = Case::new((8, 2), dim, 500, 40);
            (case.kind, case.outlier) = (kind, outlier);
            let found = case.run(Cpu::detect(), 1, case.tokens);
            let squares = found.iter().zip(case.exact_of_floats());
            let squares = squares.map(|(found, exact)| (f64::from(*found) - exact).powi(2));
            (squares.sum::<f64>() / found.len() as f64).sqrt()
        };
        let (half, short) = (error(KvType::F16), error(KvType::Q16));
        eprintln!("{dim} {outlier}: 16-bit floats {half:.2e}, whole numbers {short:.2e}");
        assert!(short < half, "{dim} {outlier}");
    }
}

#[test]
fn one_position_gives_its_value() {
    let case = Case::new((4, 2), 64, 0, 1);
    for cpu in Cpu::all() {
        let cache = case.cache(cpu);
        let out = case.run(cpu, 1, 1);
        let (mut key, mut value) = (vec![0.0; 64], vec![0.0; 64]);
        for head in 0..4 {
            cache.load(0, head / 2, &mut key, &mut value);
            assert_eq!(out[head * 64..][..64], value);
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    for (kind, cpu) in [KvType::F16, KvType::Q16]
        .into_iter()
        .flat_map(|kind| Cpu::all().map(move |cpu| (kind, cpu)))
    {
        let shape = KvShape {
            kind,
            kv_heads: 1,
            capacity: 600,
            key_dim: 16,
            value_dim: 16,
        };
        let mut cache = KvLayer::new(shape).unwrap();
        for position in 0..600 {
            // The best key lies in the first chunk, where later chunks must not displace it.
            let key = if position == 77 { 1e9 } else { -1e9 };
            cache.store(cpu, position, &[key; 16], &[position as f32; 16]);
        }
        let mut scratch = AttentionScratch::new(1, 1, &shape).unwrap();
        let mut out = [0.0; 16];
        let inputs = AttentionInputs {
            queries: &[1000.0; 16],
            heads: 1,
            cache: &cache,
            first_position: 599,
            scale: 1.0,
            window: None,
            soft_cap: None,
            sinks: None,
            slopes: None,
        };
        Attention::new(cpu, inputs, &mut scratch, &mut out).work();
        // Whole numbers of 14 bits are off by half a unit.
        let tolerance = match kind {
            KvType::Q16 => 77.0 / 16_382.0 * (1.0 + 1.0 / 1024.0),
            _ => 0.0,
        };
        let near = |out: &f32| (out - 77.0).abs() <= tolerance;
        assert!(out.iter().all(near), "{kind:?} {out:?}");
    }
}

#[test]
fn numbers_that_are_none_do_not_reach_other_positions() {
    for kind in [KvType::F16, KvType::Q16, KvType::Q8_0] {
        for cpu in Cpu::all() {
            let mut case = Case::new((8, 2), 64, 0, 5);
            case.kind = kind;
            let mut cache = case.cache(cpu);
            // A position that was forgotten, behind those that are seen.
            cache.store(cpu, 5, &[f32::NAN; 128], &[f32::NAN; 128]);
            let queries = case.queries();
            let mut out = vec![f32::NAN; 5 * 8 * 64];
            let mut scratch = AttentionScratch::new(1, 8, &case.shape()).unwrap();
            let inputs = case.inputs(&cache, &queries, 0);
            Attention::new(cpu, inputs, &mut scratch, &mut out).work();
            case.assert_same(&out, &case.run(cpu, 1, 5), cpu);
        }
    }
}

#[test]
fn more_threads_than_slots_are_harmless() {
    let case = Case::new((4, 2), 32, 600, 5);
    let cpu = Cpu::detect();
    let (cache, queries) = (case.cache(cpu), case.queries());
    let mut scratch = AttentionScratch::new(2, 4, &case.shape()).unwrap();
    let mut out = vec![f32::NAN; 5 * 4 * 32];
    let inputs = case.inputs(&cache, &queries, 600);
    let job = Attention::new(cpu, inputs, &mut scratch, &mut out);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| job.work());
        }
    });
    case.assert_same(&out, &case.run(cpu, 1, 5), cpu);
}
