//! Two sessions on two threads share one model, its weights and its threads:
//! `cargo run --release --example two_sessions -- MODEL.gguf`.

use std::error::Error;
use std::thread;

use yareta::{Model, Sampler};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: two_sessions MODEL.gguf")?;
    let model = Model::open(path)?;

    let tell = |text: &'static str, seed: u64| {
        let model = model.clone(); // cheap: nothing of the weights is copied
        thread::spawn(move || -> yareta::Result<String> {
            let mut session = model.session()?;
            let prompt = model.tokenizer().encode(text)?;
            let mut sampler = Sampler::new(seed).temperature(0.7);
            let told = session.generate(&prompt, &mut sampler).max_tokens(80);
            told.collect()
        })
    };
    let stories = [
        ("The dog", tell("The dog", 1)),
        ("The cat", tell("The cat", 2)),
    ];
    for (text, story) in stories {
        let story = story.join().map_err(|_| "a thread panicked")??;
        println!("{text}{story}\n");
    }
    Ok(())
}
