//! Speed of attention: every instruction set of this CPU × prompts and generation × how query heads
//! share keys and values, on one thread.
//!
//! Prompts are given in multiply-adds per second; their limit is `limits/float` of the bench of
//! matrix products. Generation is given in bytes of the cache per second, with caches that do not
//! fit in the processor's; its limit is `limits/read`, or, with many query heads per key head,
//! again the multiply-adds.
//!
//! `cargo bench -p yareta-kernels --bench attention -- 'generation/avx512'` measures a part of it.
#![allow(missing_docs)] // `criterion_group!` makes a public function without any.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use yareta_kernels::{Attention, AttentionInputs, AttentionScratch, Cpu, KvLayer, KvShape, KvType};

/// Bytes of the caches that generation goes through in turn, as through the layers of a model.
const MEMORY: usize = 128 << 20;

/// Query heads, heads of keys and values, and elements of a head.
const HEADS: [(usize, usize, usize); 4] = [(32, 32, 128), (32, 8, 128), (32, 4, 64), (8, 1, 256)];

fn prompts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prompt");
    settings(&mut group);
    for (depth, tokens) in [(0, 512), (3968, 128)] {
        for cpu in Cpu::all() {
            for heads in HEADS {
                let case = Case::new(cpu, heads, (depth, tokens), 1);
                let seen = tokens * depth + tokens * (tokens + 1) / 2;
                let elements = seen * heads.0 * 2 * heads.2;
                group.throughput(Throughput::Elements(elements as u64));
                case.run(&mut group, cpu);
            }
        }
    }
}

fn generation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generation");
    settings(&mut group);
    for depth in [1024, 4096, 16384] {
        for cpu in Cpu::all() {
            for heads in HEADS {
                let bytes = (depth + 1) * heads.1 * heads.2 * 4;
                let layers = MEMORY.div_ceil(bytes);
                let case = Case::new(cpu, heads, (depth, 1), layers);
                group.throughput(Throughput::Bytes(bytes as u64));
                case.run(&mut group, cpu);
            }
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn settings(group: &mut Group<'_>) {
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(300));
}

/// Queries at a depth, and the caches of some layers.
struct Case {
    name: String,
    heads: usize,
    depth: usize,
    queries: Vec<f32>,
    layers: Vec<KvLayer>,
    scratch: AttentionScratch,
    out: Vec<f32>,
}

impl Case {
    fn new(
        cpu: Cpu,
        (heads, kv_heads, dim): (usize, usize, usize),
        (depth, tokens): (usize, usize),
        layers: usize,
    ) -> Case {
        let shape = KvShape {
            kind: KvType::F16,
            kv_heads,
            capacity: depth + tokens,
            key_dim: dim,
            value_dim: dim,
        };
        let row: Vec<f32> = (0..kv_heads * dim)
            .map(|i| (i % 17) as f32 / 8.0 - 1.0)
            .collect();
        let mut layer = KvLayer::new(shape).expect("memory");
        for position in 0..shape.capacity {
            layer.store(cpu, position, &row, &row);
        }
        let queries: Vec<f32> = (0..tokens * heads * dim)
            .map(|i| (i % 13) as f32 / 6.0 - 1.0)
            .collect();
        Case {
            name: format!("{heads}-{kv_heads}-{dim}/{depth}+{tokens}"),
            heads,
            depth,
            out: vec![0.0; queries.len()],
            queries,
            layers: vec![layer; layers],
            scratch: AttentionScratch::new(1, heads, &shape).expect("memory"),
        }
    }

    fn run(mut self, group: &mut Group<'_>, cpu: Cpu) {
        let mut layers = (0..self.layers.len()).cycle();
        group.bench_function(BenchmarkId::new(cpu.isa().name(), &self.name), |b| {
            b.iter(|| {
                let layer = layers.next().unwrap_or(0);
                let inputs = AttentionInputs {
                    queries: &self.queries,
                    heads: self.heads,
                    cache: &self.layers[layer],
                    first_position: self.depth,
                    scale: 0.1,
                    window: None,
                    soft_cap: None,
                    sinks: None,
                    slopes: None,
                };
                Attention::new(cpu, inputs, &mut self.scratch, &mut self.out).work();
            });
        });
    }
}

criterion_group!(benches, prompts, generation);
criterion_main!(benches);
