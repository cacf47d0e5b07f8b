//! Shows what a model expects after each token of a text:
//! `cargo run --release --example logits -- MODEL.gguf "The sky is"`.

use std::error::Error;

use yareta::{Model, nats};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: logits MODEL.gguf [TEXT]")?;
    let text = arguments.next().unwrap_or("Once upon a time".into());

    let model = Model::open(path)?;
    let tokens = model.tokenizer().encode(&text)?;
    let mut session = model.session()?;
    // (tokens, vocabulary); `feed` gives those of the last token only.
    let logits = session.feed_all(&tokens)?;

    for (token, logits) in tokens.iter().zip(logits.chunks_exact(model.vocabulary())) {
        let mut best: Vec<u32> = (0..model.vocabulary() as u32).collect();
        best.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        print!("{:16}", text_of(&model, *token)?);
        for token in &best[..best.len().min(5)] {
            let probability = (-nats(logits, *token)).exp();
            print!(
                "  {} {:.0} %",
                text_of(&model, *token)?,
                100.0 * probability
            );
        }
        println!();
    }
    Ok(())
}

fn text_of(model: &Model, token: u32) -> yareta::Result<String> {
    let bytes = model.tokenizer().token_bytes(token)?;
    Ok(format!("{:?}", String::from_utf8_lossy(&bytes)))
}
