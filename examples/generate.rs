//! Continues a text: `cargo run --release --example generate -- MODEL.gguf "Once upon a time"`.

use std::error::Error;
use std::io::Write;

use yareta::{Model, Sampler};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: generate MODEL.gguf [TEXT]")?;
    let text = arguments.next().unwrap_or("Once upon a time".into());

    let model = Model::open(path)?;
    let mut session = model.session()?;
    let prompt = model.tokenizer().encode(&text)?;
    let mut sampler = Sampler::new(42).top_k(40).top_p(0.9).temperature(0.8);

    print!("{text}");
    for piece in session.generate(&prompt, &mut sampler).max_tokens(200) {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
