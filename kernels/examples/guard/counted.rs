//! The work whose instructions are counted: a small product of each format, with one column and
//! with many, and the preparation of activations.

use std::hint::black_box;

use yareta_kernels::{Activations, Cpu, Format, Isa, MatMul, Matrix, Precision, Prepare};

/// What counts instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Valgrind's tool, which runs x86-64 code.
    Callgrind,
    /// The emulator of 64-bit Arm.
    Emulator,
    /// This very processor, an instruction at a time.
    Steps,
}

impl Counter {
    /// Each with its name.
    const ALL: [(&str, Counter); 3] = [
        ("callgrind", Counter::Callgrind),
        ("emulator", Counter::Emulator),
        ("steps", Counter::Steps),
    ];

    /// The name that tells the program that is counted by what.
    pub fn name(self) -> &'static str {
        let named = Counter::ALL.iter().find(|(_, counter)| *counter == self);
        named.map_or("", |(name, _)| name)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Counter> {
        let named = Counter::ALL.iter().find(|(of_it, _)| *of_it == name);
        named.map(|(_, counter)| *counter)
    }

    /// Instruction sets whose instructions it counts.
    pub fn isas(self) -> &'static [Isa] {
        match self {
            Counter::Callgrind => &[Isa::Scalar, Isa::Avx2],
            Counter::Steps => &[Isa::Avx512, Isa::Avx512Bf16],
            Counter::Emulator => &[Isa::Neon, Isa::NeonDot, Isa::NeonI8mm],
        }
    }

    /// Bytes of the first-level cache that kernels are told of, whatever it is where they are counted:
    /// what is taken for granted where processors do not tell, or as much as lets AVX-512 read rows in
    /// the order of the file.
    fn first_level_cache(self) -> usize {
        match self {
            Counter::Callgrind | Counter::Emulator => 32 << 10,
            Counter::Steps => 48 << 10,
        }
    }

    /// Each case once, in order.
    pub fn cases(self) -> impl Iterator<Item = (Work, Isa, usize)> {
        let isas = self.isas().iter();
        Work::all().flat_map(move |work| {
            isas.clone()
                .flat_map(move |&isa| COLUMNS.map(|columns| (work, isa, columns)))
        })
    }
}

/// Columns of the two regimes of matrix products; the second are whole panels of every
/// instruction set.
pub const COLUMNS: [usize; 2] = [1, 16];

/// Weights of a matrix: enough for what is done once per matrix to weigh little.
const ROWS: usize = 64;
const COLS: usize = 1024;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A product with weights of a format.
    Product(Format),
    /// The preparation of activations for weights of a format.
    Prepare(Format),
}

impl Work {
    /// Everything that is counted, in order.
    pub fn all() -> impl Iterator<Item = Work> {
        let prepare = [Format::F32, Format::BF16, Format::Q4_0, Format::Q4_K];
        let prepare = prepare.map(Work::Prepare);
        Format::ALL.map(Work::Product).into_iter().chain(prepare)
    }

    /// Its name in the table.
    pub fn name(self) -> String {
        match self {
            Work::Product(format) => format.name().into(),
            Work::Prepare(format) => format!("prepare:{format}"),
        }
    }

    /// What its instructions are divided by: weights times columns, or activations.
    pub fn size(self, columns: usize) -> usize {
        match self {
            Work::Product(_) => ROWS * COLS * columns,
            Work::Prepare(_) => COLS * columns,
        }
    }
}

/// Does the work of each case once, in a call of [`measured`].
pub fn run(counter: Counter) {
    for (work, isa, columns) in counter.cases() {
        let cpu = Cpu::with(isa).expect("the instruction set is there");
        let (Work::Product(format) | Work::Prepare(format)) = work;
        let values: Vec<f32> = (0..columns * COLS).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut x = Activations::with_capacity(cpu, columns, COLS);
        if let Work::Prepare(_) = work {
            let job = Prepare::new(&values, COLS, Precision::of(format), &mut x);
            measured(&|| job.work());
            continue;
        }
        Prepare::new(&values, COLS, Precision::of(format), &mut x).work();
        let row_bytes = format.row_bytes(COLS).expect("whole blocks");
        // Neither makes odd floats; 0x11 would make small ones of bfloat16.
        let byte = if format.is_float() { 0x3c } else { 0x11 };
        let weights = vec![byte; ROWS * row_bytes];
        let matrix = Matrix::new(format, ROWS, COLS, &weights).expect("whole rows");
        let mut out = vec![0.0; ROWS * columns];
        let job =
            MatMul::new(matrix, &x, &mut out).with_first_level_cache(counter.first_level_cache());
        measured(&|| job.work());
    }
}

/// The function inside which instructions are counted. It returns itself, and does not leave that to
/// the work.
#[inline(never)]
fn measured(work: &dyn Fn()) {
    black_box(work)();
    black_box(());
}
