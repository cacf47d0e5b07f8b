//! A conversation on the terminal, with a model that has a chat template:
//! `cargo run --release --example chat -- MODEL.gguf`.

use std::io::{self, BufRead, Write};

use yareta::{Chat, Model, Sampler};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: chat MODEL.gguf")?;
    let model = Model::open(path)?;

    // The file's own chat template makes prompts of the conversation.
    let mut chat = Chat::new(model.session()?)?;
    chat.system("You are a helpful assistant. Answer briefly.");
    let mut sampler = Sampler::new(42).temperature(0.7).top_k(40).top_p(0.95);

    print!("> ");
    io::stdout().flush()?;
    for line in io::stdin().lock().lines() {
        // Only what the session has not seen yet is processed, so turns cost the same however
        // long the conversation is.
        for piece in chat.send(line?, &mut sampler) {
            print!("{}", piece?);
            io::stdout().flush()?;
        }
        print!("\n> ");
        io::stdout().flush()?;
    }
    Ok(())
}
