//! How tests open models where the instruction set may be pinned.

use yareta::{Gguf, Model, ModelOptions, Threads};

/// Opens a model to run on `threads` threads, with the instruction set that `YARETA_TEST_ISA`
/// names if it is set. The variable is the tests' own: the library reads none.
pub fn open(gguf: Gguf, threads: usize) -> Model {
    let mut options = ModelOptions::new().threads(Threads::new(threads).unwrap());
    if let Ok(isa) = std::env::var("YARETA_TEST_ISA") {
        options = options.isa(isa.parse().unwrap());
    }
    Model::from_gguf_with(gguf, options).unwrap()
}
