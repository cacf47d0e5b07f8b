//! What this machine can do at most, measured between the runs of a bench.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use yareta::{Cpu, limits};

use crate::failure::{Failure, Outcome};

/// Bytes that a thread reads to measure memory: with two threads, more than the caches of most
/// machines hold.
const BYTES: usize = 128 << 20;

/// What each measurement should take: long enough for what a shared machine takes away for
/// moments to hit it as it hits the runs.
const TIME: Duration = Duration::from_millis(200);

/// The highest rates that were seen, of all threads together.
pub struct Machine {
    cpu: Cpu,
    threads: usize,
    buffers: Vec<Vec<u8>>,
    /// Bytes read from memory per second.
    pub memory: f64,
    /// Products of 8-bit integers added per second.
    pub int8: f64,
    /// Products of floats added per second.
    pub float: f64,
}

impl Machine {
    /// Nothing measured yet.
    pub fn new(cpu: Cpu, threads: usize) -> Outcome<Machine> {
        let mut buffers = Vec::new();
        for _ in 0..threads {
            let mut buffer = Vec::new();
            buffer
                .try_reserve_exact(BYTES)
                .map_err(|_| Failure::Error(format!("cannot reserve {BYTES} bytes to read")))?;
            buffer.resize(BYTES, 1);
            buffers.push(buffer);
        }
        Ok(Machine {
            cpu,
            threads,
            buffers,
            memory: 0.0,
            int8: 0.0,
            float: 0.0,
        })
    }

    /// Measures everything once more.
    pub fn measure(&mut self) {
        self.memory = self.memory.max(self.reading());
        self.int8 = self.int8.max(self.arithmetic(limits::int8_products));
        self.float = self.float.max(self.arithmetic(limits::float_products));
    }

    /// Bytes per second of all threads, each reading its own buffer again and again.
    fn reading(&self) -> f64 {
        let start = Instant::now();
        let passes: usize = thread::scope(|scope| {
            let read = |buffer| {
                let mut passes = 0;
                while start.elapsed() < TIME {
                    black_box(limits::read(buffer));
                    passes += 1;
                }
                passes
            };
            let helpers: Vec<_> = self
                .buffers
                .iter()
                .map(|buffer| scope.spawn(move || read(buffer)))
                .collect();
            let joined = helpers.into_iter().map(|helper| helper.join());
            joined.map(|passes| passes.unwrap_or(0)).sum()
        });
        (passes * BYTES) as f64 / start.elapsed().as_secs_f64()
    }

    /// Products per second of all threads.
    fn arithmetic(&self, products: fn(Cpu, usize) -> u64) -> f64 {
        /// Takes well under a millisecond on any machine, and much longer than reading a clock.
        const FIRST: usize = 2000;
        let start = Instant::now();
        black_box(products(self.cpu, FIRST));
        let first = start.elapsed().as_secs_f64().max(1e-6);
        let rounds = (TIME.as_secs_f64() / first * FIRST as f64) as usize;
        let cpu = self.cpu;
        let start = Instant::now();
        let total: u64 = thread::scope(|scope| {
            let helpers: Vec<_> = (0..self.threads)
                .map(|_| scope.spawn(move || products(cpu, rounds)))
                .collect();
            let joined = helpers.into_iter().map(|helper| helper.join());
            joined.map(|products| products.unwrap_or(0)).sum()
        });
        total as f64 / start.elapsed().as_secs_f64()
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "memory_bytes_per_second": self.memory,
            "int8_products_per_second": self.int8,
            "float_products_per_second": self.float,
        })
    }
}
