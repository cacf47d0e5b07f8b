//! Speed of the matrix products: every weight format × every instruction set of this CPU × column
//! counts, on one thread, beside the limits of the machine measured in the same run.
//!
//! One column is given in bytes of weights per second, from memory (a matrix far larger than the
//! caches) and from the second-level cache; its limit is `limits/read`. More columns are given in
//! products per second; their limit is `limits/int8` (or `limits/float` for float weights, `limits/bf16` for BF16).
//!
//! `cargo bench -p yareta-kernels --bench matmul -- 'Q4_K/avx512'` measures a part of it.
#![allow(missing_docs)] // `criterion_group!` makes a public function without any.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use yareta_kernels::{Activations, Cpu, Format, MatMul, Matrix, Prepare, limits};

/// Weights per row: a multiple of every block, and the width of a 7B model.
const COLS: usize = 4096;

/// Bytes of the matrix that stands for weights in memory.
const MEMORY: usize = 96 << 20;

/// Bytes of the matrix that stands for weights in the second-level cache.
const CACHE: usize = 384 << 10;

fn limits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limits");
    settings(&mut group);
    let bytes = vec![1u8; MEMORY];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read", |b| b.iter(|| limits::read(black_box(&bytes))));
    for cpu in Cpu::all() {
        const ROUNDS: usize = 10_000;
        group.throughput(Throughput::Elements(limits::int8_products(cpu, ROUNDS)));
        group.bench_function(BenchmarkId::new("int8", cpu.isa()), |b| {
            b.iter(|| limits::int8_products(cpu, ROUNDS));
        });
        group.throughput(Throughput::Elements(limits::float_products(cpu, ROUNDS)));
        group.bench_function(BenchmarkId::new("float", cpu.isa()), |b| {
            b.iter(|| limits::float_products(cpu, ROUNDS));
        });
        group.throughput(Throughput::Elements(limits::bf16_products(cpu, ROUNDS)));
        group.bench_function(BenchmarkId::new("bf16", cpu.isa()), |b| {
            b.iter(|| limits::bf16_products(cpu, ROUNDS));
        });
    }
}

fn products(criterion: &mut Criterion) {
    for format in Format::ALL {
        let mut group = criterion.benchmark_group(format.name());
        settings(&mut group);
        for cpu in Cpu::all() {
            for (place, bytes) in [("memory", MEMORY), ("cache", CACHE)] {
                let case = Case::new(cpu, format, bytes, 1);
                group.throughput(Throughput::Bytes(case.weights.len() as u64));
                case.run(&mut group, BenchmarkId::new(cpu.isa().name(), place));
            }
            for columns in [2, 3, 4, 6, 8, 16, 64, 512] {
                let case = Case::new(cpu, format, CACHE, columns);
                group.throughput(Throughput::Elements((case.rows * COLS * columns) as u64));
                case.run(&mut group, BenchmarkId::new(cpu.isa().name(), columns));
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

/// A matrix with prepared columns.
struct Case {
    format: Format,
    rows: usize,
    weights: Vec<u8>,
    x: Activations,
    out: Vec<f32>,
}

impl Case {
    fn new(cpu: Cpu, format: Format, bytes: usize, columns: usize) -> Case {
        let row_bytes = format.row_bytes(COLS).expect("whole blocks");
        let rows = (bytes / row_bytes).next_multiple_of(16);
        // What the weights are does not change what the kernels do, as long as floats are of everyday
        // size, as 0x3c makes them.
        let byte = if format.is_float() { 0x3c } else { 0x11 };
        let weights = vec![byte; rows * row_bytes];
        let values: Vec<f32> = (0..columns * COLS).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut x = Activations::with_capacity(cpu, columns, COLS);
        let matrix = Matrix::new(format, rows, COLS, &weights).expect("whole rows");
        Prepare::new(&values, COLS, matrix.precision(), &mut x).work();
        Case {
            format,
            rows,
            weights,
            x,
            out: vec![0.0; rows * columns],
        }
    }

    fn run(mut self, group: &mut Group<'_>, id: BenchmarkId) {
        group.bench_function(id, |b| {
            b.iter(|| {
                let weights = black_box(&self.weights);
                let matrix = Matrix::new(self.format, self.rows, COLS, weights);
                MatMul::new(matrix.expect("whole rows"), &self.x, &mut self.out).work();
            });
        });
    }
}

criterion_group!(benches, limits, products);
criterion_main!(benches);
