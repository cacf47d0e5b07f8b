//! Writes a model with its weights in another format: `quantize IN.gguf FORMAT OUT.gguf`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use yareta::gguf::TensorType;
use yareta::{Gguf, QuantizeOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, format, output] = arguments.as_slice() else {
        return Err("usage: quantize IN.gguf FORMAT OUT.gguf".into());
    };
    let format = TensorType::from_name(format)
        .and_then(TensorType::format)
        .ok_or("no such format")?;
    let gguf = Gguf::open(input)?;
    let out = BufWriter::new(File::create(output)?);
    yareta::quantize(&gguf, QuantizeOptions::new(format), out)?.flush()?;
    Ok(())
}
